/* What identifies a program: a shader, the layout of its inputs, and its specialisation constants. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PROGRAM_KEY_H
#define LOCKSTEP_ENGINE_PROGRAM_PROGRAM_KEY_H

#include <stdint.h>

/* Specialisation constants, in the order of their constant_id. A shader that does not declare one ignores it. Where a
 * shader is named, only that shader uses the constant. */
struct program_constants {
    uint32_t local_size;  /* lanes of a workgroup */
    uint32_t cached;      /* 1: the results are also stored in the KV cache */
    uint32_t dtype;       /* DTYPE_ code of the weights */
    uint32_t bias_dtype;  /* DTYPE_ code of the bias, or of the attention sinks */
    uint32_t tile;        /* matmul: rows of x that share each decoded weight */
    uint32_t head_dim;    /* attention: values of a head */
    uint32_t rows;        /* matmul: matrix rows that share each loaded x; attention_tile: rows of a workgroup */
    uint32_t layout;      /* LAYOUT_ code of the weights */
    uint32_t native_half; /* 1: the device converts halves exactly, subnormal numbers included */
    uint32_t by_block;    /* matmul: 1: a lane takes whole blocks of a quantised row */
    uint32_t wide;        /* matmul: 1: every matrix row starts at a multiple of 16 bytes */
    uint32_t prologue;    /* matvec, attention_part: PROLOGUE_ code */
    uint32_t epilogue;    /* matvec: EPILOGUE_ code; argmax: 1: the last pass */
    uint32_t capture;     /* matvec, attention_part: 1: also store the stages that no other dispatch reads */
    uint32_t n_in;        /* matvec: values of x */
    uint32_t team;        /* matvec: lanes that share a matrix row; attention_part: lanes that share a key */
    uint32_t loops;       /* matvec: how often a team takes `rows` matrix rows before the sums are combined */
    uint32_t by_four;     /* rms_norm: 1: sum in the order of matvec */
    uint32_t chunks;      /* matvec: how often the `loops` are repeated */
    uint32_t grouped;     /* 1: the matrix is arranged in groups (engine/placement/groups.h) */
    uint32_t split;       /* matvec: teams that share a matrix row */
    uint32_t x_shared;    /* matvec: 1: x is in shared memory */
    uint32_t activation;  /* matvec: ACTIVATION_ code */
    uint32_t piece;       /* attention_tile: vec4s of a key that a part of the lanes loads at a time */
};

/* The caller defines the layout (bindings, push constants). The shader must agree with it; reflect.h checks that. */
struct program_key {
    const char *shader;  /* "matmul"; borrowed, a literal */
    const char *twin;    /* a shader with the same layout that is checked instead, because SPIRV-Cross cannot read
                          * `shader`; NULL: `shader` itself is checked */
    uint32_t variant;    /* VARIANT_ code; any but VARIANT_NONE is compiled at run time */
    uint32_t n_bindings; /* storage buffers 0 … n_bindings - 1 of set 0 */
    uint32_t n_push;     /* bytes of push constants: the size of structs in shaders/params.h */
    uint32_t subgroup;   /* lanes of a subgroup, all of them full (device/cooperative.h); 0: the driver chooses */
    struct program_constants constants;
};

#endif
