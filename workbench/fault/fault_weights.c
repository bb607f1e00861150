/* Edits of a weight's bytes, or of what they are read as. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"
#include "workbench/fault/fault_edits.h"

/* Gives the step a copy of its weight w to edit. bytes: NULL, or where to put the copy's own bytes, [n_bytes]. */
static struct tensor *own_weight(struct edit *edit, unsigned w, uint8_t **bytes)
{
    const struct tensor *from = edit->step.weight[w];
    struct tensor *copy = arena_alloc(edit->arena, sizeof(*copy));
    *copy = *from;
    if (bytes) {
        *bytes = arena_alloc(edit->arena, from->n_bytes);
        tensor_copy(from, 0, from->n_bytes, *bytes);
        copy->bytes = *bytes;
        copy->scales = NULL;
    }
    edit->step.weight[w] = copy;
    return copy;
}

bool edit_wrong_dtype(struct edit *edit)
{
    static const uint32_t wrong[][2] = {{DTYPE_F32, DTYPE_F16},
                                        {DTYPE_F16, DTYPE_BF16},
                                        {DTYPE_BF16, DTYPE_F16},
                                        {DTYPE_Q8_0, DTYPE_Q4_1},
                                        {DTYPE_Q4_1, DTYPE_Q4_0}}; /* the wrong one never takes more bytes */
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        if (edit->step.weight[0]->dtype != wrong[i][0] || edit->step.weight[0]->layout != LAYOUT_ROWS) {
            continue;
        }
        if (edit->arena) {
            struct tensor *weight = own_weight(edit, 0, NULL);
            weight->dtype = wrong[i][1];
            weight->n_bytes = tensor_rows(weight) * tensor_row_bytes(weight);
        }
        return true;
    }
    return false;
}

bool edit_row_times(struct edit *edit)
{
    if (!edit->arena) {
        return true;
    }
    const struct tensor *from = edit->step.weight[0];
    uint64_t n_rows = tensor_rows(from), n = tensor_row_elems(from);
    float *values = arena_alloc(edit->arena, n_rows * n * sizeof(*values));
    for (uint64_t row = 0; row < n_rows; row++) {
        weights_decode(from, row, 0, n, values + row * n);
    }
    for (uint64_t i = 0; i < n; i++) {
        values[n_rows / 3 * n + i] *= (float)edit->fault->value;
    }
    struct tensor *weight = own_weight(edit, 0, NULL);
    weight->dtype = DTYPE_F32;
    weight->layout = LAYOUT_ROWS;
    weight->bytes = (const uint8_t *)values;
    weight->scales = NULL;
    weight->n_bytes = n_rows * n * sizeof(*values);
    return true;
}

/* The width of a head in this step's layer. 0: the layer has no attention, or the family norms its queries; its GGUF
 * files keep transformers' order. */
static uint32_t pair_order_dim(const struct edit *edit)
{
    int32_t attention = plan_find(edit->plan, edit->step.layer, STAGE_attn_out);
    if (attention < 0 || plan_find(edit->plan, edit->step.layer, STAGE_q_norm) >= 0) {
        return 0;
    }
    return edit->plan->steps[attention].params.attention.dim;
}

bool edit_pair_order(struct edit *edit)
{
    uint32_t dim = pair_order_dim(edit);
    for (unsigned w = 0; w < OP_MAX_WEIGHTS && edit->arena && edit->step.weight[w]; w++) {
        const struct tensor *from = edit->step.weight[w];
        uint8_t *bytes;
        uint64_t row = from->n_bytes / edit->step.width; /* bytes; a bias has one value per row */
        (void)own_weight(edit, w, &bytes);
        for (uint32_t o = 0; o < edit->step.width; o++) {
            uint32_t within = o % dim, source = o - within + within % 2 * (dim / 2) + within / 2;
            tensor_copy(from, source * row, row, bytes + o * row);
        }
    }
    return dim > 2 && edit->step.weight[0]->layout == LAYOUT_ROWS;
}

bool edit_min_sign(struct edit *edit)
{
    const struct dtype_info *info = dtype_info(edit->step.weight[0]->dtype);
    if (info->m_times == 0) {
        return false;
    }
    if (edit->arena) {
        uint8_t *bytes;
        const struct tensor *weight = own_weight(edit, 0, &bytes);
        for (uint64_t at = 0; at < weight->n_bytes; at += info->block_bytes) {
            bytes[at + info->m_at + 1] ^= 0x80;
        }
    }
    return true;
}

bool edit_no_expert_bias(struct edit *edit)
{
    if (edit->arena && edit->step.weight[1]) {
        uint8_t *bytes;
        const struct tensor *bias = own_weight(edit, 1, &bytes);
        memset(bytes, 0, bias->n_bytes);
    }
    return edit->step.weight[1] != NULL;
}

/* Byte i of a block holds elements i and i + 16, as in GGUF. In safetensors it holds 2i and 2i + 1, so there
 * neighbouring elements change places. */
