/* The kernels that make the rows of stages, and the user's choice among them. lowering/kernel_choice.h applies it. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_STAGE_KERNELS_H
#define LOCKSTEP_ENGINE_PLACEMENT_STAGE_KERNELS_H

#include <stdint.h>

#include "model/stages.h"

/* The shader (file shaders/NAME.comp), and the fewest and most rows of a batch that it is made for. */
#define KERNELS(X)                          \
    X(embed, 1, UINT32_MAX)                 \
    X(rms_norm, 1, UINT32_MAX)              \
    X(norms, 1, UINT32_MAX)                 \
    X(head_norm_rope, 1, UINT32_MAX)        \
    X(rope, 1, UINT32_MAX)                  \
    X(add, 1, UINT32_MAX)                   \
    X(matvec, 1, 1)                         \
    X(matmul, 1, UINT32_MAX)                \
    X(matmul_reduce, 1, UINT32_MAX)         \
    X(matmul_tile, 2, UINT32_MAX)           \
    X(matmul_coop, 2, UINT32_MAX)           \
    X(matmul_coop_nv, 2, UINT32_MAX)        \
    X(matmul_glu, 1, UINT32_MAX)            \
    X(matmul_reduce_glu, 1, UINT32_MAX)     \
    X(glu, 1, UINT32_MAX)                   \
    X(matmul_softcap, 1, UINT32_MAX)        \
    X(matmul_reduce_softcap, 1, UINT32_MAX) \
    X(softcap, 1, UINT32_MAX)               \
    X(attention, 1, UINT32_MAX)             \
    X(attention_tile, 2, UINT32_MAX)        \
    X(attention_part, 1, 1)                 \
    X(attention_join, 1, 1)                 \
    X(topk, 1, UINT32_MAX)                  \
    X(topk_softmax, 1, UINT32_MAX)          \
    X(expert_matmul, 1, UINT32_MAX)         \
    X(expert_matmul_reduce, 1, UINT32_MAX)  \
    X(swiglu, 1, UINT32_MAX)                \
    X(expert_sum, 1, UINT32_MAX)

enum stage_kernel {
    KERNEL_AUTO, /* as suits the device and the batch */
#define X(name, least_rows, most_rows) KERNEL_##name,
    KERNELS(X)
#undef X
        KERNEL_COUNT
};

/* The kernel that shall make each stage, in every layer. Zero-initialised: all KERNEL_AUTO. A batch of fewer or more
 * rows than the kernel is made for is computed as if nothing were chosen. */
struct kernel_choices {
    uint8_t of_stage[STAGE_COUNT]; /* enum stage_kernel */
};

/* The name of a kernel's shader; "auto". */
const char *stage_kernel_name(enum stage_kernel kernel);

/* Finds a kernel by name. KERNEL_COUNT: there is none. */
enum stage_kernel stage_kernel_by_name(const char *name);

/* The choice, for a batch of n_rows; KERNEL_AUTO where the kernel is not made for so many rows. */
enum stage_kernel stage_kernel_chosen(const struct kernel_choices *choices, enum stage stage, uint32_t n_rows);

#endif
