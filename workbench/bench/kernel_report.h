/* What is said of a kernel that was run: a line for people, an object in JSON. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_REPORT_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_REPORT_H

#include <jansson.h>

#include "engine/engine.h"
#include "workbench/bench/kernel.h"

/* Each time waits for the one before it; or none does. */
enum kernel_way { WAY_LEVEL, WAY_APART, N_WAYS };

#define KERNEL_PROGRAMS 16

struct kernel_result {
    char absent[256]; /* why the device does not run it; empty: it does */
    double ratio;     /* as kernel_check has it */
    bool same;
    struct {
        double median_us, min_us; /* of one time; none if it is wrong */
        uint32_t n_runs;          /* that they are of */
    } ways[N_WAYS];
    uint32_t n_programs; /* dispatches of one time; the first KERNEL_PROGRAMS of them are in `programs` */
    struct engine_program programs[KERNEL_PROGRAMS];
};

bool kernel_is_right(const struct kernel_result *result);

/* "matmul 6912x1152 Q4_0 decode: error 3.1 times its bound", of one that is wrong. */
void kernel_reason(const struct kernel *kernel, const struct kernel_result *result, char *text, size_t size);

/* bandwidth: bytes a second, what the rates are shares of. verbose: and a line for each program. */
void kernel_print_header(const char *device, double bandwidth);
void kernel_print(const struct kernel *kernel, const struct kernel_result *result, double bandwidth, bool verbose);
json_t *kernel_json(const struct kernel *kernel, const struct kernel_result *result, double bandwidth);

#endif
