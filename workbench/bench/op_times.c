#include "workbench/bench/op_times.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "workbench/trace/json_file.h"

#define RUNS 5

enum status op_times_measure(struct backend *backend, struct op_times *times, struct error *err)
{
    const struct plan *plan = backend->plan;
    double *ns = xcalloc(plan->n_steps, sizeof(*ns));
    enum status status = STATUS_OK;
    for (int run = 0; run < RUNS && status == STATUS_OK; run++) {
        status = engine_time_ops(backend, ns, err);
        for (uint32_t i = 0; i < plan->n_steps && status == STATUS_OK; i++) {
            times->us[plan->steps[i].stage] += ns[i] / RUNS / 1e3;
        }
    }
    times->measured = status == STATUS_OK;
    free(ns);
    return status;
}

void op_times_print(const struct op_times *times, const char *phase)
{
    double total = 0;
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        total += times->us[stage];
        if (times->us[stage] > 0) {
            printf("%-8s %-16s %10.1f us\n", phase, stage_name(stage), times->us[stage]);
        }
    }
    printf("%-8s %-16s %10.1f us on the device; each op waits for the one before it\n", phase, "all", total);
}

json_t *op_times_json(const struct op_times *times)
{
    json_t *root = json_object();
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        if (times->us[stage] > 0) {
            json_put(root, stage_name(stage), json_real(times->us[stage]));
        }
    }
    return root;
}
