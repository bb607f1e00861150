#include "tests/support/quantise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "reference/bits.h"
#include "reference/reference.h"

static void put_half(uint8_t *to, float value)
{
    uint16_t bits = half_of(value);
    to[0] = (uint8_t)bits;
    to[1] = (uint8_t)(bits >> 8);
}

static float read_back(const uint8_t *half)
{
    return float_from_half((uint16_t)(half[0] | half[1] << 8));
}

static int clip(float x, int least, int most)
{
    int q = (int)rintf(x);
    return q < least ? least : q > most ? most : q;
}

/* The value with the largest magnitude. */
static float largest(const float *x, unsigned n)
{
    float most = 0;
    for (unsigned i = 0; i < n; i++) {
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    }
    return most;
}

/* Q4_0 and Q5_0: the largest magnitude becomes -half. */
static void signed_block(const float *x, int half, uint8_t *block)
{
    float d = largest(x, 32) / (float)-half, inverse = d != 0 ? 1 / d : 0;
    uint8_t *nibbles = block + (half == 8 ? 2 : 6);
    memset(block, 0, half == 8 ? 18 : 22);
    put_half(block, d);
    for (unsigned i = 0; i < 32; i++) {
        int q = clip(x[i] * inverse, -half, half - 1) + half;
        nibbles[i % 16] |= (uint8_t)((q & 15) << (i / 16 * 4));
        if (half == 16) {
            block[2 + i / 8] |= (uint8_t)((q >> 4) << i % 8);
        }
    }
}

static void q8_0_block(const float *x, uint8_t *block)
{
    float d = fabsf(largest(x, 32)) / 127, inverse = d != 0 ? 1 / d : 0;
    put_half(block, d);
    for (unsigned i = 0; i < 32; i++) {
        block[2 + i] = (uint8_t)(int8_t)clip(x[i] * inverse, -127, 127);
    }
}

/* Each run of 32 has its own range. */
static void q4_k_block(const float *x, uint8_t *block)
{
    float scale[8], low[8], most_scale = 0, most_low = 0;
    memset(block, 0, 144);
    for (unsigned j = 0; j < 8; j++) {
        float least = 0, most = 0;
        for (unsigned i = 0; i < 32; i++) {
            least = fminf(least, x[32 * j + i]);
            most = fmaxf(most, x[32 * j + i]);
        }
        scale[j] = (most - least) / 15;
        low[j] = -least;
        most_scale = fmaxf(most_scale, scale[j]);
        most_low = fmaxf(most_low, low[j]);
    }
    put_half(block, most_scale / 63);
    put_half(block + 2, most_low / 63);
    float d = read_back(block), dmin = read_back(block + 2);
    for (unsigned j = 0; j < 8; j++) {
        int s = clip(d > 0 ? scale[j] / d : 0, 0, 63), m = clip(dmin > 0 ? low[j] / dmin : 0, 0, 63);
        if (j < 4) {
            block[4 + j] |= (uint8_t)s;
            block[8 + j] |= (uint8_t)m;
        } else {
            block[8 + j] |= (uint8_t)((s & 15) | (m & 15) << 4);
            block[j] |= (uint8_t)(s >> 4 << 6);
            block[4 + j] |= (uint8_t)(m >> 4 << 6);
        }
        for (unsigned i = 0; i < 32; i++) {
            float step = d * (float)s, shifted = x[32 * j + i] + dmin * (float)m;
            int q = clip(step > 0 ? shifted / step : 0, 0, 15);
            block[16 + j / 2 * 32 + i] |= (uint8_t)(q << (j % 2 * 4));
        }
    }
}

