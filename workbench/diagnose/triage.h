/* Triage: from a symptom that strikes the eye to its likely cause, and what to try next. It says less than a mutant or
 * a relation: it is told after them, and where neither is found. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_TRIAGE_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_TRIAGE_H

#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"

/* As many symptoms as are worth telling. */
#define TRIAGE_MOST 2

/* The symptoms that the trace shows in which the first error was introduced, the most telling first; next to a golden
 * only what the golden does not show too. Of the audit it needs what audit_measure finds. Writes them to found[max] as
 * `consistent`; returns how many. */
uint32_t triage_find(const struct audit *audit, const struct verdict *verdict, const struct trace *const *traces,
                     const enum source *sources, struct diagnosis *found, uint32_t max);

/* How to go on from an error that a step introduces: what to check there, or where the known bug is that reproduces it;
 * found[n]: its diagnoses, best first. */
const char *triage_next(const struct plan *plan, uint32_t step, const struct diagnosis *found, uint32_t n);

#endif
