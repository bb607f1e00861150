/* Who runs the cases of a batch: processes of our own, or a Dask scheduler. Both call `done` for every case, in the
 * order in which they end. */
#ifndef LOCKSTEP_WORKBENCH_BATCH_RUNNERS_H
#define LOCKSTEP_WORKBENCH_BATCH_RUNNERS_H

#include "workbench/batch/batch.h"

/* index: of the case; result: as case_run returns it, taken over. */
typedef void case_done(void *context, uint32_t index, json_t *result);

struct case_list {
    const struct batch_cases *batch;
    const struct batch_options *options;
    const uint32_t *todo; /* [n_todo] indices of cases */
    uint32_t n_todo;
    case_done *done;
    void *context;
};

/* Runs the cases in processes of our own. Cases of one model go to one process, which loads it once. As many run at
 * once as there are cores, and as their models fit in the memory together. STATUS_INTERRUPTED: Ctrl-C; STATUS_IO: no
 * process can be made. (processes.c) */
enum status processes_run(const struct case_list *list, struct error *err);

/* Runs each case as a task of the scheduler at options->dask: `lockstep batch -` on one of its machines, which must
 * hold lockstep and the files under the same paths. STATUS_ABSENT: .venv lacks Dask; STATUS_IO: no scheduler answers.
 * (dask_run.c) */
enum status dask_run(const struct case_list *list, struct error *err);

#endif
