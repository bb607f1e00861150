/* The solver of wrongly decoded weights, for every quantised format. Each wrong decoder is written here by the format's
 * definition; the right one must not be accused, nor an error of another kind be taken for one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/solving.h"

static float half_at(const uint8_t *bytes)
{
    unsigned bits = (unsigned)(bytes[0] | bytes[1] << 8), exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude = exponent ? ldexpf((float)(1024 + fraction), (int)exponent - 25) : ldexpf((float)fraction, -24);
    return bits & 0x8000 ? -magnitude : magnitude;
}

/* Decodes a block wrongly. */
typedef void wrong_decoder(const uint8_t *block, float *values);

static void q4_0_in_turn(const uint8_t *block, float *values)
{
    for (unsigned i = 0; i < 32; i++) {
        values[i] = half_at(block) * (float)((block[2 + i / 2] >> (i % 2 * 4) & 15) - 8);
    }
}

static void q4_0_without_offset(const uint8_t *block, float *values)
{
    for (unsigned i = 0; i < 32; i++) {
        values[i] = half_at(block) * (float)(block[2 + i % 16] >> (i / 16 * 4) & 15);
    }
}

static void q4_0_signed(const uint8_t *block, float *values)
{
    for (unsigned i = 0; i < 32; i++) {
        int q = block[2 + i % 16] >> (i / 16 * 4) & 15;
        values[i] = half_at(block) * (float)(q < 8 ? q : q - 16);
    }
}

static void q5_0_without_fifth_bit(const uint8_t *block, float *values)
{
    for (unsigned i = 0; i < 32; i++) {
        values[i] = half_at(block) * (float)((block[6 + i % 16] >> (i / 16 * 4) & 15) - 16);
    }
}

static void q5_1_without_minimum(const uint8_t *block, float *values)
{
    for (unsigned i = 0; i < 32; i++) {
        unsigned q = (unsigned)(block[8 + i % 16] >> (i / 16 * 4) & 15) | (unsigned)(block[4 + i / 8] >> i % 8 & 1)
                                                                              << 4;
        values[i] = half_at(block) * (float)q;
    }
}

static void q4_1_nibbles_exchanged(const uint8_t *block, float *values)
{
    for (unsigned i = 0; i < 32; i++) {
        values[i] = half_at(block) * (float)(block[4 + i % 16] >> (i / 16 ? 0 : 4) & 15) + half_at(block + 2);
    }
}

static void q8_0_unsigned(const uint8_t *block, float *values)
{
    for (unsigned i = 0; i < 32; i++) {
        values[i] = half_at(block) * (float)block[2 + i];
    }
}

/* Q4_K and Q5_K: which bits of the scales of runs 4 to 7 are lost. */
static void k_runs(const uint8_t *block, bool fifth, unsigned scale_mask, unsigned minimum_mask, float *values)
{
    const uint8_t *packed = block + 4, *low = block + (fifth ? 48 : 16);
    for (unsigned i = 0; i < 256; i++) {
        unsigned j = i / 32, k = j % 4;
        unsigned s = packed[k] & 63, m = packed[4 + k] & 63;
        if (j >= 4) {
            s = ((packed[8 + k] & 15) | packed[k] >> 6 << 4) & scale_mask;
            m = (unsigned)(packed[8 + k] >> 4 | packed[4 + k] >> 6 << 4) & minimum_mask;
        }
        unsigned q = low[i / 64 * 32 + i % 32] >> (j % 2 * 4) & 15;
        values[i] = half_at(block) * (float)(s * q) - half_at(block + 2) * (float)m;
    }
}

static void q4_k_without_high_bits(const uint8_t *block, float *values)
{
    k_runs(block, false, 15, 15, values);
}

static void q4_k_scales_without_high_bits(const uint8_t *block, float *values)
{
    k_runs(block, false, 15, 63, values);
}

static void q5_k_without_fifth_bit(const uint8_t *block, float *values)
{
    k_runs(block, true, 63, 63, values);
}

