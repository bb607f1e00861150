/* Running one case of a batch. */
#ifndef LOCKSTEP_WORKBENCH_BATCH_RUN_CASE_H
#define LOCKSTEP_WORKBENCH_BATCH_RUN_CASE_H

#include "workbench/batch/batch.h"
#include "workbench/session/session.h"

/* A model that stays open from case to case. Zero-initialised: none. */
struct open_model {
    bool is_open;
    char *path, *device; /* of the session; device NULL: none was named */
    struct session session;
};
void open_model_close(struct open_model *open);

/* Runs a case. Returns its result, an entry of "cases" in the batch's JSON without "name" and "key"; the caller
 * releases it. A case that fails is a result, too. */
json_t *case_run(struct open_model *open, const struct batch_case *one);

/* The result of a case that failed; status: as the exit status of `diff` would be. */
json_t *case_failed(const struct batch_case *one, const char *why, enum status status, double seconds);

/* Seconds of a monotonic clock. */
double seconds_now(void);

/* What a result depends on: digests of model, golden and trace, options, and lockstep's commit. A file that cannot be
 * read has no digest. `digests` keeps them by path. The caller releases it. (case_key.c) */
json_t *case_key(const struct batch_case *one, json_t *digests);

#endif
