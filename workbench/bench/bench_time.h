/* What measurements share: the clock, medians, how long to warm up, and whether logits can be right. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_BENCH_TIME_H
#define LOCKSTEP_WORKBENCH_BENCH_BENCH_TIME_H

#include <stdint.h>

/* An idle GPU runs at a fraction of its clocks (an H200 at 345 of 1980 MHz), and for some 300 ms of work goes on so. */
#define GPU_WARM_UP_MS 1000

double bench_now_ms(void);

/* The median of n > 0 values, and through *least the least, if that is wanted; they are sorted. */
double bench_median(double *values, uint32_t n, double *least);

/* Why these logits cannot be right, whatever the model: one is not finite, or all are the same. NULL: they can. */
const char *bench_logits_wrong(const float *logits, uint64_t n);

#endif
