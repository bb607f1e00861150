/* A weight tensor as its file stores it: bytes, a dtype and a shape. Nothing is computed here: the reference and the
 * engine each decode the bytes themselves. */
#ifndef LOCKSTEP_MODEL_TENSOR_H
#define LOCKSTEP_MODEL_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "shaders/params.h"

/* Dtype of raw bytes, which only the loaders see: no tensor of an opened model has it. */
#define DTYPE_U8 DTYPE_COUNT

/* A row of shaders/dtypes.h, where the columns are explained. */
struct dtype_info {
    const char *name;     /* "Q4_1" */
    uint32_t gguf_type;   /* number in a GGUF file */
    uint32_t files;       /* IN_ bits: file formats that hold it beside GGUF */
    uint32_t block_elems; /* elements a block */
    uint32_t block_bytes; /* bytes a block */
    uint32_t scale;       /* SCALE_ code */
    uint32_t d_at, m_at;  /* byte of a block where the scale and the minimum begin */
    float d_times;        /* |element| <= d_times |d| + m_times |m| */
    float m_times;        /* 0: no minimum */
    uint32_t header;      /* bytes ahead of quants that count up from a minimum; 0: they do not */
    bool benched;         /* `bench --kernels` measures its matrix products */
    struct dtype_parts {
        uint32_t scale, fifth, quants; /* bytes a block, in this order; quants 0: blocks are not regrouped for GPUs */
        uint32_t blocks;               /* blocks a group */
    } parts;
};

/* Returns the row of a DTYPE_ code or of DTYPE_U8. */
const struct dtype_info *dtype_info(uint32_t dtype);

/* Lists the formats that a file format holds (an IN_ bit; 0: GGUF): "F32, F16, … or MXFP4". Returns text. */
const char *dtype_names(uint32_t file, char text[256]);

/* Finds a format by name among those that a file format (an IN_ bit) holds. false: there is none. */
bool dtype_by_name(const char *name, uint32_t file, uint32_t *dtype);

#define TENSOR_MAX_DIMS 4

struct tensor {
    const char *name;        /* name in transformers: "model.layers.0.self_attn.q_proj.weight" */
    const char *stored_name; /* name in the file: "blk.0.attn_q.weight" */
    const char *file;        /* path of its file, for messages */
    uint64_t offset;         /* where its bytes begin in that file */
    uint32_t dtype;          /* DTYPE_ code */
    uint32_t layout;         /* LAYOUT_ code */
    uint32_t n_dims;
    uint64_t shape[TENSOR_MAX_DIMS]; /* outermost first, row-major: a matrix is [out, in] */
    const uint8_t *bytes;            /* mapped file or the model's own copy; borrowed, aligned to 4 */
    /* MXFP4 in two tensors, as in safetensors: one scale a block, a byte each. `bytes` then holds 16 bytes a block, and
     * byte i holds elements 2i and 2i + 1; tensor_copy makes GGUF's blocks of both. NULL: `bytes` are the dtype's
     * blocks. */
    const uint8_t *scales;
    uint64_t n_bytes; /* bytes of all blocks in the dtype's own form */
};

/* Copies bytes [from, from + n) of the tensor's blocks in the dtype's own form. */
void tensor_copy(const struct tensor *tensor, uint64_t from, uint64_t n, uint8_t *to);

/* The tensor as a matrix [product of the leading dims, last dim]: number of rows, elements of a row, bytes of a row. */
uint64_t tensor_rows(const struct tensor *tensor);
uint64_t tensor_row_elems(const struct tensor *tensor);
uint64_t tensor_row_bytes(const struct tensor *tensor); /* LAYOUT_ROWS only */

/* Bytes of the blocks that hold n elements; the last block may be padded. */
uint64_t dtype_bytes(uint32_t dtype, uint64_t n);

/* The smallest number of rows that begins and ends between blocks, and the bytes of these rows: one row in LAYOUT_ROWS,
 * all rows in LAYOUT_COLUMNS. */
void tensor_grain(const struct tensor *tensor, uint64_t *rows, uint64_t *bytes);

#endif
