/* The small models in golden/ with their goldens, and runs of them that need no device. */
#ifndef LOCKSTEP_TESTS_SUPPORT_RECORDING_H
#define LOCKSTEP_TESTS_SUPPORT_RECORDING_H

#include "model/model.h"
#include "workbench/trace/trace.h"

struct small_model {
    struct model model;
    struct plan plan;
    struct trace golden;
};

/* Opens a model ("tiny-llama", "tiny-gemma3"), its plan and its golden. folder: the model's; NULL: golden/. The golden
 * is always read from golden/. */
void small_open(struct small_model *small, const char *name, const char *folder);
void small_close(struct small_model *small);

/* Has the reference run a plan on a golden's tokens and records every stage. The plan may carry faults: that is a
 * faulty engine without a device. */
void record_run(struct trace *trace, const struct plan *plan, const struct trace *golden);

/* A deep copy. */
void trace_copy(struct trace *copy, const struct trace *trace);

/* Copies a small model into folder/name with one bit of one F32 weight flipped. */
void small_copy_flipped(const char *name, const char *folder, const char *tensor, uint64_t element, unsigned bit);

/* Writes a small valid trace file: 4 positions, 2 layers; layer 1 q_proj of width 3 at every position, and embed of
 * width 2 at positions 0 and 2. */
void healthy_trace_write(const char *path);

/* The stage, which must be there. */
struct trace_stage *stage_at(const struct trace *trace, int32_t layer, enum stage stage);

#endif
