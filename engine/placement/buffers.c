#include "engine/placement/buffers.h"

#include <stdlib.h>

#include "engine/placement/attention_parts.h"
#include "engine/placement/round.h"

/* A prefill batch is as large as this arena allows, up to a number of rows. More rows help only as long as reading the
 * weights takes most of the time, or tiles are not full. */
#define CPU_ARENA_BYTES (128ull << 20)
#define CPU_MAX_ROWS 64
#define GPU_ARENA_BYTES (4ull << 30)
#define GPU_MAX_ROWS 512

/* The first of the steps behind the last layer (norm, LM head, softcap) that can compute the last row alone. Nobody
 * reads the logits of the other rows, and a row of a vocabulary of 262,144 is a megabyte. n_steps: there is none. */
static uint32_t find_tail(const struct buffers *buffers)
{
    uint32_t n_steps = buffers->plan->n_steps, tail = n_steps;
    while (tail > 1) {
        const struct step *step = &buffers->plan->steps[tail - 1];
        bool by_rows = step->op == OP_softcap || step->op == OP_matmul || step->op == OP_rms_norm;
        if (step->layer != LAYER_NONE || !by_rows || step->input[0] != (int32_t)tail - 2) {
            break;
        }
        tail--;
    }
    /* The last row of its input must start at an offset that can be bound. */
    bool fits = tail < n_steps && buffers->plan->steps[tail - 1].width * sizeof(float) % buffers->alignment == 0;
    return fits ? tail : n_steps;
}

VkDeviceSize buffers_slots(const struct buffers *buffers, uint32_t n_rows, struct region *slots)
{
    VkDeviceSize at = 0;
    for (uint32_t i = 0; i < buffers->plan->n_steps; i++) {
        uint32_t rows = buffers_step_rows(buffers, i, n_rows);
        struct region slot = {.offset = at, .size = (VkDeviceSize)rows * buffers->plan->steps[i].width * sizeof(float)};
        if (slots) {
            slots[i] = slot;
        }
        at = align_up(at + slot.size + buffers->padding, buffers->alignment);
    }
    for (uint32_t i = 0; slots && i < buffers->plan->n_steps; i++) {
        const struct step *step = &buffers->plan->steps[i];
        if (step->tamper.how == TAMPER_SHARED_SLOT) {
            slots[i].offset = slots[step->tamper.with].offset; /* it may reach into the slot behind */
        }
    }
    return at;
}

/* Chooses max_rows. A slot must fit into one binding, and its values must be countable in 32 bits, because shaders
 * number their lanes through all rows. */
static enum status choose_max_rows(struct buffers *buffers, struct error *err)
{
    uint64_t widest = 1;
    for (uint32_t i = 0; i < buffers->plan->n_steps; i++) {
        widest = buffers->plan->steps[i].width > widest ? buffers->plan->steps[i].width : widest;
    }
    uint64_t most = buffers->limits.max_binding / sizeof(float) / widest;
    if (most == 0) {
        return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "a row of %llu values is longer than what %s binds (%u bytes)", (unsigned long long)widest,
                         buffers->device->info.name, buffers->limits.max_binding);
    }
    if (buffers->max_rows == 0) {
        bool is_cpu = buffers->device->info.is_cpu;
        VkDeviceSize row = buffers_slots(buffers, 2, NULL) - buffers_slots(buffers, 1, NULL);
        VkDeviceSize arena = is_cpu ? CPU_ARENA_BYTES : GPU_ARENA_BYTES;
        arena = arena < buffers->device->info.memory / 8 ? arena : buffers->device->info.memory / 8;
        uint64_t fit = arena / (row ? row : 1), rows = is_cpu ? CPU_MAX_ROWS : GPU_MAX_ROWS;
        buffers->max_rows = (uint32_t)(fit < 1 ? 1 : fit > rows ? rows : fit);
    }
    buffers->max_rows = (uint32_t)(buffers->max_rows < most ? buffers->max_rows : most);
    if (buffers->max_rows > buffers->max_positions) {
        buffers->max_rows = buffers->max_positions;
    }
    return STATUS_OK;
}

/* Gives each step that an attention reads as keys or values its place in the KV cache. *size: bytes of the cache. */
static enum status place_cache(struct buffers *buffers, VkDeviceSize *size, struct error *err)
{
    buffers->cached = xcalloc(buffers->plan->n_steps, sizeof(*buffers->cached));
    *size = 0;
    for (uint32_t i = 0; i < buffers->plan->n_steps; i++) {
        const struct step *step = &buffers->plan->steps[i];
        for (unsigned k = 1; step->op == OP_attention && k < OP_MAX_INPUTS; k++) {
            uint32_t source = (uint32_t)step->input[k];
            struct region *region = &buffers->cached[source];
            if (region->size) {
                continue; /* another layer reads the same step */
            }
            region->offset = *size;
            region->size = (VkDeviceSize)buffers->max_positions * buffers->plan->steps[source].width * sizeof(float);
            if (region->size > buffers->limits.max_binding) {
                return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                                 "a KV cache of %u positions needs %llu bytes a layer; %s binds %u at most",
                                 buffers->max_positions, (unsigned long long)region->size, buffers->device->info.name,
                                 buffers->limits.max_binding);
            }
            *size = align_up(*size + region->size + buffers->padding, buffers->alignment);
        }
    }
    return STATUS_OK;
}

