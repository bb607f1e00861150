/* Random numbers, the same on every machine, and random weights in every format. A seed is any number but 0. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_RANDOM_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

uint64_t random_bits(uint64_t *seed);

/* In [-1, 1), to 24 bits. */
float random_unit(uint64_t *seed);

/* n_bytes: a multiple of the dtype's block size. All weights are finite; floats and scales have magnitudes from 2^-7 to
 * 2^-3. */
void random_weight_bytes(uint64_t *seed, uint32_t dtype, uint8_t *bytes, uint64_t n_bytes);

#endif
