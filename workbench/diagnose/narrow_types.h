/* Small number types that engines keep values in, as roundings of a run of values. Floats of 16 bits and ggml's blocks
 * are those of reference/roundings.h. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_NARROW_TYPES_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_NARROW_TYPES_H

#include <stdint.h>

/* Rounds n values in place. Where the type has a scale, one serves all n values, or each block of 32. */
typedef void narrow_rounding(float *values, uint64_t n);

narrow_rounding narrow_bf16, narrow_f16, narrow_q8_0, narrow_q4_0;
narrow_rounding narrow_q8_1;                          /* blocks of 32 8-bit integers; the scale max/127 in f32 */
narrow_rounding narrow_int8;                          /* one scale in f32 */
narrow_rounding narrow_int8_double, narrow_q8_0_even; /* computed in double precision, halves to even */
narrow_rounding narrow_int4;                          /* -7 to 7, one scale */
narrow_rounding narrow_e4m3, narrow_e5m2, narrow_e4m3_scaled; /* fp8; scaled: the largest magnitude becomes 448 */
narrow_rounding narrow_tf32;                                  /* 10 bits of mantissa, as NVIDIA's */

#endif
