#include "workbench/bench/bench_time.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "model/error.h"

double bench_now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, uint32_t n, double *least)
{
    ASSERT(n > 0);
    qsort(values, n, sizeof(*values), by_value);
    if (least)
        *least = values[0];
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

const char *bench_logits_wrong(const float *logits, uint64_t n)
{
    bool differ = n < 2;
    for (uint64_t i = 0; i < n; i++) {
        if (!isfinite(logits[i]))
            return "a logit is not finite";
        differ = differ || logits[i] != logits[0];
    }
    return differ ? NULL : "all logits are the same";
}
