/* Plants faults in the engine and checks that they are found and named: `faults --check` and the tests of postmortems.
 * All models and faults share one device and its compiled shaders. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_FAULT_CHECK_H
#define LOCKSTEP_WORKBENCH_SESSION_FAULT_CHECK_H

#include "workbench/session/comparison.h"
#include "workbench/session/session.h"

/* A model to plant faults in. Zero-initialised: none is open. */
struct fault_check {
    struct session *session;   /* NULL: none is open */
    struct trace tokens;       /* what is run: the golden's tokens and phases, or made-up ones */
    struct comparison healthy; /* the engine without a fault, judged */
};

/* Opens a model in place of the one that was open, and takes over its engine. Runs the tokens of a golden (NULL:
 * made-up ones) and judges the run. device: as engine_options.device. */
enum status fault_check_open(struct fault_check *check, const char *model, const char *golden, const char *device,
                             struct error *err);
void fault_check_close(struct fault_check *check);

/* What came of planting one or several faults. */
struct fault_outcome {
    int64_t planted; /* the step at which the first of them shows; -1: at none */
    int64_t found;   /* the first step that introduces an error; -1: none */
    const char *how; /* one of CONTRACT's words; "none": nothing was found */
    char named[64];  /* the first diagnosis, or "" */
    bool ok;         /* found where and in the phase in which it was planted, and named first as its row says */
    bool failed;     /* the engine computed nothing, and nothing was judged */
    struct comparison judged;
};

/* Whether a fault changes this model, and shows in what is run: a window that no position passes does not. text: as
 * for --fault. *planted: as in struct fault_outcome. STATUS_USAGE where text names no fault. */
enum status fault_check_applies(const struct fault_check *check, const char *text, bool *applies, int64_t *planted,
                                struct error *err);

/* What the diagnosis must call a fault that is planted so: its name, or what it is called in one layer alone. */
const char *fault_check_name(const struct fault_request *request);

/* Plants one fault that applies, runs the engine and judges the run. */
enum status fault_check_run(struct fault_check *check, const char *text, struct fault_outcome *outcome,
                            struct error *err);

/* Plants n faults at once. outcome->ok: each of them introduces an error at its own place and is named there. */
enum status fault_check_together(struct fault_check *check, const char *const *texts, uint32_t n,
                                 struct fault_outcome *outcome, struct error *err);

void fault_outcome_free(struct fault_outcome *outcome);

#endif