bool edit_nibbles(struct edit *edit)
{
    const struct tensor *from = edit->step.weight[0];
    if (from->dtype != DTYPE_MXFP4) {
        return false;
    }
    if (!edit->arena) {
        return true;
    }
    const char *suffix = strstr(from->stored_name, "_blocks");
    bool neighbours = suffix && !suffix[strlen("_blocks")];
    uint8_t *bytes;
    (void)own_weight(edit, 0, &bytes);
    for (uint64_t at = 0; at < from->n_bytes; at += dtype_info(DTYPE_MXFP4)->block_bytes) {
        for (unsigned i = 1; i <= 16; i++) {
            uint8_t byte = bytes[at + i];
            if (!neighbours) {
                bytes[at + i] = (uint8_t)(byte >> 4 | byte << 4);
            } else if (i % 2) {
                bytes[at + i] = bytes[at + i + 1], bytes[at + i + 1] = byte;
            }
        }
    }
    return true;
}

/* Encodes 256 values as one block of Q4_K, as DOPPLER's converter does: each run of 32 values in 15 steps from its
 * smallest (or 0) to its largest. */
static void encode_q4_k(const float *x, uint8_t *block)
{
    float scale[8], minimum[8], most_scale = 0, most_minimum = 0;
    for (unsigned j = 0; j < 8; j++) {
        float low = 0, high = x[32 * j];
        for (unsigned i = 0; i < 32; i++) {
            low = fminf(low, x[32 * j + i]);
            high = fmaxf(high, x[32 * j + i]);
        }
        scale[j] = (high - low) / 15;
        minimum[j] = -low;
        most_scale = fmaxf(most_scale, scale[j]);
        most_minimum = fmaxf(most_minimum, minimum[j]);
    }
    float d = round_to_dtype(most_scale / 63, DTYPE_F16), dmin = round_to_dtype(most_minimum / 63, DTYPE_F16);
    uint16_t halves[2] = {half_of(d), half_of(dmin)};
    memset(block, 0, 144);
    memcpy(block, halves, sizeof(halves));
    for (unsigned j = 0; j < 8; j++) {
        unsigned s = d > 0 ? (unsigned)fminf(63, roundf(scale[j] / d)) : 0;
        unsigned m = dmin > 0 ? (unsigned)fminf(63, roundf(minimum[j] / dmin)) : 0;
        uint8_t *packed = block + 4; /* 6 bits each; bytes 0 to 7 also hold the upper two bits of runs 4 to 7 */
        packed[j < 4 ? j : j + 4] |= (uint8_t)(j < 4 ? s : (s & 15) | m << 4);
        packed[j < 4 ? j + 4 : j - 4] |= (uint8_t)(j < 4 ? m : s >> 4 << 6);
        if (j >= 4) {
            packed[j] |= (uint8_t)(m >> 4 << 6);
        }
        for (unsigned i = 0; i < 32; i++) {
            float step = d * (float)s, q = step > 0 ? roundf((x[32 * j + i] + dmin * (float)m) / step) : 0;
            block[16 + j / 2 * 32 + i] |= (uint8_t)((unsigned)fmaxf(0, fminf(15, q)) << (j % 2 ? 4 : 0));
        }
    }
}

bool edit_to_q4_k(struct edit *edit)
{
    const struct tensor *from = edit->step.weight[0];
    uint64_t n = tensor_row_elems(from), n_rows = tensor_rows(from);
    if (dtype_info(from->dtype)->block_elems != 1 || n % 256 != 0 || from->layout != LAYOUT_ROWS) {
        return false;
    }
    if (!edit->arena) {
        return true;
    }
    float *values = xmalloc(n * sizeof(*values));
    uint64_t n_bytes = dtype_bytes(DTYPE_Q4_K, n);
    uint8_t *bytes = arena_alloc(edit->arena, n_rows * n_bytes);
    for (uint64_t row = 0; row < n_rows; row++) {
        weights_decode(from, row, 0, n, values);
        for (uint64_t block = 0; block < n / 256; block++) {
            encode_q4_k(values + block * 256, bytes + row * n_bytes + block * 144);
        }
    }
    free(values);
    struct tensor *weight = own_weight(edit, 0, NULL);
    weight->dtype = DTYPE_Q4_K;
    weight->bytes = bytes;
    weight->n_bytes = n_rows * n_bytes;
    return true;
}

bool edit_row_by_row(struct edit *edit)
{
    const struct tensor *from = edit->step.weight[0];
    const struct dtype_info *info = dtype_info(from->dtype);
    if (from->layout != LAYOUT_PACKED || from->dtype != DTYPE_Q4_K || tensor_row_elems(from) % info->block_elems == 0) {
        return false;
    }
    if (!edit->arena) {
        return true;
    }
    struct tensor *weight = own_weight(edit, 0, NULL);
    weight->layout = LAYOUT_ROWS;
    weight->n_bytes = tensor_rows(weight) * tensor_row_bytes(weight);
    uint8_t *bytes = arena_alloc(edit->arena, weight->n_bytes); /* zeros past the stream's end */
    memset(bytes, 0, weight->n_bytes);
    memcpy(bytes, from->bytes, from->n_bytes < weight->n_bytes ? from->n_bytes : weight->n_bytes);
    weight->bytes = bytes;
    return true;
}
