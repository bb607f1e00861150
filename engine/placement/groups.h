/* Quantised blocks in the order that a GPU reads fastest: 16 bytes at an address that is a multiple of 16. In a file,
 * blocks of 18 to 34 bytes start at any even address. Here, the scales (with minimums) of 8 blocks, or of 4 where they
 * take 4 bytes, come first; then the fifth bits of these blocks, then their quants. A group is as large as its blocks
 * were; a row's last group may be partial. shaders/weights.glsl reads this order. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_GROUPS_H
#define LOCKSTEP_ENGINE_PLACEMENT_GROUPS_H

#include "model/tensor.h"

/* Whether a tensor can be grouped. */
bool groups_fit(const struct tensor *tensor);

/* Bytes of a grouped row; a multiple of 16. */
uint64_t groups_row_bytes(const struct tensor *tensor);

/* Writes rows [first, first + n_rows) to to[n_rows * groups_row_bytes]. */
void groups_copy(const struct tensor *tensor, uint64_t first, uint64_t n_rows, uint8_t *to);

#endif
