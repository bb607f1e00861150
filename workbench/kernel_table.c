/* What `bench --kernels` measures: the kernels that the models run, at the sizes of Gemma 3 1B, Gemma 2 2B, GPT-OSS 20B
 * and SmolLM2. */
#include "workbench/kernel.h"

#define BIT(dtype) (1u << DTYPE_##dtype)
#define FLOATS (BIT(F32) | BIT(F16) | BIT(BF16))
#define BLOCKS_OF_32 (BIT(Q4_0) | BIT(Q4_1) | BIT(Q5_0) | BIT(Q8_0))
#define K_BLOCKS (BIT(Q4_K) | BIT(Q6_K))

static void build_matmul(struct kernel *kernel, const struct kernel_case *row)
{
    const struct matmul_params *op = &row->params.matmul;
    uint32_t x = kernel_values(kernel, op->n_in);
    kernel->copied = kernel->plan.n_steps;
    struct step *step = kernel_step(kernel, OP_matmul, STAGE_ffn_down, op->n_out, &row->params);
    step->input[0] = (int32_t)x;
    step->weight[0] = kernel_tensor(kernel, kernel->dtype, op->n_out, op->n_in);
}

#define MATMUL(n_out, n_in, formats, rows)                                                       \
    {                                                                                            \
        "matmul " #n_out "x" #n_in, build_matmul, {.matmul = {n_in, n_out, 0}}, formats, rows, 0 \
    }

const struct kernel_case kernel_cases[] = {
    /* Gemma 3 1B: gate and up, down, q, the head. */
    MATMUL(6912, 1152, FLOATS | BLOCKS_OF_32 | K_BLOCKS | BIT(MXFP4), KERNEL_1 | KERNEL_128 | KERNEL_512),
    MATMUL(1152, 6912, FLOATS | BLOCKS_OF_32 | K_BLOCKS | BIT(MXFP4), KERNEL_1 | KERNEL_128 | KERNEL_512),
    MATMUL(1024, 1152, FLOATS | BLOCKS_OF_32 | K_BLOCKS | BIT(MXFP4), KERNEL_1 | KERNEL_128 | KERNEL_512),
    MATMUL(262144, 1152, BIT(F16) | BIT(BF16) | BLOCKS_OF_32 | BIT(Q6_K), KERNEL_1),
};
const uint32_t n_kernel_cases = sizeof(kernel_cases) / sizeof(kernel_cases[0]);
