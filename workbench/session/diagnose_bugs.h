/* Diagnoses a judged comparison. One bug is told once: where it strikes the same stage in several layers, its diagnosis
 * lists them. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_DIAGNOSE_BUGS_H
#define LOCKSTEP_WORKBENCH_SESSION_DIAGNOSE_BUGS_H

#include "workbench/session/comparison.h"

/* Diagnoses the first divergence in full, with its symptoms, then the errors that further steps introduce. Fills
 * diagnoses and n_diagnoses, and n_unexplained. */
void diagnose_bugs(struct comparison *comparison);

/* Adds the n diagnoses of one step that stand behind the last one: their `introduced` and `trace` are set, extent and
 * layers are not. */
void diagnose_add(struct comparison *comparison, uint32_t n);

/* Adds the diagnoses of a trace that is the comparison's first divergence's once its recording was put right. Takes the
 * trace over. */
void diagnose_cured(struct comparison *comparison, struct trace *trace);

#endif
