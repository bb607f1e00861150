/* Wrong ways to decode blocks of weights, each a variation of the right decoder (reference/decode_blocks.c). */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_BLOCK_VARIANTS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_BLOCK_VARIANTS_H

#include "workbench/diagnose/products/product_samples.h"

/* A block with its format. */
struct block {
    uint32_t dtype;
    uint8_t bytes[256];
};

/* Decodes a block wrongly: values[256]. The block may be edited. number: a variant's own. */
typedef void block_function(struct block *block, int number, float *values);

/* Which other block's bytes a variant takes. */
enum block_source {
    SOURCE_OWN,
    SOURCE_FIRST_OF_ROW,
    SOURCE_NEXT,
    SOURCE_PREVIOUS,
    SOURCE_FIRST_ROW,
    SOURCE_TRANSPOSED
};

/* `number` of variants that take another block's scale: with all that is not quants, or alone. */
enum { ALL_BUT_QUANTS, SCALE_ALONE };

struct block_variant {
    const char *what;       /* for people: "the high bits of the runs' scales are lost" */
    uint64_t dtypes;        /* bit for each DTYPE_ */
    block_function *decode; /* NULL: the right one */
    int number;
    enum block_source scale; /* the block that the scale, minimum and scales of runs come from */
    enum block_source whole; /* the block that all comes from */
};

const struct block_variant *block_variants(uint32_t *n);

/* The right decoder. */
void block_decode(const struct block *block, float *values);

/* A row by a variant; context: struct block_variant. The tensor has LAYOUT_ROWS. */
weights_function weights_of_variant;

/* A row of linear.scale times what the quants add and linear.minimum times what a block has where they are 0: the
 * minimum, or -offset times the scale. */
struct linear_weights {
    double scale, minimum;
};
weights_function weights_linear;

/* The matrix with the scales and minimums of all blocks multiplied, in its own format. */
struct tensor *weights_rescaled(struct arena *arena, const struct tensor *matrix, float factor);

/* Whether a format's blocks hold something where quants are 0. */
bool has_zero_point(uint32_t dtype);

#endif
