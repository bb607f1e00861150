/* A weight tensor as its file stores it: bytes, a dtype and a shape. No arithmetic happens here: the
 * reference and the engine each decode the bytes themselves. */
#ifndef LOCKSTEP_MODEL_TENSOR_H
#define LOCKSTEP_MODEL_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "shaders/params.h"

/* Bytes that the loader takes apart, beside the table: no tensor of an open model has it. */
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

/* The row of a DTYPE_ code, or of DTYPE_U8. */
const struct dtype_info *dtype_info(uint32_t dtype);

/* "F32, F16, … or MXFP4": the names of the formats that a file format (an IN_ bit; 0: GGUF) holds. Returns text. */
const char *dtype_names(uint32_t file, char text[256]);

/* The format of a name among those that a file format (an IN_ bit) holds. false: none. */
bool dtype_by_name(const char *name, uint32_t file, uint32_t *dtype);

#define TENSOR_MAX_DIMS 4

struct tensor {
    const char *name;        /* as transformers calls it: "model.layers.0.self_attn.q_proj.weight" */
    const char *stored_name; /* as the file calls it: "blk.0.attn_q.weight" */
    const char *file;        /* the file that holds it, for messages */
    uint64_t offset;         /* of bytes in that file */
    uint32_t dtype;          /* DTYPE_ code */
    uint32_t layout;         /* LAYOUT_ code */
    uint32_t n_dims;
    uint64_t shape[TENSOR_MAX_DIMS]; /* outermost first, row-major: a matrix is [out, in] */
    const uint8_t *bytes;            /* borrowed: mapped, or the model's own copy; aligned to 4 */
    /* Of MXFP4 that stands in two tensors, as safetensors has it: the blocks' scales, a byte each. `bytes` then holds
     * 16 bytes a block, byte i with elements 2i and 2i + 1; tensor_copy makes GGUF's blocks of them. NULL: bytes are
     * the dtype's blocks. */
    const uint8_t *scales;
    uint64_t n_bytes; /* of the dtype's blocks */
};

/* Copies bytes [from, from + n) of the tensor's blocks, in the dtype's own form. */
void tensor_copy(const struct tensor *tensor, uint64_t from, uint64_t n, uint8_t *to);

/* Rows and row length of a tensor seen as a matrix [product of the leading dims, last dim]. */
uint64_t tensor_rows(const struct tensor *tensor);
uint64_t tensor_row_elems(const struct tensor *tensor);
uint64_t tensor_row_bytes(const struct tensor *tensor); /* LAYOUT_ROWS only */

/* The bytes that n elements take in blocks, the last one padded. */
uint64_t dtype_bytes(uint32_t dtype, uint64_t n);

/* The fewest rows that begin and end between blocks, and the bytes they take: 1 and a row's by LAYOUT_ROWS, all of them
 * by LAYOUT_COLUMNS. */
void tensor_grain(const struct tensor *tensor, uint64_t *rows, uint64_t *bytes);

#endif
