/* What measurements share: the clock, medians, and how long a GPU warms up. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_TIMING_H
#define LOCKSTEP_WORKBENCH_BENCH_TIMING_H

#include <stdint.h>

/* An idle GPU runs at a fraction of its clock (an H200 at 345 of 1980 MHz) and needs some 300 ms of work to speed up.
 */
#define GPU_WARM_UP_MS 1000

double now_ms(void);

/* The median of n > 0 values, which are sorted in place. *least: the smallest value; may be NULL. */
double median(double *values, uint32_t n, double *least);

#endif
