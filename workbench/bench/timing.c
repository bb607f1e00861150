#include "workbench/bench/timing.h"

#include <stdlib.h>
#include <time.h>

#include "model/error.h"

double now_ms(void)
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

double median(double *values, uint32_t n, double *least)
{
    ASSERT(n > 0);
    qsort(values, n, sizeof(*values), by_value);
    if (least) {
        *least = values[0];
    }
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
