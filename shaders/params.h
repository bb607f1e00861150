/* What C and GLSL both read: weight formats (dtypes.h), and the parameters of every op. There is one definition, so
 * that the two languages cannot disagree on a field's place (postmortem 2025-12-17 softmax-uniform-buffer: two swapped
 * uniforms cost a week). Every field is 4 bytes wide, so C's layout and std430's are the same. */
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

/* How a matrix's elements lie in its blocks. Of a GGUF and of safetensors it is always the first; RDRR has all three.
 */
#define LAYOUT_ROWS 0    /* each row begins a block; the last block of a row may be padded */
#define LAYOUT_PACKED 1  /* one stream of blocks over all elements; a row can begin inside a block */
#define LAYOUT_COLUMNS 2 /* the transposed matrix, [in, out], by LAYOUT_ROWS */

#define ACTIVATION_SILU 0
#define ACTIVATION_GELU_TANH 1
#define ACTIVATION_GELU_ERF 2 /* no family's; the fault gelu-erf's */

/* Rotary embeddings, as transformers' modeling_rope_utils.py names them. */
#define ROPE_TYPE_DEFAULT 0
#define ROPE_TYPE_LINEAR 1
#define ROPE_TYPE_LLAMA3 2
#define ROPE_TYPE_YARN 3

/* Of read.comp, which measures how fast a device reads. */
struct read_params {
    UINT n; /* vec4s in the buffer */
};

/* Of argmax.comp, which chooses the next token on the device. */
struct argmax_params {
    UINT n;
    UINT chunk, n_chunks; /* values of a workgroup; workgroups */
    UINT masked;          /* never chosen; UINT32_MAX: none */
};

/* What fused dispatches are told (engine/fuse.c): several steps of the plan, each with the arithmetic of its own
 * shader. */
struct norms_params { /* rms_norm, add, rms_norm: the first or the last may be missing */
    UINT width;
    UINT has_first, has_last;
    FLOAT first_eps, first_offset;
    FLOAT last_eps, last_offset;
};

struct head_norm_params { /* rms_norm over each head, then rope */
    UINT heads;
    UINT dim;
    FLOAT eps;
    FLOAT offset;
};

struct matmul_glu_params { /* gate and up, then the activation */
    UINT n_in;
    UINT n_out;
    UINT has_bias; /* 0 */
    UINT second;   /* byte where up's rows start, in the buffer of gate's */
    UINT activation;
};

/* matvec: what makes x, and what becomes of the products. */
#define PROLOGUE_NONE 0          /* x is a stage */
#define PROLOGUE_NORM 1          /* norm of a stage */
#define PROLOGUE_ADD_NORM 2      /* a branch is added to the residual, then the norm */
#define PROLOGUE_NORM_ADD_NORM 3 /* the branch is normalised first */
#define PROLOGUE_ATTENTION 4     /* the parts of an attention are put together */
#define PROLOGUE_ROPE 5          /* attention_part alone: the rope of q and k; with PROLOGUE_NORM their norms as well */
#define EPILOGUE_NONE 0
#define EPILOGUE_GLU 1     /* gate and up, then the activation */
#define EPILOGUE_SOFTCAP 2 /* and the logits through the final softcap */

struct matvec_params {
    UINT n_out;
    UINT has_bias;
    UINT stores; /* 1: the first workgroup stores what the prologue makes */
    UINT second; /* byte where up's rows start, in the buffer of gate's */
    FLOAT cap;
    FLOAT first_eps, first_offset; /* of the branch's norm */
    FLOAT last_eps, last_offset;
    UINT heads; /* of the attention: its parts are [heads][n_parts] */
    UINT n_parts, keys_a_part, window;
};

/* attention_part: one row's attention, [heads][n_parts] workgroups; and attention_join, which puts them together. */
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

/* Ahead of the op's own parameters in every shader's push constants: what part of the step a dispatch does. */
struct dispatch_params {
    UINT n_rows; /* rows of the batch */
    UINT first;  /* first weight row of the slice that is bound; a matrix larger than the device's longest */
    UINT count;  /* binding is read in slices of `count` rows, a dispatch each */
};

struct embed_params {
    UINT width; /* of a row */
    UINT vocab;
    FLOAT scale;
};

struct rms_norm_params {
    UINT groups; /* heads, for a norm over each head; 1 otherwise */
    UINT dim;    /* values a group */
    FLOAT eps;
    FLOAT offset; /* multiplies by (offset + weight) */
};

struct matmul_params {
    UINT n_in;
    UINT n_out;
    UINT has_bias;
};

struct matmul_tile_params { /* a matrix product of many rows of x */
    UINT n_in;
    UINT n_out;
    UINT has_bias;
    FLOAT scale; /* a power of two that brings the weights into the range of halves */
};

struct rope_params {
    UINT heads;
    UINT dim;       /* of a head; pairs are (i, i + dim/2) */
    UINT type;      /* ROPE_TYPE_ code */
    FLOAT theta;    /* base of the frequencies: pair i turns by position / factor * theta^(-2i/dim) */
    FLOAT factor;   /* linear, llama3, yarn: how much longer the context is; 1 otherwise */
    FLOAT low;      /* llama3: low_freq_factor; yarn: beta_slow */
    FLOAT high;     /* llama3: high_freq_factor; yarn: beta_fast */
    FLOAT original; /* llama3, yarn: positions that the model was first trained with */
    UINT truncate;  /* yarn: the correction range is widened to whole dims */
    FLOAT scale;    /* of cos and sin: yarn's attention factor; 1 otherwise */
};

struct attention_params {
    UINT heads;
    UINT kv_heads;
    UINT dim;
    FLOAT scale;
    FLOAT softcap;  /* 0: none */
    UINT window;    /* keys seen, the own one included; 0: all */
    UINT has_sinks; /* a weight holds one more score a head, that takes its share of the softmax and has no value */
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
    UINT k; /* experts chosen a row */
    UINT n_in;
    UINT n_out;
    UINT shared_x; /* 1: all chosen experts read the same x [n_in]; 0: each its own of [k, n_in] */
    UINT has_bias;
};

struct swiglu_params {
    UINT width;  /* outputs of a row; inputs are twice as many, gate and up in turn */
    FLOAT limit; /* gate is at most this, up within +- this */
    FLOAT alpha; /* gate is multiplied by sigmoid(alpha * gate) */
    UINT run;    /* outputs of one expert: `width` is a whole number of them */
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
