#include "engine/placement/stage_kernels.h"

#include <string.h>

_Static_assert(KERNEL_COUNT <= 32, "a set of kernels is the bits of a uint32_t");

static const struct {
    const char *name;
    uint32_t least_rows, most_rows;
} kernels[KERNEL_COUNT] = {{"auto", 1, UINT32_MAX},
#define X(name, least_rows, most_rows) {#name, least_rows, most_rows},
                           KERNELS(X)
#undef X
};

const char *stage_kernel_name(enum stage_kernel kernel)
{
    return kernels[kernel].name;
}

enum stage_kernel stage_kernel_by_name(const char *name)
{
    unsigned i = 0;
    while (i < KERNEL_COUNT && strcmp(kernels[i].name, name) != 0) {
        i++;
    }
    return (enum stage_kernel)i;
}

enum stage_kernel stage_kernel_chosen(const struct kernel_choices *choices, enum stage stage, uint32_t n_rows)
{
    enum stage_kernel kernel = choices->of_stage[stage];
    return n_rows >= kernels[kernel].least_rows && n_rows <= kernels[kernel].most_rows ? kernel : KERNEL_AUTO;
}
