/* Roundings inside ops. Sources: ggml-quants.c (quantize_row_q8_0_ref, _q8_1_ref, _q8_K_ref), ggml-cpu's AVX2 versions
 * of the first two. */
#include "reference/roundings.h"

#include <math.h>
#include <string.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/reference.h"

static const char *const names[ROUNDING_TYPE_COUNT] = {
#define X(id, name) name,
    ROUNDING_TYPES(X)
#undef X
};

const char *rounding_name(enum rounding_type type)
{
    ASSERT(type < ROUNDING_TYPE_COUNT);
    return names[type];
}

enum rounding_type rounding_by_name(const char *name)
{
    int type = 0;
    while (type < ROUNDING_TYPE_COUNT && strcmp(names[type], name) != 0) {
        type++;
    }
    return (enum rounding_type)type;
}

bool roundings_equal(const struct roundings *a, const struct roundings *b)
{
    /* Bytes and bools: there is no padding. */
    _Static_assert(sizeof(struct roundings) == 20, "as many bytes as fields");
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool roundings_any(const struct roundings *roundings)
{
    return roundings->operands || roundings->weights || roundings->tables || roundings->activation ||
           roundings->queries || roundings->keys_values || roundings->values || roundings->scores ||
           roundings->shifted || roundings->probs || roundings->accumulator;
}

struct roundings roundings_join(const struct roundings *declared, const struct roundings *supposed)
{
    struct roundings both = *supposed;
#define TAKE(field) both.field = declared->field != ROUNDING_NONE ? declared->field : supposed->field
    TAKE(operands);
    TAKE(weights);
    TAKE(tables);
    TAKE(activation);
    TAKE(queries);
    TAKE(keys_values);
    TAKE(values);
    TAKE(scores);
    TAKE(shifted);
    TAKE(probs);
    TAKE(accumulator);
#undef TAKE
    return both;
}

static float largest(const float *values, uint64_t n)
{
    float most = 0;
    for (uint64_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(values[i]));
    }
    return most;
}

/* The scale of a block of Q8_0 or Q8_1, before it is stored, and what values are multiplied by. */
static float scale_of_block(bool to_even, const float *values, uint64_t n, float *inverse)
{
    float most = largest(values, n), d = most / 127;
    *inverse = to_even ? (most > 0 ? 127 / most : 0) : d > 0 ? 1 / d : 0;
    return d;
}

/* The integer of a scaled value. */
static float round_scaled(bool to_even, float scaled)
{
    return to_even ? rintf(scaled) : roundf(scaled);
}

/* One block of Q8_0: d = max / 127, stored in f16. */
static void round_q8_0(bool to_even, float *values, uint64_t n)
{
    float inverse, stored = round_to_dtype(scale_of_block(to_even, values, n, &inverse), DTYPE_F16);
    for (uint64_t i = 0; i < n; i++) {
        values[i] = round_scaled(to_even, values[i] * inverse) * stored;
    }
}

/* One block of Q4_0: d = the value of largest magnitude / -8, stored in f16; q = floor(x / d + 8.5), at most 15. */
static void round_q4_0(float *values, uint64_t n)
{
    float most = 0;
    for (uint64_t i = 0; i < n; i++) {
        most = fabsf(values[i]) > fabsf(most) ? values[i] : most;
    }
    float d = most / -8, inverse = d != 0 ? 1 / d : 0, stored = round_to_dtype(d, DTYPE_F16);
    for (uint64_t i = 0; i < n; i++) {
        values[i] = (fminf(15, floorf(values[i] * inverse + 8.5f)) - 8) * stored;
    }
}

/* Distance of neighbours at a number of this size, in F16 or BF16. */
static double float_spacing(enum rounding_type type, double size)
{
    int exponent, bits = type == ROUNDING_F16 ? 11 : 8, lowest = type == ROUNDING_F16 ? -24 : -133;
    (void)frexp(size, &exponent);
    return ldexp(1, exponent - bits < lowest ? lowest : exponent - bits);
}

double round_number(enum rounding_type type, double y)
{
    /* Rounding to float32 first would round twice: an odd last bit keeps the second one right. */
    if (type == ROUNDING_NONE || y == 0 || !isfinite(y)) {
        return y;
    }
    ASSERT(type == ROUNDING_F16 || type == ROUNDING_BF16);
    double h = float_spacing(type, y), rounded = rint(y / h) * h, most = type == ROUNDING_F16 ? 65504 : 0x1.fep127;
    return fabs(rounded) > most ? copysign(INFINITY, y) : rounded;
}

/* to_middle: from the number to the nearest middle of two neighbours, whose distance is h. */
static double rounded_error(double error, double h, double to_middle)
{
    if (error >= h / 16) {
        double crossing = BOUND_LAMBDA * sqrt(2 / M_PI) * error * h, apart = BOUND_LAMBDA * BOUND_LAMBDA * h * h / 6;
        return sqrt(fmin(crossing, error * error + apart));
    }
    return to_middle < error ? BOUND_LAMBDA * h * sqrt((error - to_middle) / (2 * error)) : 0;
}

double rounded_float_error(enum rounding_type type, double x, double error)
{
    double low = round_number(type, x - error), high = round_number(type, x + error);
    if (error == 0 || low == high) {
        return 0;
    }
    bool finite = isfinite(low) && isfinite(high);
    return finite ? rounded_error(error, float_spacing(type, fabs(x) + error), fabs((low + high) / 2 - x)) : INFINITY;
}

