/* The decoders of the weight formats. */
#ifndef LOCKSTEP_REFERENCE_DECODE_H
#define LOCKSTEP_REFERENCE_DECODE_H

#include <stdint.h>

#define DECODE_MAX_BLOCK 256 /* elements */

/* count elements, a multiple of the dtype's block. */
void decode_blocks(uint32_t dtype, const uint8_t *bytes, uint64_t count, float *values);

#endif
