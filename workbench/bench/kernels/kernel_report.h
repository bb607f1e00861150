/* The result of one kernel, as a line for people and as JSON. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_REPORT_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_REPORT_H

#include <jansson.h>

#include "engine/engine.h"
#include "workbench/bench/kernels/kernel.h"

/* How repetitions are timed: each waits for the one before it ("level"), or none waits ("apart"). */
enum kernel_way { WAY_LEVEL, WAY_APART, N_WAYS };

#define KERNEL_PROGRAMS 16

struct kernel_result {
    char absent[256]; /* why the device cannot run it; empty: it can */
    double ratio;     /* see kernel_check */
    bool same;
    struct {
        double median_us, min_us; /* of one repetition; 0 if the kernel is wrong */
        uint32_t n_runs;          /* runs that were measured */
    } ways[N_WAYS];
    uint32_t n_programs; /* dispatches in one repetition; `programs` holds the first KERNEL_PROGRAMS */
    struct engine_program programs[KERNEL_PROGRAMS];
};

bool kernel_is_right(const struct kernel_result *result);

/* Why a kernel is wrong: "matmul 6912x1152 Q4_0 decode: error 3.1 times its bound". */
void kernel_reason(const struct kernel *kernel, const struct kernel_result *result, char *text, size_t size);

/* bandwidth: bytes a second, of which rates are shown as shares. verbose: print a line for each program, too. */
void kernel_print_header(const char *device, double bandwidth);
void kernel_print(const struct kernel *kernel, const struct kernel_result *result, double bandwidth, bool verbose);
json_t *kernel_json(const struct kernel *kernel, const struct kernel_result *result, double bandwidth);

#endif