/* Each run of 16 has its own scale. */
static void q6_k_block(const float *x, uint8_t *block)
{
    float scale[16], most = 0;
    memset(block, 0, 210);
    for (unsigned j = 0; j < 16; j++) {
        scale[j] = largest(x + 16 * j, 16) / -32;
        most = fabsf(scale[j]) > fabsf(most) ? scale[j] : most;
    }
    put_half(block + 208, most / -128);
    float d = read_back(block + 208);
    for (unsigned j = 0; j < 256; j++) {
        int s = clip(d != 0 ? scale[j / 16] / d : 0, -128, 127);
        float step = d * (float)s;
        unsigned q = (unsigned)(clip(step != 0 ? x[j] / step : 0, -32, 31) + 32);
        unsigned half = j / 128, run = j % 128 / 32, l = j % 32;
        block[192 + j / 16] = (uint8_t)(int8_t)s;
        block[half * 64 + run % 2 * 32 + l] |= (uint8_t)((q & 15) << (run / 2 * 4));
        block[128 + half * 32 + l] |= (uint8_t)((q >> 4) << (2 * run));
    }
}

void quantise_values(uint32_t dtype, const float *values, uint64_t n, uint8_t *blocks)
{
    const struct dtype_info *info = dtype_info(dtype);
    ASSERT(n % info->block_elems == 0);
    for (uint64_t i = 0; i < n; i += info->block_elems, blocks += info->block_bytes) {
        switch (dtype) {
        case DTYPE_F16:
            put_half(blocks, values[i]);
            break;
        case DTYPE_Q4_0:
            signed_block(values + i, 8, blocks);
            break;
        case DTYPE_Q5_0:
            signed_block(values + i, 16, blocks);
            break;
        case DTYPE_Q8_0:
            q8_0_block(values + i, blocks);
            break;
        case DTYPE_Q4_K:
            q4_k_block(values + i, blocks);
            break;
        case DTYPE_Q6_K:
            q6_k_block(values + i, blocks);
            break;
        default:
            ASSERT(!"a format without a quantiser");
        }
    }
}

/* The quantised copy of a matrix; makes it once. */
static struct tensor *copy_of(struct quantised_plan *quantised, const struct tensor *tensor, uint32_t dtype)
{
    for (uint32_t i = 0; i < quantised->n_tensors; i++) {
        if (strcmp(quantised->tensors[i].name, tensor->name) == 0) {
            return &quantised->tensors[i];
        }
    }
    uint64_t rows = tensor_rows(tensor), elems = tensor_row_elems(tensor), row_bytes = dtype_bytes(dtype, elems);
    float *row = xmalloc(elems * sizeof(*row));
    uint8_t *bytes = xmalloc(rows * row_bytes);
    for (uint64_t r = 0; r < rows; r++) {
        weights_decode(tensor, r, 0, elems, row);
        quantise_values(dtype, row, elems, bytes + r * row_bytes);
    }
    free(row);
    struct tensor *copy = &quantised->tensors[quantised->n_tensors++];
    *copy = *tensor;
    copy->dtype = dtype;
    copy->layout = LAYOUT_ROWS;
    copy->scales = NULL;
    copy->bytes = bytes;
    copy->n_bytes = rows * row_bytes;
    return copy;
}

void quantised_plan_make(struct quantised_plan *quantised, const struct plan *plan, uint32_t dtype)
{
    *quantised = (struct quantised_plan){0};
    plan_copy(&quantised->plan, plan);
    quantised->tensors = xcalloc(plan->n_steps, sizeof(*quantised->tensors));
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct tensor *matrix = plan->steps[s].weight[0];
        bool multiplies =
            plan->steps[s].op == OP_embed || plan->steps[s].op == OP_matmul || plan->steps[s].op == OP_expert_matmul;
        if (multiplies && dtype_info(matrix->dtype)->block_elems == 1 &&
            tensor_row_elems(matrix) % dtype_info(dtype)->block_elems == 0) {
            quantised->plan.steps[s].weight[0] = copy_of(quantised, matrix, dtype);
        }
    }
}

void quantised_plan_free(struct quantised_plan *quantised)
{
    for (uint32_t i = 0; i < quantised->n_tensors; i++) {
        free((void *)(uintptr_t)quantised->tensors[i].bytes);
    }
    free(quantised->tensors);
    plan_free(&quantised->plan);
}
