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

/* How a weight tensor's bytes are to be read. */
#define DTYPE_F32 0
#define DTYPE_F16 1
#define DTYPE_BF16 2
#define DTYPE_Q4_0 3
#define DTYPE_Q4_1 4
#define DTYPE_Q8_0 5
#define DTYPE_Q5_0 6
#define DTYPE_Q5_1 7
#define DTYPE_Q4_K 8
#define DTYPE_Q5_K 9
#define DTYPE_Q6_K 10
#define DTYPE_MXFP4 11
#define DTYPE_COUNT 12

/* How the elements of a matrix lie in its blocks. GGUF and safetensors always have the first layout; RDRR has all
 * three. */
#define LAYOUT_ROWS 0    /* each row begins a block; the last block of a row may be padded */
#define LAYOUT_PACKED 1  /* one stream of blocks over all elements; a row can begin inside a block */
#define LAYOUT_COLUMNS 2 /* the transposed matrix, [in, out], by LAYOUT_ROWS */

/* The faulty formulas that a fault can ask for; 0 is the right formula. The reference computes each as a mutant. The
 * engine compiles the op's shader with VARIANT defined as the code. */
#define VARIANT_NONE 0

/* rms_norm: copies its input bit for bit; eps, offset and weight are ignored. */
#define VARIANT_COPY 1

/* matmul, where n_in = n_out: y[o] = sum over i of x[i] W[i][o] (+ bias[o]). */
#define VARIANT_TRANSPOSE_B 2

/* attention: the softmax swaps its two sizes (postmortem 2025-12-17 softmax-uniform-buffer). One query sees n keys (j =
 * 0 is the first visible one, n <= window). After scale and softcap, its scores are [heads][n]: the score of head h and
 * key j is at f = h n + j. The right softmax has `heads` runs of n scores. The bug has n runs of `heads` scores: run r
 * is f = r heads .. r heads + heads - 1, with its own maximum and its own sum, so p[f] = exp(s[f] - max of f's run) /
 * sum of exp over f's run,  run = f / heads. All runs have the same length, because heads n is a multiple of heads.
 * y[h] = sum over j of p[h n + j] v[j], as usual. The result is right where n = heads; where n = 1, only if heads = 1.
 */
#define VARIANT_SOFTMAX_SIZES_SWAPPED 3

/* attention, decode rows at position p >= 1 (prefill rows and p = 0 are right): the score of key p is computed from the
 * key of position p - 1, as if key p had not been written yet. Key p - 1 also keeps its own score (if the window shows
 * it). All values are right, v[p] included. */
#define VARIANT_KV_STALE 4

/* any op: its results are rounded to f16, to nearest even; 65,520 and more become infinity. */
#define VARIANT_STORE_F16 5

/* matmul: the row x [n_in] of f32 is read as if it were f16: x'[i] is half number i of the row's bytes, the low half of
 * a word first. So only the first half of the row is read. */
#define VARIANT_READ_AS_F16 6

/* attention: the row of queries is stored as f16 and read as if it were f32. Word i consists of halves 2i (low) and 2i
 * + 1. Words from width/2 on are past the end and read as 0 (width is even). */
#define VARIANT_QUERY_AS_F32 7

/* attention, decode rows: only the key of the row's own position is visible, as in a prefill of one token. */
#define VARIANT_OWN_KEY_ONLY 8

/* attention: only the first 256 visible keys count, because the array of scores has no more elements. */
#define VARIANT_KEYS_256 9

/* attention: p = exp(s) / sum of exp(s) in f32, without subtracting the maximum. From s = 88.7 on, exp is infinite.
 * Results below the smallest normal number are 0, as on devices that flush. */
#define VARIANT_NO_MAXIMUM 10

/* add: y = branch. */
#define VARIANT_DROP_RESIDUAL 11

/* rms_norm: of every 32 values of a group (the last run may be shorter), only the first 16 enter the sum of squares, as
 * with a workgroup of 32 lanes and room for half of its partial sums. The mean still divides by the number of all
 * values. */
#define VARIANT_HALF_SUM 12

/* The next two exist in the engine alone. A relation names them, not a mutant. */

/* matmul: y[o] and its neighbour y[o ^ 1] are both the sum of their two dot products (where both are in the slice). */
#define VARIANT_COLUMNS_MIXED 13

/* embed: elements of the upper half of a row are not multiplied by the scale. */
#define VARIANT_SCALE_UNSYNCED 14

/* topk_softmax: the softmax covers all n values, and the k largest of its results are taken: y = exp(x_j - max) / sum
 * over all x. They do not sum to 1. */
#define VARIANT_SOFTMAX_FIRST 15

/* swiglu: y = up gate sigmoid(gate). Nothing is clamped, 1 is not added to up, and alpha is ignored. */
#define VARIANT_PLAIN_SWIGLU 16

/* swiglu: of an expert's 2 * run inputs, the first half is taken as gate and the second as up. */
#define VARIANT_GATE_UP_HALVES 17

/* expert_sum: y = w_j x_j of the last of the k experts, because each one overwrites the result of the one before. */
#define VARIANT_LAST_EXPERT 18

/* Any op, in the engine alone: the dispatch is folded into two rows of workgroups, but the shader counts workgroups
 * along x only. What belongs to the second row is not computed. */
#define VARIANT_GROUPS_BY_X 19

/* rope: pairs are neighbours: (x[2i], x[2i + 1]) of each head is rotated by the angle of pair i. */
#define VARIANT_ROPE_NEIGHBOURS 20

/* attention: query head h reads key and value head h mod kv_heads, instead of h / (heads / kv_heads). */
#define VARIANT_KV_HEADS_IN_TURN 21

/* rms_norm: LayerNorm without bias: y = (x - m) / sqrt(mean((x - m)^2) + eps) * (offset + w), where m is the mean of
 * the group's values. */
#define VARIANT_MEAN_SUBTRACTED 22

/* attention, prefill rows: the key and value of the next position are visible as well, if that position is in the same
 * batch, as with a causal mask that starts one key too late. A trace does not tell where batches end; each recorded
 * row's values decide whether it sees the next key. */
#define VARIANT_NEXT_KEY 23

#define VARIANT_COUNT 24

#define ACTIVATION_SILU 0
#define ACTIVATION_GELU_TANH 1
#define ACTIVATION_GELU_ERF 2 /* no family has it; the fault gelu-erf does */

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
