/* The weight formats, one row each. C (model/tensor.h) and GLSL (weights.glsl) both read this table, so the two cannot
 * disagree. A new format is a row here, decode_NAME in reference/decode_blocks.c and decode_NAME in
 * shaders/weights.glsl; without either the build fails. Sources: ggml.h, ggml-common.h.
 *
 * name       as GGUF, safetensors and messages call it; the code is DTYPE_name
 * code       0, 1, 2, … in the order of the rows
 * ggml       number of the type in a GGUF file
 * files      file formats that hold it beside GGUF: IN_ bits
 * elems      elements a block
 * bytes      bytes a block
 * scale      what a block's scale d is: SCALE_ code
 * d_at       byte of a block where d begins; a minimum m, an f16, follows it where m_times is not 0
 * d_times    |element| <= d_times |d| + m_times |m|
 * m_times    0: the format has no minimum
 * header     bytes of a block ahead of its quants, where quants count up from a minimum (their own, or -8 d and -16 d
 * as ggml's kernels take Q4_0 and Q5_0); 0: quants are signed, or the values of a table quants     bytes of quants at a
 * block's end, 16 or 32, where the block is [d [m]] [4 bytes of fifth bits] quants and has 32 elements. Matrices of
 * such blocks are regrouped for GPUs (engine's groups); 0: they stay as they are step       elements from the first to
 * the second run of 4 in a unit of 8, shaders/weights.glsl benched    1: `bench --kernels` measures its matrix products
 */
#ifndef LOCKSTEP_SHADERS_DTYPES_H
#define LOCKSTEP_SHADERS_DTYPES_H

#define IN_SAFETENSORS 1
#define IN_RDRR 2

#define SCALE_NONE 0 /* elements are floats */
#define SCALE_HALF 1 /* an f16 */
#define SCALE_E8M0 2 /* a byte: the scale is 2^(byte - 127) */

#define DTYPES(X)                                                                   \
    /* name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, */     \
    /* header, quants, step, benched */                                             \
    X(F32, 0, 0, IN_SAFETENSORS | IN_RDRR, 1, 4, SCALE_NONE, 0, 0, 0, 0, 0, 4, 1)   \
    X(F16, 1, 1, IN_SAFETENSORS | IN_RDRR, 1, 2, SCALE_NONE, 0, 0, 0, 0, 0, 4, 1)   \
    X(BF16, 2, 30, IN_SAFETENSORS | IN_RDRR, 1, 2, SCALE_NONE, 0, 0, 0, 0, 0, 4, 1) \
    X(Q4_0, 3, 2, IN_RDRR, 32, 18, SCALE_HALF, 0, 8, 0, 2, 16, 16, 1)               \
    X(Q4_1, 4, 3, 0, 32, 20, SCALE_HALF, 0, 15, 1, 4, 16, 16, 1)                    \
    X(Q8_0, 5, 8, IN_RDRR, 32, 34, SCALE_HALF, 0, 128, 0, 0, 32, 4, 1)              \
    X(Q5_0, 6, 6, 0, 32, 22, SCALE_HALF, 0, 16, 0, 2, 16, 16, 1)                    \
    X(Q5_1, 7, 7, 0, 32, 24, SCALE_HALF, 0, 31, 1, 4, 16, 16, 0)                    \
    X(Q4_K, 8, 12, IN_RDRR, 256, 144, SCALE_HALF, 0, 63 * 15, 63, 16, 0, 32, 1)     \
    X(Q5_K, 9, 13, 0, 256, 176, SCALE_HALF, 0, 63 * 31, 63, 16, 0, 32, 0)           \
    X(Q6_K, 10, 14, IN_RDRR, 256, 210, SCALE_HALF, 208, 128 * 32, 0, 0, 0, 64, 1)   \
    X(MXFP4, 11, 39, 0, 32, 17, SCALE_E8M0, 0, 6, 0, 0, 0, 16, 1)                   \
    X(IQ4_NL, 12, 20, 0, 32, 18, SCALE_HALF, 0, 127, 0, 0, 16, 16, 0)

#ifdef GL_core_profile
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    const uint DTYPE_##name = code;
DTYPES(X)
#undef X
#else
enum dtype {
#define X(name, code, ...) DTYPE_##name = code,
    DTYPES(X)
#undef X
        DTYPE_COUNT
};
#endif

#endif
