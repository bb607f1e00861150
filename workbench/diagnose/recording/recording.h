/* Recording mistakes: the engine is right, and what was written down of it is not. Each has a cure, a change that puts
 * a trace right; one that does is named, with its cure and with the verdict on the trace once put right. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_RECORDING_RECORDING_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_RECORDING_RECORDING_H

#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"

/* Whether every recorded value is one that a type of floats holds: "bfloat16", "float16", or NULL. */
const char *recording_narrow_type(const struct trace *trace);
/* Of the rows of a phase: what at least half of its stages hold; others may be in float32, as a residual is. */
const char *recording_narrow_type_of(const struct trace *trace, unsigned phase);

/* Whether a stage's rows of a phase may be stored in this type: "float16" or "bfloat16". */
bool recording_stage_stores(const struct trace *trace, const struct trace_stage *stage, unsigned phase,
                            const char *name);

/* What became of a step. */
enum step_state { STEP_UNJUDGED, STEP_PASSES, STEP_FAILS };

/* What an audit and its verdict say of one trace. */
struct recording_outcome {
    uint32_t n_failing;
    uint32_t n_ops;     /* different ops that fail */
    bool all_rows_fail; /* of the first failing step */
    uint32_t first;     /* the first failing step; n_steps: none */
    uint32_t n_judged;  /* steps with at least one judged row */
    enum conclusion conclusion;
};

/* Of trace number t. states[n_steps] receives each step's enum step_state; it may be NULL. */
struct recording_outcome recording_outcome(const struct audit *audit, uint32_t t, const struct verdict *verdict,
                                           uint8_t *states);

/* A trace from a file that fails, as it was audited. */
struct recorded_trace {
    const struct trace *trace; /* number t of the audit */
    const struct audit *audit;
    uint32_t t;
    const struct verdict *verdict;
};

/* Returns whether a recording mistake explains the trace: *found, and *cured, the trace once put right, in the
 * arithmetic that is inferred then; it may hold bugs as well. trace_free releases it. */
bool recording_find(const struct recorded_trace *recorded, struct diagnosis *found, struct trace *cured);

/* Audits a trace alone. Takes the arithmetic that is inferred into the trace's stages. states NULL: only whether all
 * passes is asked, and the audit ends at the first step that fails whatever arithmetic is inferred: nearly every change
 * of a trace that is no cure is refused in layer 0. */
struct recording_outcome recording_audit(const struct plan *plan, struct trace *trace, uint8_t *states);

/* In infer_storage.c. Takes a narrower storage_dtype that the file does not declare, where every value, or every one of
 * a phase, is of that type and the steps then follow from their inputs: an engine that stores so. One step, or one in
 * ten, may stay a finding. Returns whether it took one. */
bool recording_infer_storage(const struct plan *plan, struct trace *trace);

#endif
