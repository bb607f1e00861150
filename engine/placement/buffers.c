#include "engine/placement/buffers.h"

#include <stdlib.h>

/* Prefill batches as large as this arena allows, up to so many rows: more only help as long as weights are what is
 * read, or tiles are not yet full. */
#define CPU_ARENA_BYTES (128ull << 20)
#define CPU_MAX_ROWS 64
#define GPU_ARENA_BYTES (4ull << 30)
#define GPU_MAX_ROWS 512

uint32_t store_find_tail(const struct store *store)
{
    uint32_t n_steps = store->plan->n_steps, tail = n_steps;
    while (tail > 1) {
        const struct step *step = &store->plan->steps[tail - 1];
        bool by_rows = step->op == OP_softcap || step->op == OP_matmul || step->op == OP_rms_norm;
        if (step->layer != LAYER_NONE || !by_rows || step->input[0] != (int32_t)tail - 2) {
            break;
        }
        tail--;
    }
    /* Its input's last row must begin where a binding can. */
    bool fits = tail < n_steps && store->plan->steps[tail - 1].width * sizeof(float) % store->alignment == 0;
    return fits ? tail : n_steps;
}

/* Keys of a part of one row's attention: a multiple of the tile of attention_part.comp; and parts, where that makes
 * too many. */
#define PART_KEYS 32
#define PARTS_MOST 32

VkDeviceSize store_slots(const struct store *store, uint32_t n_rows, struct region *slots)
{
    VkDeviceSize at = 0;
    for (uint32_t i = 0; i < store->plan->n_steps; i++) {
        uint32_t rows = store_step_rows(store, i, n_rows);
        struct region slot = {.offset = at, .size = (VkDeviceSize)rows * store->plan->steps[i].width * sizeof(float)};
        if (slots) {
            slots[i] = slot;
        }
        at = align_up(at + slot.size + store->padding, store->alignment);
    }
    for (uint32_t i = 0; slots && i < store->plan->n_steps; i++) {
        const struct step *step = &store->plan->steps[i];
        if (step->tamper.how == TAMPER_SHARED_SLOT) {
            slots[i].offset = slots[step->tamper.with].offset; /* and its end may lie in the slot behind */
        }
    }
    return at;
}

/* Every output row must be bindable, and countable in 32 bits (lanes are numbered through all rows). */
static enum status choose_max_rows(struct store *store, struct error *err)
{
    uint64_t widest = 1;
    for (uint32_t i = 0; i < store->plan->n_steps; i++) {
        widest = store->plan->steps[i].width > widest ? store->plan->steps[i].width : widest;
    }
    uint64_t most = store->limits.max_binding / sizeof(float) / widest;
    if (most == 0) {
        return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "a row of %llu values is longer than what %s binds (%u bytes)", (unsigned long long)widest,
                         store->device->info.name, store->limits.max_binding);
    }
    if (store->max_rows == 0) {
        bool is_cpu = store->device->info.is_cpu;
        VkDeviceSize row = store_slots(store, 2, NULL) - store_slots(store, 1, NULL);
        VkDeviceSize arena = is_cpu ? CPU_ARENA_BYTES : GPU_ARENA_BYTES;
        arena = arena < store->device->info.memory / 8 ? arena : store->device->info.memory / 8;
        uint64_t fit = arena / (row ? row : 1), rows = is_cpu ? CPU_MAX_ROWS : GPU_MAX_ROWS;
        store->max_rows = (uint32_t)(fit < 1 ? 1 : fit > rows ? rows : fit);
    }
    store->max_rows = (uint32_t)(store->max_rows < most ? store->max_rows : most);
    if (store->max_rows > store->max_positions) {
        store->max_rows = store->max_positions;
    }
    return STATUS_OK;
}

/* Gives each step whose rows an attention reads its place in the KV cache. Returns the bytes, through *size. */
static enum status place_cache(struct store *store, VkDeviceSize *size, struct error *err)
{
    store->cached = xcalloc(store->plan->n_steps, sizeof(*store->cached));
    *size = 0;
    for (uint32_t i = 0; i < store->plan->n_steps; i++) {
        const struct step *step = &store->plan->steps[i];
        for (unsigned k = 1; step->op == OP_attention && k < OP_MAX_INPUTS; k++) {
            uint32_t source = (uint32_t)step->input[k];
            struct region *region = &store->cached[source];
            if (region->size) {
                continue; /* another layer shares it */
            }
            region->offset = *size;
            region->size = (VkDeviceSize)store->max_positions * store->plan->steps[source].width * sizeof(float);
            if (region->size > store->limits.max_binding) {
                return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                                 "a KV cache of %u positions needs %llu bytes a layer; %s binds %u at most",
                                 store->max_positions, (unsigned long long)region->size, store->device->info.name,
                                 store->limits.max_binding);
            }
            *size = align_up(*size + region->size + store->padding, store->alignment);
        }
    }
    return STATUS_OK;
}

