/* The diagnosis: which known bug explains an introduced error. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_H

#include "workbench/audit/audit.h"
#include "workbench/fault/fault.h"

enum diagnosis_how {
    HOW_REPRODUCED, /* a mutant of the reference op gives the recorded output within its bound */
    HOW_RELATION,   /* the output stands in a simple relation to another recorded value */
    HOW_CONSISTENT  /* fits, but is not proved */
};
const char *diagnosis_how_name(enum diagnosis_how how);

struct diagnosis {
    char fault[64]; /* name of the fault, or of the relation ("zeros", "constant-multiple") */
    enum diagnosis_how how;
    const char *kind;       /* CONTRACT.md's kinds of bugs; NULL: of the fault's row, or its name */
    char text[512];         /* the evidence in words */
    const char *postmortem; /* or "" */
    uint32_t step;          /* what is wrong: the step that fails, or one that its span passes over */
    uint32_t introduced;    /* of which step's error this is told; set, as trace, by whoever judges several */
    uint32_t trace;
};

/* Tries every mutant and every relation that applies to a failing step of a trace. Returns how many it wrote to
 * found[max], best first. */
uint32_t diagnose_step(const struct plan *plan, uint32_t step, const struct trace *trace, struct diagnosis *found,
                       uint32_t max);

/* Whether a fault would show at a step, by the rows of a healthy trace: its mutant leaves the bound there. A fault that
 * has no mutant shows wherever it applies. */
bool fault_shows(const struct fault *fault, const struct plan *plan, uint32_t step, const struct trace *healthy);

#endif
