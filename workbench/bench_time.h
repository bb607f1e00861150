/* Clock and medians of what is measured. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_TIME_H
#define LOCKSTEP_WORKBENCH_BENCH_TIME_H

#include <stdint.h>

double bench_now_ms(void);

/* The median of n > 0 values, and through *least the least, if that is wanted; they are sorted. */
double bench_median(double *values, uint32_t n, double *least);

#endif
