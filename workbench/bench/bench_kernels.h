/* `bench --kernels`: the time of single kernels on the device, each by itself. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_BENCH_KERNELS_H
#define LOCKSTEP_WORKBENCH_BENCH_BENCH_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "model/error.h"

struct bench_kernels_options {
    const char *words;         /* only kernels whose names hold words that begin so; NULL or "": all */
    const char *const *faults; /* [n_faults] planted, as in session_options */
    uint32_t n_faults;
    const char *device; /* as engine_options.device */
    const char *json;   /* the report goes there too; NULL: nowhere, "-": to standard output alone */
    bool verbose;       /* print the programs that each kernel runs */
};

/* Checks each kernel against the reference, then times it. STATUS_DIVERGED: at least one kernel is wrong. */
enum status bench_kernels(const struct bench_kernels_options *options, struct error *err);

#endif