/* Fills the cache with sentinels as well, so that an op that reads a cell before it was written yields NaN. */
static enum status create_cache(struct buffers *buffers, struct error *err)
{
    VkDeviceSize size;
    TRY(place_cache(buffers, &size, err));
    TRY(gpu_buffer_create(buffers->device, size ? size : buffers->alignment, MEMORY_DEVICE, &buffers->cache, err));
    return gpu_buffer_fill(buffers->device, &buffers->cache, buffers->padding ? PADDING_WORD : SENTINEL_WORD, err);
}

/* Bytes of the attention whose parts take the most. */
static VkDeviceSize most_parts_bytes(const struct buffers *buffers)
{
    VkDeviceSize most = buffers->alignment;
    for (uint32_t i = 0; i < buffers->plan->n_steps; i++) {
        const struct step *step = &buffers->plan->steps[i];
        if (step->op == OP_attention) {
            VkDeviceSize bytes = attention_parts_bytes(&step->params.attention, buffers->max_positions);
            most = bytes > most ? bytes : most;
        }
    }
    return align_up(most, 16);
}

static enum status allocate(struct buffers *buffers, struct error *err)
{
    buffers->tail = buffers->last_row_alone ? find_tail(buffers) : buffers->plan->n_steps;
    TRY(choose_max_rows(buffers, err));
    buffers->ring_stride = buffers_slots(buffers, 1, NULL);
    VkDeviceSize arena = buffers_slots(buffers, buffers->max_rows, NULL), ring = CAPTURE_RING * buffers->ring_stride;
    arena = arena > ring ? arena : ring;
    VkDeviceSize best =
        divide_up(buffers->plan->steps[buffers->plan->n_steps - 1].width, ARGMAX_CHUNK) * 2 * sizeof(uint32_t);
    VkDeviceSize batch = (2 + (VkDeviceSize)buffers->max_rows) * sizeof(uint32_t);
    TRY(gpu_buffer_create(buffers->device, batch, MEMORY_DEVICE, &buffers->batch, err));
    TRY(gpu_buffer_create(buffers->device, batch, MEMORY_UPLOAD, &buffers->next_batch, err));
    TRY(gpu_buffer_create(buffers->device, arena, MEMORY_ARENA, &buffers->arena, err));
    TRY(gpu_buffer_create(buffers->device, arena, MEMORY_READBACK, &buffers->readback, err));
    TRY(gpu_buffer_create(buffers->device, most_parts_bytes(buffers), MEMORY_DEVICE, &buffers->attention_parts, err));
    TRY(gpu_buffer_create(buffers->device, best, MEMORY_DEVICE, &buffers->best_logits, err));
    TRY(gpu_buffer_create(buffers->device, buffers->max_positions * sizeof(int32_t), MEMORY_READBACK,
                          &buffers->chosen_ids, err));
    TRY(create_cache(buffers, err));
    TRY(rope_tables_open(&buffers->rope_tables, buffers->device, buffers->plan, buffers->max_positions,
                         buffers->alignment, err));
    return weights_upload(&buffers->weights, buffers->device, buffers->plan, buffers_decode_as_gpu(buffers),
                          buffers->padding, err);
}

enum status buffers_open(struct buffers *buffers, struct error *err)
{
    const VkPhysicalDeviceLimits *device = &buffers->device->limits;
    buffers->alignment = device->minStorageBufferOffsetAlignment < 16 ? 16 : device->minStorageBufferOffsetAlignment;
    if (buffers->limits.max_binding == 0) {
        buffers->limits.max_binding = device->maxStorageBufferRange;
    }
    if (buffers->limits.max_groups == 0) {
        buffers->limits.max_groups = device->maxComputeWorkGroupCount[0];
    }
    enum status status = allocate(buffers, err);
    if (status != STATUS_OK) {
        buffers_close(buffers);
    }
    return status;
}

void buffers_close(struct buffers *buffers)
{
    weights_free(&buffers->weights, buffers->device);
    gpu_buffer_destroy(buffers->device, &buffers->batch);
    gpu_buffer_destroy(buffers->device, &buffers->next_batch);
    gpu_buffer_destroy(buffers->device, &buffers->arena);
    gpu_buffer_destroy(buffers->device, &buffers->readback);
    gpu_buffer_destroy(buffers->device, &buffers->cache);
    rope_tables_close(&buffers->rope_tables, buffers->device);
    gpu_buffer_destroy(buffers->device, &buffers->attention_parts);
    gpu_buffer_destroy(buffers->device, &buffers->best_logits);
    gpu_buffer_destroy(buffers->device, &buffers->chosen_ids);
    free(buffers->cached);
    buffers->cached = NULL;
}
