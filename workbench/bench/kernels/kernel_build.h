/* Functions that build the rows of kernel_table.c: one op from its parameters, or a group from a model's shape. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_BUILD_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_BUILD_H

#include "workbench/bench/kernels/kernel.h"

typedef void kernel_builder(struct kernel *kernel, const struct kernel_case *row);

kernel_builder build_matmul, build_rms_norm, build_rope, build_attention, build_embed, build_glu, build_add,
    build_softcap, build_topk, build_topk_softmax, build_expert_matmul, build_swiglu, build_expert_sum;

/* Groups that the engine fuses into one dispatch or a few. qkv: norms around the residual add, then q, k and v.
 * attention: norms and rope of q and k, attention, o. ffn: norms, gate, up, activation. head: last norm and logits. */
kernel_builder build_qkv_group, build_attention_group, build_ffn_group, build_head_group;

#endif
