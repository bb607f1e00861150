/* bench --kernels: checks single kernels against the reference and times them on the device. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_BENCH_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "model/error.h"

struct kernel_bench_options {
    const char *words;         /* selects the kernels in whose name each of these begins a word; NULL or "": all */
    const char *const *faults; /* [n_faults] planted, as in session_options */
    uint32_t n_faults;
    const char *device; /* as engine_options.device */
    const char *json;   /* file for the report; "-": standard output, and no text; NULL: none */
    bool verbose;       /* print the programs that each kernel runs */
};

/* Checks each kernel against the reference, then times it. STATUS_DIVERGED: at least one kernel is wrong. */
enum status kernel_bench_run(const struct kernel_bench_options *options, struct error *err);

#endif
