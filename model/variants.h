/* The wrong formulas that a fault asks an op for, one row each; VARIANT_NONE is the right one. The reference computes
 * each as a mutant. The engine compiles the op's shader with VARIANT and VARIANT_name defined. A new variant is a row
 * here, a case in the op's function in reference/ and an #ifdef in its shader.
 *
 * name   the code is VARIANT_name
 * op     that the variant belongs to; COUNT: any
 * how    who computes the mutant: enum mutant
 *
 * The comment ahead of a row is its formula. */
#ifndef LOCKSTEP_MODEL_VARIANTS_H
#define LOCKSTEP_MODEL_VARIANTS_H

#include <stdint.h>

#include "model/ops.h"

enum mutant {
    MUTANT_FORMULA, /* the op's own function in reference/ */
    MUTANT_READS,   /* the right formula of an input whose type is mistaken (reference/variants.c) */
    MUTANT_STORES,  /* the right formula, rounded when it is stored (reference/variants.c) */
    MUTANT_NONE,    /* nobody: the bug is the engine's, and a relation names it */
};

#define VARIANTS(X)                                                                                                    \
    X(NONE, COUNT, FORMULA)                                                                                            \
                                                                                                                       \
    /* Copies its input, bit for bit; eps, offset and weight are not used. */                                          \
    X(COPY, rms_norm, FORMULA)                                                                                         \
                                                                                                                       \
    /* n_in = n_out: y[o] = sum over i of x[i] W[i][o] (+ bias[o]). */                                                 \
    X(TRANSPOSE_B, matmul, FORMULA)                                                                                    \
                                                                                                                       \
    /* The softmax mistakes its two sizes for each other (postmortem 2025-12-17 softmax-uniform-buffer). Of one        \
     * query, n keys are visible (j = 0 is the first visible one, n <= window). Its scores, after scale and softcap,   \
     * lie as [heads][n]: that of head h and visible key j at f = h n + j. The right formula takes `heads` runs of n   \
     * scores; the bug takes n runs of `heads` scores: run r is f = r heads .. r heads + heads - 1, each with its own  \
     * maximum and its own sum, so                                                                                     \
     *     p[f] = exp(s[f] - max of f's run) / sum of exp over f's run,  run = f / heads.                              \
     * heads n is a multiple of heads, so no run is shorter. y[h] = sum over j of p[h n + j] v[j], as in the right     \
     * formula. Equal to it where n = heads, and where n = 1 only if heads = 1. */                                     \
    X(SOFTMAX_SIZES_SWAPPED, attention, FORMULA)                                                                       \
                                                                                                                       \
    /* Decode rows at position p >= 1 (prefill rows and p = 0 are right): the score of the own key, j = p, is          \
     * computed from the key of position p - 1, as if the own key had not yet been written. Key p - 1 also keeps its   \
     * own place (if the window shows it), and every value v[j], v[p] included, is the right one. */                   \
    X(KV_STALE, attention, FORMULA)                                                                                    \
                                                                                                                       \
    /* The output is rounded to f16 when stored, to nearest even; from 65,520 on to infinity. */                       \
    X(STORE_F16, COUNT, STORES)                                                                                        \
                                                                                                                       \
    /* The row x [n_in] of f32 words is read as if it were one of f16: x'[i] is half i of the row's bytes, the low     \
     * half of a word first. Only the first half of the row is read. */                                                \
    X(READ_AS_F16, matmul, READS)                                                                                      \
                                                                                                                       \
    /* The row of queries is stored as f16 and read as if it were f32: word i of the row is halves 2i (low) and        \
     * 2i + 1 of it; words from width/2 on are past its end and read as 0 (width is even). */                          \
    X(QUERY_AS_F32, attention, READS)                                                                                  \
                                                                                                                       \
    /* Decode rows: only the own key is visible, as in a prefill of one token. */                                      \
    X(OWN_KEY_ONLY, attention, FORMULA)                                                                                \
                                                                                                                       \
    /* Of the visible keys only the first 256 count; the array of scores has no more. */                               \
    X(KEYS_256, attention, FORMULA)                                                                                    \
                                                                                                                       \
    /* p = exp(s) / sum of exp(s), in f32, with no maximum subtracted: from s = 88.7 on exp is infinite; results below \
     * the smallest normal number become 0, as on devices that flush. */                                               \
    X(NO_MAXIMUM, attention, FORMULA)                                                                                  \
                                                                                                                       \
    /* y = branch. */                                                                                                  \
    X(DROP_RESIDUAL, add, FORMULA)                                                                                     \
                                                                                                                       \
    /* Of every 32 values of a group (the last ones may be fewer), only the first 16 are in the sum of squares: a      \
     * workgroup of 32 lanes with room for half of its partial sums. The mean still divides by all of them. */         \
    X(HALF_SUM, rms_norm, FORMULA)                                                                                     \
                                                                                                                       \
    /* matmul: y[o] and its neighbour y[o ^ 1] are both the sum of the two dot products (where both exist in the       \
     * slice). */                                                                                                      \
    X(COLUMNS_MIXED, matmul, NONE)                                                                                     \
                                                                                                                       \
    /* embed: elements of the upper half of a row are not multiplied by the scale. */                                  \
    X(SCALE_UNSYNCED, embed, NONE)                                                                                     \
                                                                                                                       \
    /* The softmax goes over all n, and the k largest of its values are taken: y = exp(x_j - max) / sum over all x.    \
     * They do not sum to 1. */                                                                                        \
    X(SOFTMAX_FIRST, topk_softmax, FORMULA)                                                                            \
                                                                                                                       \
    /* y = up gate sigmoid(gate): nothing is clamped, no 1 is added to up, alpha is not used. */                       \
    X(PLAIN_SWIGLU, swiglu, FORMULA)                                                                                   \
                                                                                                                       \
    /* Of the 2 `run` inputs of an expert the first half is taken for gate, the second for up. */                      \
    X(GATE_UP_HALVES, swiglu, FORMULA)                                                                                 \
                                                                                                                       \
    /* y = w_j x_j of the last of the k experts: each overwrites what the one before it stored. */                     \
    X(LAST_EXPERT, expert_sum, FORMULA)                                                                                \
                                                                                                                       \
    /* The dispatch is folded into two rows of workgroups, and its shader counts them along x alone: the work of the   \
     * second row is not done. */                                                                                      \
    X(GROUPS_BY_X, COUNT, NONE)                                                                                        \
                                                                                                                       \
    /* Pairs are neighbours, (x[2i], x[2i + 1]) of each head turned by the angle of pair i, in place. */               \
    X(ROPE_NEIGHBOURS, rope, FORMULA)                                                                                  \
                                                                                                                       \
    /* Query head h reads key and value head h mod kv_heads, as if the heads that share one were spread apart. */      \
    X(KV_HEADS_IN_TURN, attention, FORMULA)                                                                            \
                                                                                                                       \
    /* LayerNorm's formula without its bias: y = (x - m) / sqrt(mean((x - m)^2) + eps) * (offset + w), m the mean of   \
     * the group's values. */                                                                                          \
    X(MEAN_SUBTRACTED, rms_norm, FORMULA)                                                                              \
                                                                                                                       \
    /* Prefill rows: the key and the value of the next position are visible too, if it is in the same batch: a         \
     * causal mask that begins one key too late. A trace does not say where batches end; what it shows of each         \
     * recorded row decides. */                                                                                        \
    X(NEXT_KEY, attention, FORMULA)

enum variant {
#define X(name, op, how) VARIANT_##name,
    VARIANTS(X)
#undef X
        VARIANT_COUNT
};

struct variant_info {
    const char *name; /* "KV_STALE" */
    enum op op;       /* OP_COUNT: any */
    enum mutant how;
};

/* The row of a VARIANT_ code. */
const struct variant_info *variant_info(uint32_t variant);

#endif