static void q6_k(const uint8_t *block, unsigned mask, int offset, bool is_unsigned, float *values)
{
    for (unsigned i = 0; i < 256; i++) {
        unsigned half = i / 128, run = i % 128 / 32, l = i % 32;
        unsigned low = block[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
        unsigned top = block[128 + half * 32 + l] >> (2 * run) & 3;
        uint8_t scale = block[192 + i / 16];
        values[i] = half_at(block + 208) * (float)(is_unsigned ? (int)scale : (int)(int8_t)scale) *
                    (float)((int)((top << 4 | low) & mask) - offset);
    }
}

static void q6_k_without_top(const uint8_t *block, float *values)
{
    q6_k(block, 15, 32, false, values);
}

static void q6_k_without_offset(const uint8_t *block, float *values)
{
    q6_k(block, 63, 0, false, values);
}

static void q6_k_unsigned(const uint8_t *block, float *values)
{
    q6_k(block, 63, 32, true, values);
}

static void mxfp4(const uint8_t *block, int bias, bool has_sign, float *values)
{
    static const float magnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (unsigned i = 0; i < 32; i++) {
        unsigned q = block[1 + i % 16] >> (i / 16 * 4) & 15;
        values[i] = (q & 8 && has_sign ? -1.0f : 1.0f) * ldexpf(magnitudes[q & 7], (int)block[0] - bias);
    }
}

static void mxfp4_other_bias(const uint8_t *block, float *values)
{
    mxfp4(block, 126, true, values);
}

static void mxfp4_without_sign(const uint8_t *block, float *values)
{
    mxfp4(block, 127, false, values);
}

static void f16_as_bf16(const uint8_t *block, float *values)
{
    uint32_t bits = (uint32_t)(block[0] | block[1] << 8) << 16;
    memcpy(values, &bits, sizeof(bits));
}

/* The matrix of the step, decoded wrongly. first_scale: all blocks of a row have the first one's scale. */
static float *decode_wrongly(const struct tensor *matrix, wrong_decoder *decode, bool first_scale)
{
    const struct dtype_info *info = dtype_info(matrix->dtype);
    uint64_t n = tensor_row_elems(matrix), in_row = n / info->block_elems, n_blocks = tensor_rows(matrix) * in_row;
    float *w = xmalloc(n_blocks * info->block_elems * sizeof(*w));
    for (uint64_t b = 0; b < n_blocks; b++) {
        uint8_t block[256], first[256];
        tensor_copy(matrix, b * info->block_bytes, info->block_bytes, block);
        tensor_copy(matrix, b / in_row * in_row * info->block_bytes, info->block_bytes, first);
        if (first_scale) {
            memcpy(block + info->d_at, first + info->d_at, 2);
        }
        if (decode) {
            decode(block, w + b * info->block_elems);
        } else {
            struct tensor one = {.dtype = matrix->dtype,
                                 .n_dims = 1,
                                 .shape = {info->block_elems},
                                 .bytes = block,
                                 .n_bytes = info->block_bytes};
            weights_decode(&one, 0, 0, info->block_elems, w + b * info->block_elems);
        }
    }
    return w;
}

static void make_embed(struct solving *solving, const float *w)
{
    for (uint64_t at = 0; at < (uint64_t)solving->n * solving->width; at++) {
        uint64_t token = (uint64_t)solving->small.golden.tokens[at / solving->width];
        solving->rows[at] = w[token * solving->width + at % solving->width];
    }
}

static void make_experts(struct solving *solving, const float *w)
{
    const struct expert_matmul_params *p = &solving->step->params.expert_matmul;
    float *b = solving_weights(solving->step->weight[1]);
    for (uint64_t at = 0; at < (uint64_t)solving->n * solving->width; at++) {
        uint64_t position = at / solving->width, slot = at % solving->width / p->n_out, o = at % p->n_out;
        uint64_t row = (uint64_t)solving->in[1][position * p->k + slot] * p->n_out + o;
        const float *x = solving->in[0] + (p->shared_x ? position : position * p->k + slot) * p->n_in;
        double sum = b[row];
        for (uint32_t i = 0; i < p->n_in; i++) {
            sum += (double)w[row * p->n_in + i] * x[i];
        }
        solving->rows[at] = (float)sum;
    }
    free(b);
}

static const char formats[] = "llama-formats.gguf";

static void wrong_decoders_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        enum stage stage;
        wrong_decoder *decode;
        bool first_scale;
        const char *says;
    } cases[] = {
        {formats, 0, STAGE_ffn_gate, q4_k_without_high_bits, false, "high bits of the scales and minimums"},
        {formats, 0, STAGE_ffn_gate, q4_k_scales_without_high_bits, false, "high bits of the scales of runs"},
        {formats, 0, STAGE_ffn_up, q5_k_without_fifth_bit, false, "high bits are lost"},
        {formats, 0, STAGE_ffn_down, q6_k_without_top, false, "high bits are lost"},
        {formats, 0, STAGE_ffn_down, q6_k_without_offset, false, "offset 0 times"},
        {formats, 0, STAGE_ffn_down, q6_k_unsigned, false, "unsigned"},
        {formats, 0, STAGE_q_proj, q4_0_in_turn, false, "neighbouring elements"},
        {formats, 0, STAGE_q_proj, q4_0_without_offset, false, "offset 0 times"},
        {formats, 0, STAGE_q_proj, q4_0_signed, false, "signed 4-bit"},
        {formats, 0, STAGE_k_proj, q5_0_without_fifth_bit, false, "high bits are lost"},
        {formats, 0, STAGE_v_proj, q5_1_without_minimum, false, "minimums 0 times"},
        {formats, 0, STAGE_o_proj, q8_0_unsigned, false, "unsigned"},
        {formats, 0, STAGE_o_proj, NULL, true, "first one's scale"},
        {formats, LAYER_NONE, STAGE_embed, q4_1_nibbles_exchanged, false, "nibbles of each byte are exchanged"},
        {formats, LAYER_NONE, STAGE_logits, f16_as_bf16, false, "read as bf16"},
        {"tiny-llama-q4_1.gguf", 2, STAGE_ffn_down, q4_1_nibbles_exchanged, false, "exchanged"},
        {"tiny-llama-q4_1.gguf", 1, STAGE_ffn_gate, NULL, true, "first one's scale"},
        {"tiny-gpt-oss", 1, STAGE_moe_gate_up, mxfp4_other_bias, false, "exponent bias"},
        {"tiny-gpt-oss", 2, STAGE_moe_down, mxfp4_without_sign, false, "sign of e2m1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
        float *w = decode_wrongly(solving.step->weight[0], cases[i].decode, cases[i].first_scale);
        if (solving.step->op == OP_embed) {
            make_embed(&solving, w);
        } else if (solving.step->op == OP_expert_matmul) {
            make_experts(&solving, w);
        } else {
            solving_product(&solving, w, solving.in[0], NULL);
        }
        solving_expect(&solving, KIND_WEIGHTS_DECODING, cases[i].says, NAN);
        free(w);
        solving_close(&solving);
    }
}

