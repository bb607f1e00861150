/* Builders of kernel_table.c's rows: one op from its parameters, or a group from a model's shape. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_BUILD_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_BUILD_H

#include "workbench/bench/kernel.h"

typedef void kernel_builder(struct kernel *kernel, const struct kernel_case *row);

kernel_builder build_matmul, build_rms_norm, build_rope, build_attention, build_embed, build_glu, build_add,
    build_softcap, build_topk, build_topk_softmax, build_expert_matmul, build_swiglu, build_expert_sum;

/* What the engine makes one dispatch, or a few, of a layer: the norms around the residual's add with q, k and v; norms
 * and rope of q and k with the attention and o; the norms with gate, up and the activation; the last norm and the head.
 */
kernel_builder build_qkv_group, build_attention_group, build_ffn_group, build_head_group;

#endif
