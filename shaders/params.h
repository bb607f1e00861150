/* What C and GLSL share: dtype codes, the faulty variants of ops, and the parameters of every op. There is one
 * definition, so that the two languages cannot disagree on a field's place (postmortem 2025-12-17
 * softmax-uniform-buffer: two swapped uniforms cost a week). Every field has 4 bytes, so the layouts of C and std430
 * are the same. */
#ifndef LOCKSTEP_SHADERS_PARAMS_H
#define LOCKSTEP_SHADERS_PARAMS_H

#ifdef GL_core_profile
#define UINT uint
#define FLOAT float
#define INT int
#else
#include <stdint.h>
#define UINT uint32_t
#define FLOAT float
#define INT int32_t
#endif

#include "dtypes.h"

/* How the elements of a matrix lie in its blocks. GGUF and safetensors always have the first layout; RDRR has all
 * three. */
#define LAYOUT_ROWS 0    /* each row begins a block; the last block of a row may be padded */
#define LAYOUT_PACKED 1  /* one stream of blocks over all elements; a row can begin inside a block */
#define LAYOUT_COLUMNS 2 /* the transposed matrix, [in, out], by LAYOUT_ROWS */

#define ACTIVATION_SILU 0
#define ACTIVATION_GELU_TANH 1
#define ACTIVATION_GELU_ERF 2 /* no family has it; the fault gelu-erf does */
#define ACTIVATION_NONE 3     /* y = gate up; the reference alone has it, for diagnoses */

/* Rotary embeddings, as transformers' modeling_rope_utils.py names them. */
#define ROPE_TYPE_DEFAULT 0
#define ROPE_TYPE_LINEAR 1
#define ROPE_TYPE_LLAMA3 2
#define ROPE_TYPE_YARN 3

/* bandwidth.comp, which measures how fast a device reads. */
struct bandwidth_params {
    UINT n; /* vec4s in the buffer */
};

/* argmax.comp, which chooses the next token on the device. */
struct argmax_params {
    UINT n;        /* values */
    UINT chunk;    /* values of a workgroup */
    UINT n_chunks; /* workgroups */
    UINT masked;   /* index that is never chosen; UINT32_MAX: none */
};

/* Parameters of fused dispatches (engine/lowering/fuse.c), which cover several steps of the plan. */
struct norms_params { /* rms_norm, add, rms_norm; the first or the last one may be missing */
    UINT width;
    UINT has_first, has_last;
    FLOAT first_eps, first_offset;
    FLOAT last_eps, last_offset;
};

struct head_norm_params { /* head_norm_rope.comp: rms_norm over each head, then rope */
    UINT heads;
    UINT dim;
    FLOAT eps;
    FLOAT offset;
};

struct matmul_glu_params { /* gate and up, then the activation */
    UINT n_in;
    UINT n_out;
    UINT has_bias; /* 0 */
    UINT second;   /* byte at which up's rows start, counted from gate's first row */
    UINT activation;
};

/* matvec.comp: what computes x, and what follows the product. */
#define PROLOGUE_NONE 0          /* x is a stage */
#define PROLOGUE_NORM 1          /* the norm of a stage */
#define PROLOGUE_ADD_NORM 2      /* a branch is added to the residual, then normalised */
#define PROLOGUE_NORM_ADD_NORM 3 /* the same, and the branch is normalised first */
#define PROLOGUE_ATTENTION 4     /* the join of an attention's parts */
#define PROLOGUE_ROPE 5          /* attention_part: rope of q and k; PROLOGUE_NORM there: norms and rope */
#define EPILOGUE_NONE 0
#define EPILOGUE_GLU 1     /* gate and up, then the activation */
#define EPILOGUE_SOFTCAP 2 /* the final softcap; the logits before it are stored as well */

struct matvec_params {
    UINT n_out;
    UINT has_bias;
    UINT stores; /* 1: the first workgroup stores the prologue's results */
    UINT second; /* byte at which up's rows start, counted from gate's first row */
    FLOAT cap;
    FLOAT first_eps, first_offset; /* of the branch's norm */
    FLOAT last_eps, last_offset;
    UINT heads; /* PROLOGUE_ATTENTION: the parts are [heads][n_parts] */
    UINT n_parts, keys_a_part, window;
};

