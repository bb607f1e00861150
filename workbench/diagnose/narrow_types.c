#include "workbench/diagnose/narrow_types.h"

#include <math.h>

#include "reference/roundings.h"

void narrow_bf16(float *values, uint64_t n)
{
    round_values(ROUNDING_BF16, values, n);
}

void narrow_f16(float *values, uint64_t n)
{
    round_values(ROUNDING_F16, values, n);
}

void narrow_q8_0(float *values, uint64_t n)
{
    round_values(ROUNDING_Q8_0, values, n);
}

void narrow_q4_0(float *values, uint64_t n)
{
    round_values(ROUNDING_Q4_0, values, n);
}

static float largest(const float *values, uint64_t n)
{
    float most = 0;
    for (uint64_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(values[i]));
    }
    return most;
}

void narrow_q8_1(float *values, uint64_t n)
{
    for (uint64_t first = 0; first < n; first += 32) {
        uint64_t end = first + 32 < n ? first + 32 : n;
        float scale = largest(values + first, end - first) / 127, inverse = scale > 0 ? 1 / scale : 0;
        for (uint64_t i = first; i < end; i++) {
            values[i] = roundf(values[i] * inverse) * scale;
        }
    }
}

void narrow_int8(float *values, uint64_t n)
{
    float scale = largest(values, n) / 127;
    for (uint64_t i = 0; i < n && scale > 0; i++) {
        values[i] = rintf(values[i] / scale) * scale;
    }
}

/* As numpy and converters do it: halves to even, in double precision; one scale for each `block`. */
static void round_to_integers(float *values, uint64_t n, int most, uint64_t block, bool f16_scale)
{
    for (uint64_t first = 0; first < n; first += block) {
        uint64_t end = n - first < block ? n : first + block;
        double scale = (double)largest(values + first, end - first) / most;
        double stored = f16_scale ? round_number(ROUNDING_F16, scale) : scale;
        for (uint64_t i = first; i < end && scale > 0; i++) {
            values[i] = (float)(rint(values[i] / scale) * stored);
        }
    }
}

void narrow_int8_double(float *values, uint64_t n)
{
    round_to_integers(values, n, 127, n, false);
}

void narrow_q8_0_even(float *values, uint64_t n)
{
    round_to_integers(values, n, 127, 32, true);
}

void narrow_int4(float *values, uint64_t n)
{
    round_to_integers(values, n, 7, n, false);
}

/* A float of `bits` significant bits; `lowest`: exponent of its smallest number. Beyond `most` it saturates. */
static float small_float(float x, int bits, int lowest, float most)
{
    int exponent;
    (void)frexpf(x, &exponent);
    int unit = exponent - bits < lowest ? lowest : exponent - bits;
    float rounded = ldexpf(rintf(ldexpf(x, -unit)), unit);
    return fabsf(rounded) > most ? copysignf(most, x) : rounded;
}

void narrow_e4m3(float *values, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        values[i] = small_float(values[i], 4, -9, 448);
    }
}

void narrow_e5m2(float *values, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        values[i] = small_float(values[i], 3, -16, 57344);
    }
}

void narrow_e4m3_scaled(float *values, uint64_t n)
{
    float scale = largest(values, n) / 448;
    for (uint64_t i = 0; i < n && scale > 0; i++) {
        values[i] = small_float(values[i] / scale, 4, -9, 448) * scale;
    }
}

void narrow_tf32(float *values, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        values[i] = small_float(values[i], 11, -136, INFINITY);
    }
}
