/* What an engine rounds inside an op, beside its sums and stores: the operands of a matrix product, the queries, keys,
 * values, probabilities and accumulators of attention. These roundings are simulated: they really happen, in the
 * order in which the engine does them, and the bound covers the float32 arithmetic around them alone. */
#ifndef LOCKSTEP_REFERENCE_ROUNDINGS_H
#define LOCKSTEP_REFERENCE_ROUNDINGS_H

#include <stdbool.h>
#include <stdint.h>

/* name as traces declare it. Blocks of 8-bit integers: ggml-quants.c, quantize_row_q8_0, _q8_1 and _q8_K. */
#define ROUNDING_TYPES(X) \
    X(NONE, "float32")    \
    X(F16, "float16")     \
    X(BF16, "bfloat16")   \
    X(Q8_0, "q8_0")       \
    X(Q8_1, "q8_1")       \
    X(Q8_K, "q8_K")       \
    X(Q4_0, "q4_0")

enum rounding_type {
#define X(id, name) ROUNDING_##id,
    ROUNDING_TYPES(X)
#undef X
        ROUNDING_TYPE_COUNT
};

/* "float16", "q8_1"; the name of a trace's attribute. */
const char *rounding_name(enum rounding_type type);

/* ROUNDING_TYPE_COUNT where no type has this name. */
enum rounding_type rounding_by_name(const char *name);

/* What the normalising sum of unnormalised probabilities adds up. */
enum rounding_sum {
    SUM_EXACT,           /* exp(score - maximum) before it is rounded */
    SUM_ROUNDED,         /* as rounded, the sink's as well */
    SUM_ROUNDED_BUT_SINK /* as rounded, but the sink's */
};

/* How products with values are added to a rounded accumulator. */
enum rounding_adds {
    ADD_KEYS,       /* one key after the other, rounded after each */
    ADD_TILES,      /* the accumulator is rescaled and rounded; the sum of a tile is added, and rounded again */
    ADD_TILES_FUSED /* rescaled and added, then rounded once */
};

/* Zero: nothing is rounded. Each field up to accumulator is an enum rounding_type. */
struct roundings {
    uint8_t operands;    /* matrix products: x */
    uint8_t weights;     /* matrix products: W; NONE, F16 or BF16 */
    uint8_t tables;      /* rope: cos and sin; NONE, F16 or BF16 */
    uint8_t activation;  /* glu: the activation's argument and its result, as a table has them; NONE, F16 or BF16 */
    uint8_t queries;     /* attention */
    uint8_t keys_values; /* attention */
    uint8_t values;      /* attention: values, where they are kept in another type than keys; NONE: they are not */
    uint8_t scores;      /* attention: q k, scaled, capped, stored after each of these; NONE, F16 or BF16 */
    uint8_t probs;       /* attention: probabilities, NONE, F16 or BF16 */
    uint8_t accumulator; /* attention: the weighted sum of values; NONE, F16 or BF16 */
    uint8_t sums;        /* attention: enum rounding_sum */
    uint8_t adds;        /* attention: enum rounding_adds */
    uint8_t tile;        /* attention, unnormalised: the maximum is that of the keys so far, renewed after so many keys,
                            counted from position 0; 0: it is that of all keys from the start */
    uint8_t shifted;     /* attention: score - maximum; NONE, F16 or BF16 */
    bool scores_once;    /* q k is scaled before it is stored */
    bool scaled_queries; /* queries, in F16 or BF16, are multiplied by the scale before they are rounded */
    bool unnormalised;   /* probs are exp(score - maximum), divided by their sum after the weighted sum of values */
    bool sink_in_maximum; /* unnormalised: the sink counts in the maximum, from the start */
    bool to_even;         /* Q8_0, Q8_1: x * (127 / max) rounded to even, as ggml's AVX2 code; else roundf(x / d) */
    bool in_pairs; /* attention: blocks of queries and keys are cut from each head's dims in the order of adjacent
                      pairs (0, dim / 2, 1, dim / 2 + 1, ...), as an engine that runs a Llama GGUF has them */
};

bool roundings_equal(const struct roundings *a, const struct roundings *b);
bool roundings_any(const struct roundings *roundings);

/* What is declared, and beyond it what is supposed. */
struct roundings roundings_join(const struct roundings *declared, const struct roundings *supposed);

/* Rounds values in place to F16, BF16, or blocks of Q8_0 or Q4_0 as a KV cache stores them (32 values, scale in f16);
 * NONE: nothing. n: a multiple of 32 for blocks; a shorter last block is rounded by itself. */
void round_values(enum rounding_type type, float *values, uint64_t n);

/* As round_values; to_even: blocks of Q8_0 as struct roundings says. */
void round_stored(enum rounding_type type, bool to_even, float *values, uint64_t n);

/* The number that a type of floats stores for the real number y. */
double round_number(enum rounding_type type, double y);

/* How far a number can be off that is rounded to F16 or BF16, if x is off by up to `error`: as inputs' errors are
 * meant, BOUND_LAMBDA standard deviations.
 *
 * Let h be the distance of neighbours there, and t that of x from the middle of two of them. A small error changes
 * nothing but where t < error. It may be a single rounding, uniform within its limits: then it crosses the middle with
 * the probability p = (error - t) / (2 error), and moves the result by h, which has the second moment p h^2.
 * An error from h / 16 on is a sum of many: Gaussian, its deviation error / LAMBDA. Of all x, it brings the share
 * sqrt(2 / pi) error / (LAMBDA h) over a middle. The second moment is never above that of the error and of two
 * independent roundings, each of the variance h^2 / 12. */
double rounded_float_error(enum rounding_type type, double x, double error);

/* The integers of one block of x: value = d q. */
#define INTEGER_BLOCK 32
struct integer_operand {
    double d;   /* of this block (Q8_K: of its 256 values) */
    double sum; /* Q8_1: f16 of d * sum of q, which a weight's minimum is multiplied by; else d * sum of q */
    int8_t q[INTEGER_BLOCK]; /* Q8_K's first block of 256 may hold -127 only */
};

/* x[n] as blocks of 32 (Q8_K: eight of them share a scale). n: a multiple of 32; of 256 for Q8_K. */
void quantise_operand(const struct roundings *roundings, const float *x, uint64_t n, struct integer_operand *blocks);

/* How far the values of quantise_operand's blocks can be off where x[n] is off by up to error[n]: to[n], which may be
 * error.
 *
 * An integer is rounded as a float is, in steps of d (rounded_float_error). x / d is off by error / d, and by |x / d|
 * times the relative error of d, which is that of the block's largest value. The scale moves all values of a block
 * together: sqrt(length) covers that they are not independent. In Q8_0 and Q8_1 it is rounded to f16, which absorbs a
 * small error. sum_error[n / 32], NULL but for Q8_1: how far the rounding to f16 of a block's sum can be off. */
void quantised_errors(const struct roundings *roundings, const float *x, const double *error, uint64_t n, double *to,
                      double *sum_error);

#endif