/* attention_part.comp: one row's attention by [heads][n_parts] workgroups; and attention_join.comp, which joins the
 * parts. */
struct attention_part_params {
    UINT heads;
    UINT kv_heads;
    FLOAT scale;
    FLOAT softcap;
    UINT window;
    UINT has_sinks;
    UINT n_parts, keys_a_part;
    FLOAT q_eps, q_offset, k_eps, k_offset;
};

struct attention_join_params {
    UINT heads;
    UINT n_parts, keys_a_part, window;
};

struct matmul_softcap_params {
    UINT n_in;
    UINT n_out;
    UINT has_bias;
    FLOAT cap;
};

/* These come before the op's own parameters in the push constants of every op. They say which part of a step a dispatch
 * computes: a matrix that is larger than the device's longest binding is read in slices, one dispatch each. */
struct dispatch_params {
    UINT n_rows; /* rows of the batch */
    UINT first;  /* first weight row of the slice that is bound */
    UINT count;  /* weight rows of the slice */
};

struct embed_params {
    UINT width; /* of a row */
    UINT vocab;
    FLOAT scale;
};

struct rms_norm_params {
    UINT groups; /* heads, for a norm over each head; 1 otherwise */
    UINT dim;    /* values of a group */
    FLOAT eps;
    FLOAT offset; /* multiplies by (offset + weight) */
};

struct matmul_params {
    UINT n_in;
    UINT n_out;
    UINT has_bias;
};

struct matmul_tile_params { /* matmul_tile.comp, matmul_coop.comp: many rows of x */
    UINT n_in;
    UINT n_out;
    UINT has_bias;
    FLOAT scale; /* power of two that brings the weights into the range of halves */
};

struct rope_params {
    UINT heads;
    UINT dim;       /* of a head; pairs are (i, i + dim/2) */
    UINT type;      /* ROPE_TYPE_ code */
    FLOAT theta;    /* base of the frequencies: pair i is rotated by position / factor * theta^(-2i/dim) */
    FLOAT factor;   /* linear, llama3, yarn: how much longer the context is; 1 otherwise */
    FLOAT low;      /* llama3: low_freq_factor; yarn: beta_slow */
    FLOAT high;     /* llama3: high_freq_factor; yarn: beta_fast */
    FLOAT original; /* llama3, yarn: positions of the original training */
    UINT truncate;  /* yarn: 1: the correction range is widened to whole dims */
    FLOAT scale;    /* of cos and sin: yarn's attention factor; 1 otherwise */
};

struct attention_params {
    UINT heads;
    UINT kv_heads;
    UINT dim;
    FLOAT scale;
    FLOAT softcap;  /* 0: none */
    UINT window;    /* visible keys, including that of the own position; 0: all */
    UINT has_sinks; /* 1: a weight holds one more score per head, which takes part in the softmax and has no value */
};

struct glu_params {
    UINT width;
    UINT activation; /* ACTIVATION_ code */
};

struct add_params {
    UINT width;
};

struct topk_softmax_params {
    UINT n;
    UINT k;
};

struct topk_params {
    UINT n;
    UINT k;
};

struct expert_matmul_params {
    UINT n_experts;
    UINT k; /* experts that each row chooses */
    UINT n_in;
    UINT n_out;
    UINT shared_x; /* 1: all chosen experts read the same x [n_in]; 0: each reads its own row of [k, n_in] */
    UINT has_bias;
};

struct swiglu_params {
    UINT width;  /* outputs of a row; there are twice as many inputs, gate and up alternating */
    FLOAT limit; /* gate is clamped from above, |up| is clamped */
    FLOAT alpha; /* gate is multiplied by sigmoid(alpha * gate) */
    UINT run;    /* outputs of one expert; `width` is a multiple of it */
};

struct expert_sum_params {
    UINT k;
    UINT width;
};

struct softcap_params {
    UINT width;
    FLOAT cap; /* 0: a copy */
};

#endif
