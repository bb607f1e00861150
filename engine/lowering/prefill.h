/* Prefill on a GPU: matrix products and attention of many rows, by kernels that go through the data in tiles
 * (matmul_tile.comp, matmul_coop.comp, matmul_coop_nv.comp, attention_tile.comp). A tile sums in another order than the
 * kernels for few rows; the bound holds for any order. */
#ifndef LOCKSTEP_ENGINE_LOWERING_PREFILL_H
#define LOCKSTEP_ENGINE_LOWERING_PREFILL_H

#include "engine/lowering/matmul.h"

/* The fewest rows of a batch that is computed by tiles; 0: never. */
uint32_t prefill_least_rows(const struct buffers *buffers);

/* Whether a product is computed by tiles. Its step then has dispatches of its own and is not fused. */
bool prefill_has_matmul(const struct builder *b, const struct matmul *matmul);

/* Adds the dispatches of such a product, one for each slice of its matrix. */
enum status prefill_matmul(struct builder *b, const struct matmul *matmul, uint64_t slice);

/* The same for attention. prefill_attention completes the constants of attention_tile.comp and returns its workgroups.
 */
bool prefill_has_attention(const struct builder *b, const struct attention_params *op);
uint64_t prefill_attention(const struct builder *b, const struct attention_params *op,
                           struct program_constants *constants);

#endif
