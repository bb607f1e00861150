/* Decoders of the weight formats. */
#ifndef LOCKSTEP_REFERENCE_DECODE_H
#define LOCKSTEP_REFERENCE_DECODE_H

#include <stdint.h>

#include "shaders/params.h"

#define DECODE_MAX_BLOCK 256 /* elements, of any format */

/* decode_F32, decode_F16, …: decode `count` elements, whole blocks, to f32. One for each row of shaders/dtypes.h; a row
 * without its decoder fails the link. */
#define X(name, code, ...) void decode_##name(const uint8_t *restrict bytes, uint64_t count, float *restrict values);
DTYPES(X)
#undef X

/* Decodes by DTYPE_ code. */
void decode_blocks(uint32_t dtype, const uint8_t *bytes, uint64_t count, float *values);

#endif