/* A matrix that is not square, read as if it were stored transposed. */
static void a_transposed_matrix_is_layout(void **state)
{
    (void)state;
    struct solving solving;
    solving_open(&solving, "tiny-llama", 1, STAGE_ffn_up);
    uint32_t n_in = solving.in_width[0], n_out = solving.width;
    float *stored = solving_weights(solving.step->weight[0]), *w = xmalloc((uint64_t)n_in * n_out * sizeof(*w));
    for (uint64_t at = 0; at < (uint64_t)n_in * n_out; at++) {
        w[at] = stored[at % n_in * n_out + at / n_in];
    }
    solving_product(&solving, w, solving.in[0], NULL);
    solving_expect(&solving, KIND_LAYOUT, "transposed", NAN);
    free(stored);
    free(w);
    solving_close(&solving);
}

/* The matrix with the scales and minimums of its blocks multiplied and stored in f16 again; every other block by a
 * factor that is `apart` larger. */
static float *rescaled(const struct tensor *matrix, float factor, float apart)
{
    const struct dtype_info *info = dtype_info(matrix->dtype);
    uint8_t *bytes = xmalloc(matrix->n_bytes);
    tensor_copy(matrix, 0, matrix->n_bytes, bytes);
    for (uint64_t at = 0; at < matrix->n_bytes; at += info->block_bytes) {
        for (uint32_t i = 0; i < (info->m_times != 0 ? 2u : 1u); i++) {
            uint8_t *half = bytes + at + (i == 0 ? info->d_at : info->m_at);
            float times = factor + (at / info->block_bytes % 2 ? apart : 0);
            uint16_t bits = half_of(times * half_at(half));
            memcpy(half, &bits, sizeof(bits));
        }
    }
    struct tensor copy = *matrix;
    copy.bytes = bytes;
    float *w = solving_weights(&copy);
    free(bytes);
    return w;
}

static void rescaled_blocks_are_a_multiple(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        enum stage stage;
        float factor;
    } cases[] = {
        {"tiny-llama-q4_1.gguf", 2, STAGE_ffn_up, 1.1f},
        {"tiny-llama-q4_1.gguf", 1, STAGE_o_proj, 0.97f},
        {formats, 0, STAGE_ffn_down, 1.1f},
        {formats, 0, STAGE_ffn_gate, 1.125f},
        {formats, 0, STAGE_o_proj, 1.099609375f},
        {formats, 0, STAGE_q_proj, 0.333f},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        for (int apart = 0; apart < 2; apart++) {
            struct solving solving;
            solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
            float *w = rescaled(solving.step->weight[0], cases[i].factor, apart ? 0.01f : 0);
            solving_product(&solving, w, solving.in[0], NULL);
            if (apart) {
                solving_refuse(&solving, KIND_CONSTANT_MULTIPLE);
            } else {
                solving_expect(&solving, KIND_CONSTANT_MULTIPLE, "stored in f16 again", NAN);
            }
            free(w);
            solving_close(&solving);
        }
    }
}

/* The twins: the right decoder, noise, and inputs that are missing. */
static void other_errors_are_not_named(void **state)
{
    (void)state;
    struct solving solving;
    solving_open(&solving, formats, 0, STAGE_ffn_gate);
    float *w = solving_weights(solving.step->weight[0]);
    solving_product(&solving, w, solving.in[0], NULL);
    solving_refuse(&solving, KIND_WEIGHTS_DECODING);
    for (uint64_t at = 0; at < 256 * 256; at++) {
        w[at] = at % 256 < 192 ? w[at] : 0;
    }
    solving_product(&solving, w, solving.in[0], NULL);
    solving_expect(&solving, KIND_MISSING_TERMS, "inputs 192 to 255", NAN);
    for (uint64_t at = 0; at < 256 * 256; at++) {
        w[at] *= 1 + 0.2f * (float)(at * 7919 % 11);
    }
    solving_product(&solving, w, solving.in[0], NULL);
    solving_refuse(&solving, KIND_WEIGHTS_DECODING);
    free(w);
    solving_close(&solving);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_decoders_are_named),
        cmocka_unit_test(a_transposed_matrix_is_layout),
        cmocka_unit_test(rescaled_blocks_are_a_multiple),
        cmocka_unit_test(other_errors_are_not_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
