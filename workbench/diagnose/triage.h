/* Triage: from a conspicuous symptom to its likely cause, and what to try next. It proves nothing, so it comes after
 * mutants and relations, and alone where there are none. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_TRIAGE_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_TRIAGE_H

#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"

/* Symptoms worth reporting at once. */
#define TRIAGE_MOST 2

/* The symptoms of the trace in which the first error was introduced, the most telling first. Beside a golden, symptoms
 * that the golden shows too are left out. Of the audit, what audit_measure finds is enough. Writes them to found[max]
 * as `consistent`. Returns how many. */
uint32_t triage_find(const struct audit *audit, const struct verdict *verdict, const struct trace *const *traces,
                     const enum source *sources, struct diagnosis *found, uint32_t max);

/* What to check next, given a step that introduces an error and its diagnoses found[n], the best first. A reproduced
 * bug may lie in another step of the span. */
const char *triage_next(const struct plan *plan, uint32_t step, const struct diagnosis *found, uint32_t n);

/* Where the prompt's commands lead. */
struct triage_place {
    const struct plan *plan;
    uint32_t step;                 /* that is wrong */
    const struct finding *finding; /* of that step: the value to look at; NULL: none is known */
    uint32_t position;
};

#define TRIAGE_MOST_COMMANDS 2
#define TRIAGE_COMMAND_SIZE 64 /* bytes */

/* Commands for the prompt that show the place: "goto 17.ffn_down 5", "print ffn_down@17 5 330:338". They work from any
 * position of a run of the same tokens. Returns how many. */
uint32_t triage_commands(const struct triage_place *place, char commands[TRIAGE_MOST_COMMANDS][TRIAGE_COMMAND_SIZE]);

#endif
