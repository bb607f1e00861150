/* bench --kernels: checks single kernels against the reference and times them on the device. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_BENCH_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/error.h"

struct kernel_bench_options {
    const char *words;         /* selects the kernels in whose name each of these begins a word; NULL or "": all */
    const char *const *faults; /* [n_faults] planted, as in session_options */
    uint32_t n_faults;
    const char *device; /* as engine_options.device */
    bool quiet;         /* print nothing */
    bool verbose;       /* print the programs that each kernel runs */
};

/* Checks each kernel against the reference, then times it. STATUS_DIVERGED: at least one kernel is wrong. *result: the
 * same as JSON, which the caller owns, if it is not NULL and the kernels ran; else NULL. result NULL: not wanted. */
enum status kernel_bench_run(const struct kernel_bench_options *options, json_t **result, struct error *err);

#endif