/* One block that shares a scale. */
static void block_errors(enum rounding_type type, const float *x, const double *error, uint64_t length, double *to)
{
    double most = 0, most_error = 0;
    for (uint64_t i = 0; i < length; i++) {
        most = fmax(most, fabs(x[i]));
        most_error = fmax(most_error, error[i]); /* the largest value may be another one than it seems */
    }
    double d = most / 127, relative = most > 0 ? most_error / most : 0;
    double d_error = type == ROUNDING_Q8_K ? d * relative : rounded_float_error(ROUNDING_F16, d, d * relative);
    for (uint64_t i = 0; i < length; i++) {
        double scaled = d > 0 ? x[i] / d : 0;
        /* In float32 the scaled value is off by some roundings more. */
        double off = d > 0 && most_error > 0 ? error[i] / d + fabs(scaled) * (relative + 0x1p-22) : 0;
        to[i] = rounded_error(off, 1, fabs(scaled - (floor(scaled) + 0.5))) * d +
                (fabs(scaled) + 1) * d_error * sqrt((double)length);
    }
}

/* The f16 of d times the sum of a block's integers: any change of these makes it another rounding. */
static double block_sum_error(const float *x, const double *error)
{
    double sum = 0, moved = 0;
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        sum += x[i];
        moved += error[i];
    }
    return moved > 0 ? BOUND_LAMBDA / sqrt(6) * float_spacing(ROUNDING_F16, fabs(sum) + moved) : 0;
}

void quantised_errors(const struct roundings *roundings, const float *x, const double *error, uint64_t n, double *to,
                      double *sum_error)
{
    uint64_t length = roundings->operands == ROUNDING_Q8_K ? 256 : INTEGER_BLOCK;
    for (uint64_t at = 0; at < n; at += length) {
        uint64_t count = n - at < length ? n - at : length; /* a cache's last block may be shorter */
        block_errors((enum rounding_type)roundings->operands, x + at, error + at, count, to + at);
    }
    for (uint64_t at = 0; at < n && sum_error; at += INTEGER_BLOCK) {
        sum_error[at / INTEGER_BLOCK] = block_sum_error(x + at, to + at);
    }
}

void round_values(enum rounding_type type, float *values, uint64_t n)
{
    round_stored(type, false, values, n);
}

void round_stored(enum rounding_type type, bool to_even, float *values, uint64_t n)
{
    switch (type) {
    case ROUNDING_NONE:
        break;
    case ROUNDING_F16:
    case ROUNDING_BF16:
        round_all_to_dtype(values, n, type == ROUNDING_F16 ? DTYPE_F16 : DTYPE_BF16);
        break;
    case ROUNDING_Q8_0:
    case ROUNDING_Q4_0:
        for (uint64_t first = 0; first < n; first += INTEGER_BLOCK) {
            uint64_t count = n - first < INTEGER_BLOCK ? n - first : INTEGER_BLOCK;
            type == ROUNDING_Q8_0 ? round_q8_0(to_even, values + first, count) : round_q4_0(values + first, count);
        }
        break;
    default:
        ASSERT(!"no type that stored values are rounded to");
    }
}

/* Q8_0 and Q8_1: 32 values, d = max / 127 in f16. */
static void quantise_32(const struct roundings *roundings, const float *x, struct integer_operand *block)
{
    float inverse, d = scale_of_block(roundings->to_even, x, INTEGER_BLOCK, &inverse);
    int sum = 0;
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        block->q[i] = (int8_t)round_scaled(roundings->to_even, x[i] * inverse);
        sum += block->q[i];
    }
    block->d = round_to_dtype(d, DTYPE_F16);
    block->sum = roundings->operands == ROUNDING_Q8_1 ? round_to_dtype(d * (float)sum, DTYPE_F16) : block->d * sum;
}

/* Q8_K: 256 values, the one of largest magnitude becomes -127; the scale stays in f32. */
static void quantise_256(const float *x, struct integer_operand *blocks)
{
    float most = 0;
    for (unsigned i = 0; i < 256; i++) {
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    }
    float inverse = most != 0 ? -127.0f / most : 0, d = most != 0 ? 1 / inverse : 0;
    for (unsigned b = 0; b < 256 / INTEGER_BLOCK; b++) {
        int sum = 0;
        for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
            float q = fminf(127, rintf(x[b * INTEGER_BLOCK + i] * inverse));
            blocks[b].q[i] = (int8_t)q;
            sum += blocks[b].q[i];
        }
        blocks[b].d = d;
        blocks[b].sum = (double)d * sum;
    }
}

void quantise_operand(const struct roundings *roundings, const float *x, uint64_t n, struct integer_operand *blocks)
{
    if (roundings->operands == ROUNDING_Q8_K) {
        ASSERT(n % 256 == 0);
        for (uint64_t at = 0; at < n; at += 256) {
            quantise_256(x + at, blocks + at / INTEGER_BLOCK);
        }
        return;
    }
    ASSERT(n % INTEGER_BLOCK == 0);
    for (uint64_t at = 0; at < n; at += INTEGER_BLOCK) {
        quantise_32(roundings, x + at, blocks + at / INTEGER_BLOCK);
    }
}
