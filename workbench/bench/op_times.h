/* bench --ops: the device's time for each op, from timestamps around it. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_OP_TIMES_H
#define LOCKSTEP_WORKBENCH_BENCH_OP_TIMES_H

#include <jansson.h>

#include "model/backend.h"
#include "model/stages.h"

struct op_times {
    bool measured;
    double us[STAGE_COUNT]; /* microseconds of a stage, summed over all layers; mean of several runs; 0: no such op */
};

/* Measures the batch that ran last. Each op waits for the one before it. A fused op counts as its first stage. */
enum status op_times_measure(struct backend *backend, struct op_times *times, struct error *err);
void op_times_print(const struct op_times *times, const char *phase);

/* Operations, each of several stages, beside the time that reading their weights and keys takes at this bandwidth
 * (bytes a second; 0: not known). positions: visible to the token. Printed, and as JSON, which the caller owns. */
void op_table_print(const struct op_times *times, const struct plan *plan, double bandwidth, uint32_t positions);
json_t *op_table_json(const struct op_times *times, const struct plan *plan, double bandwidth, uint32_t positions);

/* {"q_proj": microseconds, …}; the caller owns it. */
json_t *op_times_json(const struct op_times *times);

#endif
