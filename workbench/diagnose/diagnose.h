/* The diagnosis: which known bug explains an error that a step introduces.
 *
 * Three words say how far a diagnosis is proven. They mean the same in reports, at the prompt and in the documents:
 *   reproduced: computed with this bug, the op gives every recorded row within its bound, where the right op fails.
 *   relation: within their bounds, or bit for bit, the recorded values stand in a simple relation to others (zeros,
 *             another stage, a constant multiple). This bug leaves that relation, but another one could as well.
 *   consistent: a symptom that fits. Nothing is proven. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_H

#include "workbench/audit/audit.h"
#include "workbench/diagnose/extent.h"
#include "workbench/fault/fault.h"

enum diagnosis_how { HOW_REPRODUCED, HOW_RELATION, HOW_CONSISTENT };
const char *diagnosis_how_name(enum diagnosis_how how);

/* A number that explains an error: "rope_theta" is 10000 where 50000 was expected. name "": none. */
struct solved {
    char name[48];
    double expected, found;
};

/* Further layers are not listed. */
#define DIAGNOSIS_MOST_LAYERS 256

struct solved solved_number(const char *name, double expected, double found);

/* The fault of logits that choose other tokens than the golden's, where no stage before them can be judged. */
#define DIAGNOSIS_OTHER_TOKENS "other-tokens"

struct diagnosis {
    char fault[64]; /* name of the fault, or of the relation ("zeros", "constant-multiple") */
    enum diagnosis_how how;
    enum fault_kind kind;   /* what sort of bug it is */
    char text[512];         /* the evidence in words */
    const char *postmortem; /* or "" */
    struct solved solved;   /* the number that a solver computed */
    uint32_t step;          /* the wrong step: the one that fails, or one inside its span */
    /* Set by whoever judges several steps: */
    uint32_t introduced; /* the step whose error this explains */
    uint32_t trace;
    struct extent extent; /* of that step's error */
    uint32_t n_layers,
        layers[DIAGNOSIS_MOST_LAYERS]; /* where the same bug strikes the same stage; 0: outside the layers */
};

/* Tries every mutant and every relation that applies to a failing step of a trace. Writes those that hold to
 * found[max], the best first. Returns how many. */
uint32_t diagnose_step(const struct plan *plan, uint32_t step, const struct trace *trace, struct diagnosis *found,
                       uint32_t max);

/* Whether a failing step of another layer has the same bug as a step that was diagnosed before: the known fault
 * reproduces it, or it is diagnosed by the same name. known: the best diagnosis of that step. */
bool diagnose_is_same(const struct plan *plan, uint32_t step, const struct trace *trace, const struct diagnosis *known);

/* Whether a fault planted in a step would show, judged by the rows of a healthy trace: its mutant leaves the bound. A
 * fault that has no mutant shows wherever it applies. */
bool fault_shows(const struct fault *fault, const struct plan *plan, uint32_t step, const struct trace *healthy);

/* How a diagnosis must name the fault. */
enum diagnosis_how fault_named_how(const struct fault *fault);

/* blind_spots.c: names the faults of the table that healthy rows could not show: each applies to steps of the plan, and
 * changes none of their rows beyond its bound. The rows are those of the first trace that recorded all of them; there
 * are no names if none did. Returns how many; names: [most], borrowed. */
uint32_t blind_spots_find(const struct plan *plan, const struct trace *const *traces, uint32_t n_traces,
                          const char **names, uint32_t most);

#endif
