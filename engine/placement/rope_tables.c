#include "engine/placement/rope_tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/placement/round.h"
#include "engine/placement/upload.h"

static bool same_table(const struct rope_params *a, const struct rope_params *b)
{
    struct rope_params other = *b;
    other.heads = a->heads; /* the table does not depend on it. All fields have 4 bytes: memcmp meets no padding */
    return memcmp(a, &other, sizeof(other)) == 0;
}

/* The first step that uses the same table as step i. */
static uint32_t first_with_table(const struct plan *plan, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (plan->steps[k].op == OP_rope && same_table(&plan->steps[k].params.rope, &plan->steps[i].params.rope)) {
            return k;
        }
    }
    return i;
}

/* Gives each table its region. Returns the bytes of all tables. */
static VkDeviceSize place_tables(struct rope_tables *tables, const struct plan *plan, uint32_t max_positions,
                                 VkDeviceSize alignment)
{
    VkDeviceSize at = 0;
    tables->region = xcalloc(plan->n_steps, sizeof(*tables->region));
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].op != OP_rope) {
            continue;
        }
        uint32_t first = first_with_table(plan, i);
        if (first == i) {
            VkDeviceSize size = (VkDeviceSize)max_positions * (plan->steps[i].params.rope.dim / 2) * 2 * sizeof(float);
            tables->region[i] = (struct region){at, size};
            at = align_up(at + size, alignment);
        }
        tables->region[i] = tables->region[first];
    }
    return at;
}

#define TWO_PI 6.283185307179586

/* The frequency of a pair of values. Source: transformers, modeling_rope_utils.py. */
static double scaled_frequency(const struct rope_params *rope, uint32_t pair)
{
    double plain = pow(rope->theta, -2.0 * pair / rope->dim), stretched = plain / rope->factor, share = 1;
    if (rope->type == ROPE_TYPE_DEFAULT) {
        return plain;
    }
    if (rope->type == ROPE_TYPE_LLAMA3) {
        double wavelength = TWO_PI / plain;
        share = (rope->original / wavelength - rope->low) / ((double)rope->high - rope->low);
        share = 1 - fmin(fmax(share, 0), 1);
    } else if (rope->type == ROPE_TYPE_YARN) {
        double per_log = rope->dim / (2 * log(rope->theta));
        double from = per_log * log(rope->original / (rope->high * TWO_PI));
        double to = per_log * log(rope->original / (rope->low * TWO_PI));
        from = fmax(rope->truncate ? floor(from) : from, 0);
        to = fmin(rope->truncate ? ceil(to) : to, rope->dim - 1.0);
        share = fmin(fmax((pair - from) / (to == from ? 0.001 : to - from), 0), 1);
    }
    return share * stretched + (1 - share) * plain;
}

static void fill_table(const struct rope_params *rope, uint32_t max_positions, float *table)
{
    uint32_t pairs = rope->dim / 2;
    for (uint32_t i = 0; i < pairs; i++) {
        double frequency = scaled_frequency(rope, i);
        for (uint32_t position = 0; position < max_positions; position++) {
            float *pair = table + 2 * ((size_t)position * pairs + i);
            pair[0] = (float)(rope->scale * cos(position * frequency));
            pair[1] = (float)(rope->scale * sin(position * frequency));
        }
    }
}

enum status rope_tables_open(struct rope_tables *tables, struct device *device, const struct plan *plan,
                             uint32_t max_positions, VkDeviceSize alignment, struct error *err)
{
    VkDeviceSize size = place_tables(tables, plan, max_positions, alignment);
    TRY(gpu_buffer_create(device, size ? size : alignment, MEMORY_DEVICE, &tables->buffer, err));
    if (size == 0) {
        return STATUS_OK;
    }
    uint8_t *bytes = xcalloc(1, size);
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &plan->steps[i];
        if (step->op == OP_rope && first_with_table(plan, i) == i) {
            fill_table(&step->params.rope, max_positions, (float *)(void *)(bytes + tables->region[i].offset));
        }
    }
    struct upload upload = {.to = &tables->buffer, .bytes = bytes, .n_bytes = size};
    enum status status = upload_run(device, &upload, 1, err);
    free(bytes);
    return status;
}

void rope_tables_close(struct rope_tables *tables, struct device *device)
{
    gpu_buffer_destroy(device, &tables->buffer);
    free(tables->region);
    tables->region = NULL;
}
