/* Recording mistakes: the engine is right, and what was written down of it is not. Each is a change that puts a trace
 * right; one that does is named, with its cure and with the verdict on the trace once put right. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_RECORDING_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_RECORDING_H

#include "workbench/diagnose/diagnose.h"

/* A trace from a file that fails from step `first` on. Returns whether a recording mistake explains it: *found. */
bool recording_find(const struct plan *plan, const struct trace *trace, uint32_t first, struct diagnosis *found);

/* Whether every recorded value is one that a type of floats holds: "bfloat16", "float16", or NULL. */
const char *recording_narrow_type(const struct trace *trace);

/* Whether every step of a trace that can be judged follows from its inputs; some are judged. Takes the arithmetic that
 * is inferred into the trace's stages. */
bool recording_passes(const struct plan *plan, struct trace *trace);

/* In recording_storage.c. Takes a narrower storage_dtype that the file does not declare, where every value is of that
 * type and every step then follows from its inputs: an engine that stores so. Returns the type's name, or NULL where
 * the trace stays as it is.
 */
const char *recording_infer_storage(const struct plan *plan, struct trace *trace);

#endif