/* Never-written cells of the cache are NaN as well: a step that reads one shows it. */
static enum status create_cache(struct store *store, struct error *err)
{
    VkDeviceSize size;
    TRY(place_cache(store, &size, err));
    TRY(gpu_buffer_create(store->device, size ? size : store->alignment, MEMORY_DEVICE, &store->cache, err));
    return gpu_buffer_fill(store->device, &store->cache, store->padding ? PADDING_WORD : SENTINEL_WORD, err);
}

/* Parts of the attention that has most of them; see shaders/join.glsl. */
static VkDeviceSize parts_bytes(const struct store *store)
{
    VkDeviceSize most = store->alignment;
    for (uint32_t i = 0; i < store->plan->n_steps; i++) {
        const struct step *step = &store->plan->steps[i];
        const struct attention_params *op = &step->params.attention;
        if (step->op != OP_attention) {
            continue;
        }
        struct attention_parts parts = store_attention_parts(store, op);
        VkDeviceSize n = (VkDeviceSize)op->heads * parts.n, bytes = (2 * n + 4 + n * op->dim) * sizeof(float);
        most = bytes > most ? bytes : most;
    }
    return align_up(most, 16);
}

struct attention_parts store_attention_parts(const struct store *store, const struct attention_params *op)
{
    uint64_t keys = op->window && op->window < store->max_positions ? op->window : store->max_positions;
    uint64_t each = (keys + PARTS_MOST - 1) / PARTS_MOST;
    each = (each + PART_KEYS - 1) / PART_KEYS * PART_KEYS;
    return (struct attention_parts){(uint32_t)((keys + each - 1) / each), (uint32_t)each};
}

static enum status allocate(struct store *store, struct error *err)
{
    store->tail = store->last_row_alone ? store_find_tail(store) : store->plan->n_steps;
    TRY(choose_max_rows(store, err));
    store->ring_stride = store_slots(store, 1, NULL);
    VkDeviceSize arena = store_slots(store, store->max_rows, NULL), ring = CAPTURE_RING * store->ring_stride;
    arena = arena > ring ? arena : ring;
    VkDeviceSize batch = (2 + (VkDeviceSize)store->max_rows) * sizeof(uint32_t);
    TRY(gpu_buffer_create(store->device, batch, MEMORY_DEVICE, &store->batch, err));
    TRY(gpu_buffer_create(store->device, batch, MEMORY_UPLOAD, &store->next, err));
    TRY(gpu_buffer_create(store->device, arena, MEMORY_ARENA, &store->arena, err));
    TRY(gpu_buffer_create(store->device, arena, MEMORY_READBACK, &store->readback, err));
    TRY(gpu_buffer_create(store->device, parts_bytes(store), MEMORY_DEVICE, &store->parts, err));
    TRY(gpu_buffer_create(store->device, chain_best_bytes(store->plan), MEMORY_DEVICE, &store->best, err));
    TRY(gpu_buffer_create(store->device, store->max_positions * sizeof(int32_t), MEMORY_READBACK, &store->chosen, err));
    TRY(create_cache(store, err));
    TRY(tables_upload(store, err));
    return weights_upload(&store->weights, store->device, store->plan, store_decodes_as_gpu(store), store->padding,
                          err);
}

enum status store_open(struct store *store, struct error *err)
{
    const VkPhysicalDeviceLimits *device = &store->device->limits;
    store->alignment = device->minStorageBufferOffsetAlignment < 16 ? 16 : device->minStorageBufferOffsetAlignment;
    if (store->limits.max_binding == 0) {
        store->limits.max_binding = device->maxStorageBufferRange;
    }
    if (store->limits.max_groups == 0) {
        store->limits.max_groups = device->maxComputeWorkGroupCount[0];
    }
    enum status status = allocate(store, err);
    if (status != STATUS_OK) {
        store_close(store);
    }
    return status;
}

void store_close(struct store *store)
{
    weights_free(&store->weights, store->device);
    gpu_buffer_destroy(store->device, &store->batch);
    gpu_buffer_destroy(store->device, &store->next);
    gpu_buffer_destroy(store->device, &store->arena);
    gpu_buffer_destroy(store->device, &store->readback);
    gpu_buffer_destroy(store->device, &store->cache);
    gpu_buffer_destroy(store->device, &store->tables);
    gpu_buffer_destroy(store->device, &store->parts);
    gpu_buffer_destroy(store->device, &store->best);
    gpu_buffer_destroy(store->device, &store->chosen);
    free(store->cached);
    free(store->table);
    store->cached = NULL;
    store->table = NULL;
}
