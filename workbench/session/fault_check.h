/* Faults planted in the engine and looked for: what `faults --check` and the tests of the postmortems stand on. One
 * device, with the shaders that it compiled, serves all models and all faults. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_FAULT_CHECK_H
#define LOCKSTEP_WORKBENCH_SESSION_FAULT_CHECK_H

#include "workbench/session/comparison.h"
#include "workbench/session/session.h"

/* A model that faults are planted in. Zero-initialised: none yet. */
struct fault_check {
    struct session *session;   /* NULL: none is open */
    struct trace tokens;       /* what is run: the golden's tokens and phases, or made-up ones */
    struct comparison healthy; /* the engine without a fault, judged */
};

/* Opens a model, runs the engine on the tokens of a golden (NULL: on made-up ones) and judges the run. The engine of a
 * model that was open goes over to this one. device: as engine_options.device. */
enum status fault_check_open(struct fault_check *check, const char *model, const char *golden, const char *device,
                             struct error *err);
void fault_check_close(struct fault_check *check);

/* What happened with faults that were planted at once. */
struct fault_outcome {
    int64_t planted; /* the step at which the first of them shows first; -1: of no step */
    int64_t found;   /* the first step that introduces an error; -1: none */
    const char *how; /* one of CONTRACT's words; "none": nothing was found */
    char named[64];  /* the first diagnosis, or "" */
    bool ok;         /* found where it was planted, in the phase where it shows, and named first as its row says */
    bool failed;     /* the engine did, and nothing was judged */
    struct comparison judged;
};

/* Whether a fault changes this model and shows in what it runs (a window that no position passes does not). text: as
 * --fault has it. *planted: as in struct fault_outcome. STATUS_USAGE where it is no fault. */
enum status fault_check_applies(const struct fault_check *check, const char *text, bool *applies, int64_t *planted,
                                struct error *err);

/* Plants one fault that applies, runs the engine and judges the run. */
enum status fault_check_run(struct fault_check *check, const char *text, struct fault_outcome *outcome,
                            struct error *err);

/* Plants several at once. ok: each is among what is introduced, at its own place, and is named there. */
enum status fault_check_together(struct fault_check *check, const char *const *texts, uint32_t n,
                                 struct fault_outcome *outcome, struct error *err);

void fault_outcome_free(struct fault_outcome *outcome);

#endif
