/* The time of each op on the device, as timestamps around it say. */
#pragma once

#include <jansson.h>

#include "model/backend.h"
#include "model/stages.h"

struct bench_ops {
    bool measured;
    double us[STAGE_COUNT]; /* microseconds of a stage over all layers, mean of some runs; 0: no such op */
};

/* Measures the batch that ran last, each op waiting for the one before. A fused op goes by its first stage. */
enum status bench_ops_measure(struct backend *backend, struct bench_ops *ops, struct error *err);
void bench_ops_print(const struct bench_ops *ops, const char *phase);
/* {"q_proj": microseconds, …}; a new reference. */
json_t *bench_ops_json(const struct bench_ops *ops);
