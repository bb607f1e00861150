/* The small models of golden/ with their goldens, and runs of them that need no device. */
#ifndef LOCKSTEP_TESTS_SUPPORT_RECORDING_H
#define LOCKSTEP_TESTS_SUPPORT_RECORDING_H

#include "model/model.h"
#include "workbench/trace/trace.h"

struct small_model {
    struct model model;
    struct plan plan;
    struct trace golden;
};

/* Opens a model and its golden. name: "tiny-llama", "tiny-gemma3". folder: of the model; NULL: golden/. The golden
 * always comes from golden/. */
void small_open(struct small_model *small, const char *name, const char *folder);
void small_close(struct small_model *small);

/* Runs a plan on the reference with a golden's tokens and records every stage. The plan may carry faults: a faulty
 * engine without a device. */
void record_run(struct trace *trace, const struct plan *plan, const struct trace *golden);

/* Copies a small model to folder/name with one bit of an F32 weight flipped. */
void small_copy_flipped(const char *name, const char *folder, const char *tensor, uint64_t element, unsigned bit);

/* Writes a small healthy trace file: 4 positions, 2 layers; q_proj of layer 1 with width 3, and embed with width 2 at
 * positions 0 and 2. */
void healthy_trace_write(const char *path);

/* Returns a stage, which must exist. */
struct trace_stage *stage_at(const struct trace *trace, int32_t layer, enum stage stage);

#endif
