/* What C and GLSL both read: dtypes, the wrong variants that a fault can ask an op for, and every op's
 * parameters. One definition, so that the two languages cannot disagree on a field's place
 * (postmortem 2025-12-17 softmax-uniform-buffer: two swapped uniforms cost a week). Every field is 4 bytes
 * wide, so C's layout and std430's are the same. */
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

/* The wrong formulas that a fault asks an op for. 0 is the right one. The reference computes each as a
 * mutant; the engine compiles the op's shader with VARIANT defined to it. */
#define VARIANT_NONE 0

/* rms_norm: copies its input, bit for bit; eps, offset and weight are not used. */
#define VARIANT_COPY 1

/* matmul, where n_in = n_out: y[o] = sum over i of x[i] W[i][o] (+ bias[o]). */
#define VARIANT_TRANSPOSE_B 2

/* attention: the softmax takes its two sizes for one another (postmortem 2025-12-17 softmax-uniform-buffer). Of one
 * query, n keys are visible (j = 0 is the first visible one, n <= window). Its scores, after scale and softcap, lie as
 * [heads][n]: that of head h and visible key j at f = h n + j. Right are `heads` runs of n scores; the bug has n runs
 * of `heads` scores: run r is f = r heads .. r heads + heads - 1, each with its own maximum and its own sum, so
 *     p[f] = exp(s[f] - max of f's run) / sum of exp over f's run,  run = f / heads.
 * There is no shorter last run: heads n is a multiple of heads. y[h] = sum over j of p[h n + j] v[j], as ever. Equal
 * to the right formula where n = heads, and where n = 1 only if heads = 1. */
#define VARIANT_SOFTMAX_SIZES_SWAPPED 3

/* attention, decode rows at position p >= 1 (prefill rows and p = 0 are right): the score of the own key, j = p, is
 * computed from the key of position p - 1, as if the own key had not yet been written. Key p - 1 also keeps its own
 * place (if the window shows it), and every value v[j], v[p] included, is the right one. */
#define VARIANT_KV_STALE 4

/* any op: what it stores is rounded to f16, to nearest even; from 65,520 on to infinity. */
#define VARIANT_STORE_F16 5

/* matmul: the row x [n_in] of f32 words is read as if it were one of f16: x'[i] is the half i of the row's bytes, the
 * low half of a word first. Only the first half of the row is read. */
#define VARIANT_READ_AS_F16 6

/* attention: the row of queries is stored as f16 and read as if it were f32: word i of the row is halves 2i (low) and
 * 2i + 1 of it; words from width/2 on are past its end and read as 0 (width is even). */
#define VARIANT_QUERY_AS_F32 7

/* attention, decode rows: the own key alone is visible, as in a prefill of one token. */
#define VARIANT_OWN_KEY_ONLY 8

/* attention: of the visible keys only the first 256 count; the array of scores has no more. */
#define VARIANT_KEYS_256 9

/* attention: p = exp(s) / sum of exp(s), in f32, with no maximum subtracted: from s = 88.7 on exp is infinite;
 * what falls below the smallest normal number is 0, as on devices that flush. */
#define VARIANT_NO_MAXIMUM 10

/* add: y = branch. */
#define VARIANT_DROP_RESIDUAL 11

/* rms_norm: of every 32 values of a group (the last ones may be fewer), only the first 16 are in the sum of squares: a
 * workgroup of 32 lanes with room for half of its partial sums. The mean still divides by all of them. */
#define VARIANT_HALF_SUM 12

/* What follows strikes in the engine alone; a relation names it, not a mutant. */

/* matmul: y[o] and its neighbour y[o ^ 1] are both the sum of the two dot products (where both exist in the slice). */
#define VARIANT_COLUMNS_MIXED 13

/* embed: elements of the upper half of a row are not multiplied by the scale. */
#define VARIANT_SCALE_UNSYNCED 14

/* topk_softmax: the softmax goes over all n, and of its values the k largest are taken: y = exp(x_j - max) / sum over
 * all x. They do not sum to 1. */
#define VARIANT_SOFTMAX_FIRST 15

/* swiglu: y = up gate sigmoid(gate), nothing clamped, no 1 added to up, alpha not used. */
#define VARIANT_PLAIN_SWIGLU 16

/* swiglu: of the 2 `run` inputs of an expert the first half is taken for gate, the second for up. */
#define VARIANT_GATE_UP_HALVES 17

/* expert_sum: y = w_j x_j of the last of the k experts: each overwrites what the one before it stored. */
#define VARIANT_LAST_EXPERT 18

/* Of any op, in the engine alone: the dispatch is folded into two rows of workgroups, and its shader counts them along
 * x alone: what belongs to the second row is not done. */
#define VARIANT_GROUPS_BY_X 19

/* rope: pairs are neighbours, (x[2i], x[2i + 1]) of each head turned by the angle of pair i, in place. */
#define VARIANT_ROPE_NEIGHBOURS 20

/* attention: query head h reads key and value head h mod kv_heads, as if the heads that share one stood apart. */
#define VARIANT_KV_HEADS_IN_TURN 21

/* rms_norm: LayerNorm's formula without its bias: y = (x - m) / sqrt(mean((x - m)^2) + eps) * (offset + w), m the mean
 * of the group's values. */
#define VARIANT_MEAN_SUBTRACTED 22

/* attention, prefill rows: the key and the value of the next position are visible too, where it is of the same batch: a
 * causal mask that begins one key too late. Where batches end no trace says: of a row that is recorded, what it shows
 * decides. */
#define VARIANT_NEXT_KEY 23

#define VARIANT_COUNT 24

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
