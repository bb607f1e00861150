/* `bench --kernels`: the time of single kernels on the device, each by itself. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_BENCH_KERNELS_H
#define LOCKSTEP_WORKBENCH_BENCH_BENCH_KERNELS_H

#include "workbench/cli/command.h"

/* The command. positional[0], if there is one, says which: every word of it begins a word of the names of those that
 * run. STATUS_DIVERGED where one is wrong. */
enum status bench_kernels(const struct arguments *arguments, struct error *err);

#endif
