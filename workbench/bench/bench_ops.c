#include "workbench/bench/bench_ops.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "workbench/trace/json_file.h"

#define RUNS 5

enum status bench_ops_measure(struct backend *backend, struct bench_ops *ops, struct error *err)
{
    const struct plan *plan = backend->plan;
    double *ns = xcalloc(plan->n_steps, sizeof(*ns));
    enum status status = STATUS_OK;
    for (int run = 0; run < RUNS && status == STATUS_OK; run++) {
        status = engine_time_ops(backend, ns, err);
        for (uint32_t i = 0; i < plan->n_steps && status == STATUS_OK; i++)
            ops->us[plan->steps[i].stage] += ns[i] / RUNS / 1e3;
    }
    ops->measured = status == STATUS_OK;
    free(ns);
    return status;
}

void bench_ops_print(const struct bench_ops *ops, const char *phase)
{
    double total = 0;
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        total += ops->us[stage];
        if (ops->us[stage] > 0)
            printf("%-8s %-16s %10.1f us\n", phase, stage_name(stage), ops->us[stage]);
    }
    printf("%-8s %-16s %10.1f us, on the device, each op waiting for the one before\n", phase, "all", total);
}

json_t *bench_ops_json(const struct bench_ops *ops)
{
    json_t *root = json_object();
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        if (ops->us[stage] > 0)
            json_put(root, stage_name(stage), json_real(ops->us[stage]));
    }
    return root;
}
