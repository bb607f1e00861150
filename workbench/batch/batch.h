/* A batch: many comparisons of models with goldens and traces in one command. A case that fails, or whose process dies,
 * never stops the others. */
#ifndef LOCKSTEP_WORKBENCH_BATCH_BATCH_H
#define LOCKSTEP_WORKBENCH_BATCH_BATCH_H

#include <jansson.h>

#include "model/error.h"

/* What comes of a case, and what is expected of it. */
enum outcome { OUTCOME_PARITY, OUTCOME_DIVERGED, OUTCOME_UNDECIDED, OUTCOME_ERROR, OUTCOME_COUNT };
const char *outcome_name(enum outcome outcome); /* "parity" */

/* One comparison. Texts are owned; NULL: not given. */
struct batch_case {
    char *name;
    char *model;                         /* a path, as for the command line */
    char *golden, *trace, *golden_model; /* paths */
    char *on, *device, *weights;         /* as --on, --device, --weights */
    char **faults;                       /* [n_faults] as --fault */
    uint32_t n_faults;
    enum outcome expect; /* OUTCOME_PARITY unless the file says otherwise */
    json_t *result;      /* of this run or, with --resume, of an earlier one; NULL: none yet */
};

struct batch_cases {
    char *path; /* the file or folder */
    uint32_t n_cases;
    struct batch_case *cases;
    uint32_t n_skipped;
    char **skipped; /* [n_skipped] goldens of a folder without a model of the same name; owned */
};

/* Reads CASES.toml, CASES.json ("-": JSON from standard input), or a FOLDER: every golden NAME.h5 in it whose model,
 * the folder NAME or NAME.gguf, lies beside it. STATUS_BAD_INPUT names file, case and field. (read_cases.c) */
enum status cases_read(struct batch_cases *batch, const char *path, struct error *err);
void cases_free(struct batch_cases *batch);

struct batch_options {
    const char *json;     /* the result, written after every case; "-": at the end, to standard output; NULL: nowhere */
    const char *resume;   /* a result of before: cases that it has, and that nothing changed of, are not run again */
    const char *dask;     /* address of a Dask scheduler; NULL: run here */
    uint32_t n_processes; /* at most; 0: as many as cores and memory allow */
};

/* Runs every case that has no result yet. STATUS_INTERRUPTED: Ctrl-C; what is done is written. */
enum status cases_run(struct batch_cases *batch, const struct batch_options *options, struct error *err);

/* The format "lockstep-batch", version 1. The caller releases it. */
json_t *cases_json(const struct batch_cases *batch);

/* The exit status: STATUS_OK if every case is as expected. */
enum status cases_status(const struct batch_cases *batch);

/* Prints what is not as expected, then a table of all cases. */
void cases_print(const struct batch_cases *batch);

#endif
