/* The device time of one kernel. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_TIME_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_TIME_H

#include "workbench/bench/kernels/kernel_report.h"

/* Times a kernel that is right and whose batch has begun (kernel_begin_batch), in every kernel_way. */
enum status kernel_time(const struct kernel *kernel, struct backend *engine, struct kernel_result *result,
                        struct error *err);

#endif
