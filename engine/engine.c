/* The engine as a backend: batches, ranges of steps, and what is read and written between them. */
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "engine/run/state.h"
#include "model/model.h"

#define DEFAULT_POSITIONS 1024
#define PADDING_BYTES 4096

/* Whatever the validation layers said during a call is that call's failure. */
enum status engine_checked(struct engine *engine, enum status status, struct error *err)
{
    return status == STATUS_OK ? device_check(&engine->device, err) : status;
}

/* The shape for n_rows, made if there is none; the one that was not used for longest makes room. */
static enum status find_shape(struct engine *engine, uint32_t n_rows, struct error *err)
{
    struct shape *oldest = &engine->shapes[0];
    for (uint32_t i = 0; i < MAX_SHAPES; i++) {
        struct shape *shape = &engine->shapes[i];
        if (shape->schedule.n_rows == n_rows) {
            engine->shape = shape;
            return STATUS_OK;
        }
        if (shape->last_used < oldest->last_used) {
            oldest = shape;
        }
    }
    TRY(device_idle(&engine->device, err));
    shape_close(oldest, &engine->store);
    TRY(shape_open(oldest, &engine->store, &engine->programs, n_rows, engine->captured, err));
    engine->shape = oldest;
    return STATUS_OK;
}

static enum status check_batch(const struct engine *engine, const struct batch *batch, struct error *err)
{
    const struct store *store = &engine->store;
    uint64_t end = (uint64_t)batch->first_position + batch->n_rows;
    if (batch->n_rows == 0 || batch->n_rows > store->max_rows) {
        return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "a batch has %u rows, 1 to %u are possible", batch->n_rows, store->max_rows);
    }
    if (end > store->max_positions) {
        return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "position %llu does not fit into a KV cache of %u positions", (unsigned long long)end - 1,
                         store->max_positions);
    }
    for (uint32_t i = 0; i < store->plan->n_steps; i++) {
        const struct step *step = &store->plan->steps[i];
        char label[64];
        if (store->cached[i].size && engine->filled[i] < batch->first_position) {
            return error_set(err, STATUS_BAD_INPUT, "engine", step_label(step, label), ERROR_NO_OFFSET,
                             "a batch starts at position %u, but keys or values are there for %u positions alone",
                             batch->first_position, engine->filled[i]);
        }
        for (uint32_t row = 0; step->op == OP_embed && row < batch->n_rows; row++) {
            if (batch->tokens[row] < 0 || (uint32_t)batch->tokens[row] >= step->params.embed.vocab) {
                return error_set(err, STATUS_BAD_INPUT, "engine", "tokens", ERROR_NO_OFFSET,
                                 "token %d, expected 0 to %u", batch->tokens[row], step->params.embed.vocab - 1);
            }
        }
    }
    return STATUS_OK;
}

/* A decoded token lies in the place after the last one's, so that those before it stay for a while; a larger batch lies
 * across all of them. */
static void choose_place(struct engine *engine, uint32_t n_rows)
{
    engine->place = n_rows == 1 ? (engine->place + 1) % CAPTURE_RING : 0;
    for (uint32_t i = 0; i < CAPTURE_RING; i++) {
        engine->kept[i].whole = engine->kept[i].whole && n_rows == 1 && i != engine->place;
    }
}

/* Steps [first, last) now have their keys and values up to the batch's end. */
static void mark_filled(struct engine *engine, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i < last; i++) {
        engine->filled[i] = engine->batch.first_position + engine->batch.n_rows;
    }
}

enum status engine_begin_batch(struct engine *engine, const struct batch *batch, struct error *err)
{
    TRY(check_batch(engine, batch, err));
    TRY(device_settle(&engine->device, err));
    engine->shape = NULL;
    TRY(find_shape(engine, batch->n_rows, err));
    engine->shape->last_used = ++engine->clock;
    choose_place(engine, batch->n_rows);
    engine->batch = *batch;
    engine->batch.tokens = NULL;
    engine->reset = false;
    for (uint32_t i = 0; i < engine->store.plan->n_steps; i++) {
        engine->filled[i] = batch->first_position; /* what lies beyond is forgotten */
    }
    uint32_t *words = engine->store.next.mapped;
    words[0] = batch->first_position;
    words[1] = batch->decode;
    memcpy(words + 2, batch->tokens, batch->n_rows * sizeof(int32_t));
    return STATUS_OK;
}

void engine_mark_filled(struct engine *engine, uint32_t end)
{
    for (uint32_t i = 0; i < engine->store.plan->n_steps; i++) {
        engine->filled[i] = end;
    }
}

static enum status engine_begin(struct backend *backend, const struct batch *batch, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, engine_begin_batch(engine, batch, err), err);
}

/* A batch was begun, and an interrupted run is not still at work on it. */
enum status engine_require_batch(struct engine *engine, struct error *err)
{
    TRY(device_settle(&engine->device, err));
    return engine->shape
               ? STATUS_OK
               : error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET, "no batch was begun on the engine");
}

/* Before the first part of a batch is run, written or read alone, all slots must hold sentinels. */
enum status engine_reset_once(struct engine *engine, struct error *err)
{
    if (engine->reset) {
        return STATUS_OK;
    }
    TRY(shape_reset(engine->shape, &engine->store, engine->place, err));
    engine->reset = true;
    return STATUS_OK;
}

static enum status run_part(struct engine *engine, uint32_t first, uint32_t last, struct error *err)
{
    engine->kept[engine->place].whole = false;
    TRY(engine_reset_once(engine, err));
    return shape_run_part(engine->shape, &engine->store, engine->place, first, last, err);
}

/* Fills the slots itself. A batch that lies across the places waits for the copies from all of them. */
static enum status run_whole(struct engine *engine, struct error *err)
{
    struct kept *kept = &engine->kept[engine->place];
    uint64_t *copies = &engine->device.copies.submitted;
    bool one = engine->batch.n_rows == 1;
    enum status status =
        shape_run_whole(engine->shape, &engine->store, engine->place, one ? kept->copied : *copies, err);
    for (uint32_t i = 0; i < CAPTURE_RING; i++) {
        engine->kept[i].copied = one && i != engine->place ? engine->kept[i].copied : *copies;
    }
    kept->copied_last = 0;
    kept->whole = one && status == STATUS_OK;
    kept->position = engine->batch.first_position;
    return status;
}

static enum status run(struct engine *engine, uint32_t first, uint32_t last, struct error *err)
{
    uint32_t n_steps = engine->store.plan->n_steps;
    ASSERT(first <= last && last <= n_steps);
    TRY(engine_require_batch(engine, err));
    bool whole = first == 0 && last == n_steps;
    TRY(whole ? run_whole(engine, err) : run_part(engine, first, last, err));
    engine->reset = true;
    mark_filled(engine, first, last);
    return STATUS_OK;
}

static enum status engine_run(struct backend *backend, uint32_t first, uint32_t last, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, run(engine, first, last, err), err);
}

static enum status write(struct engine *engine, uint32_t step, const float *rows, struct error *err)
{
    const struct store *store = &engine->store;
    ASSERT(step < store->plan->n_steps);
    TRY(engine_require_batch(engine, err));
    TRY(engine_reset_once(engine, err));
    TRY(device_wait(&engine->device, &engine->device.copies, engine->kept[engine->place].copied, err));
    const struct region *slot = &engine->shape->schedule.slots[step], *cached = &store->cached[step];
    VkDeviceSize start = engine->place * store->ring_stride;
    VkDeviceSize position = (VkDeviceSize)engine->batch.first_position * store->plan->steps[step].width * sizeof(float);
    struct upload uploads[2] = {
        {.to = &store->arena, .offset = start + slot->offset, .bytes = rows, .n_bytes = slot->size},
        {.to = &store->cache, .offset = cached->offset + position, .bytes = rows, .n_bytes = slot->size},
    };
    TRY(memory_upload(&engine->device, uploads, cached->size ? 2 : 1, err));
    memcpy((uint8_t *)store->readback.mapped + start + slot->offset, rows, slot->size);
    mark_filled(engine, step, step + 1);
    return STATUS_OK;
}

static enum status engine_write(struct backend *backend, uint32_t step, const float *rows, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, write(engine, step, rows, err), err);
}

/* Frees what prepare_plan made. Nothing may be running. */
static void engine_forget_plan(struct engine *engine)
{
    engine_forget_kept(engine);
    for (uint32_t i = 0; i < MAX_SHAPES; i++) {
        shape_close(&engine->shapes[i], &engine->store);
    }
    store_close(&engine->store);
    free(engine->filled);
    free(engine->captured);
    engine->filled = NULL;
    engine->captured = NULL;
    engine->shape = NULL;
    engine->store = (struct store){.device = &engine->device};
}

static void engine_free(struct engine *engine)
{
    if (engine->device.handle) {
        engine_forget_plan(engine);
        programs_close(&engine->programs);
        device_close(&engine->device);
    }
    free(engine);
}

static void engine_close(struct backend *backend)
{
    struct engine *engine = engine_of(backend);
    if (engine) {
        /* After a timeout something may still run on what is freed now; its result is of no use. */
        (void)vkDeviceWaitIdle(engine->device.handle);
        engine_free(engine);
    }
    *backend = (struct backend){0};
}

static const struct backend_ops engine_ops = {
    .begin = engine_begin,
    .run = engine_run,
    .read = engine_read,
    .write = engine_write,
    .close = engine_close,
};

static uint32_t choose_positions(const struct plan *plan, const struct engine_options *options)
{
    if (options->max_positions) {
        return options->max_positions;
    }
    uint32_t most = plan->model ? plan->model->config.max_positions : 0;
    return most && most < DEFAULT_POSITIONS ? most : DEFAULT_POSITIONS;
}

/* All that belongs to a plan: weights, slots, cache, the schedule of decoding. */
static enum status prepare_plan(struct engine *engine, const struct plan *plan, const struct engine_options *options,
                                const struct engine_limits *limits, struct error *err)
{
    engine->filled = xcalloc(plan->n_steps, sizeof(*engine->filled));
    engine->captured = xcalloc(plan->n_steps, sizeof(*engine->captured));
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        engine->captured[i] = !options->no_capture || i + 1 == plan->n_steps;
    }
    engine->store.device = &engine->device;
    engine->store.plan = plan;
    engine->store.limits = *limits;
    engine->store.max_rows = options->max_rows;
    engine->store.max_positions = choose_positions(plan, options);
    engine->store.padding = options->pad_buffers ? PADDING_BYTES : 0;
    engine->store.last_row_alone = options->no_capture;
    TRY(store_open(&engine->store, err));
    /* The shape of decoding is always needed, and tells now what would not work later. */
    TRY(find_shape(engine, 1, err));
    engine->shape = NULL;
    return device_check(&engine->device, err);
}

static enum status prepare(struct engine *engine, const struct plan *plan, const struct engine_options *options,
                           const struct engine_limits *limits, struct error *err)
{
    engine->device.statistics = options->statistics;
    TRY(device_open(&engine->device, options->device, options->validation, err));
    if (limits->timeout_ns) {
        engine->device.timeout_ns = limits->timeout_ns;
    }
    TRY(programs_open(&engine->programs, &engine->device, options->shader_dir, err));
    return prepare_plan(engine, plan, options, limits, err);
}

uint32_t engine_many_rows(const struct backend *backend)
{
    return prefill_least_rows(&engine_of(backend)->store);
}

static struct backend backend_of(struct engine *engine, const struct plan *plan)
{
    return (struct backend){
        .ops = &engine_ops,
        .name = "engine",
        .plan = plan,
        .max_rows = engine->store.max_rows,
        .max_positions = engine->store.max_positions,
        .last_row_alone = engine->store.tail < plan->n_steps,
        .state = engine,
    };
}

enum status engine_open_limited(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                                const struct engine_limits *limits, struct error *err)
{
    *backend = (struct backend){0};
    ASSERT(plan->n_steps > 0);
    struct engine *engine = xcalloc(1, sizeof(*engine));
    enum status status = prepare(engine, plan, options, limits, err);
    if (status != STATUS_OK) {
        engine_free(engine);
        return status;
    }
    *backend = backend_of(engine, plan);
    return STATUS_OK;
}

enum status engine_replan(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                          struct error *err)
{
    struct engine *engine = engine_of(backend);
    struct engine_limits limits = engine->store.limits;
    enum status status = device_idle(&engine->device, err);
    if (status == STATUS_OK) {
        engine_forget_plan(engine);
        status = prepare_plan(engine, plan, options, &limits, err);
    }
    if (status == STATUS_OK) {
        *backend = backend_of(engine, plan);
    } else {
        engine_close(backend);
    }
    return status;
}

enum status engine_open(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                        struct error *err)
{
    struct engine_limits limits = {0};
    return engine_open_limited(backend, plan, options, &limits, err);
}

static enum status capture(struct engine *engine, const bool *steps, struct error *err)
{
    TRY(device_idle(&engine->device, err));
    engine->shape = NULL;
    engine_forget_kept(engine);
    for (uint32_t i = 0; i < MAX_SHAPES; i++) {
        shape_close(&engine->shapes[i], &engine->store);
    }
    for (uint32_t i = 0; i < engine->store.plan->n_steps; i++) {
        engine->captured[i] = steps == NULL || steps[i];
    }
    TRY(find_shape(engine, 1, err));
    engine->shape = NULL;
    return STATUS_OK;
}

enum status engine_capture(struct backend *backend, const bool *steps, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, capture(engine, steps, err), err);
}

const struct device_info *engine_device(const struct backend *backend)
{
    return &engine_of(backend)->device.info;
}

const struct shape *engine_shape(const struct backend *backend)
{
    return engine_of(backend)->shape;
}

void engine_costs(const struct backend *backend, struct engine_costs *costs)
{
    const struct engine *engine = engine_of(backend);
    const struct plan *plan = engine->store.plan;
    const struct shape *decode = engine_decode_shape(engine);
    *costs = (struct engine_costs){.submits = engine->device.compute.submitted,
                                   .memory_bytes = engine->device.most_allocated};
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &plan->steps[i];
        for (unsigned w = 0; w < OP_MAX_WEIGHTS; w++) {
            if (step->weight[w]) {
                costs->weight_bytes +=
                    step->op == OP_embed ? tensor_row_bytes(step->weight[w]) : step->weight[w]->n_bytes;
            }
        }
        for (unsigned k = 1; step->op == OP_attention && k < OP_MAX_INPUTS; k++) {
            costs->cache_bytes += plan->steps[step->input[k]].width * sizeof(float);
        }
    }
    if (!decode) {
        return; /* it made room for others; it comes back with the next token */
    }
    costs->dispatches = decode->n_dispatches;
    costs->barriers = decode->n_barriers;
    costs->readback_bytes = shape_readback_bytes(decode, &engine->store);
}

enum status engine_time_ops(struct backend *backend, double *ns, struct error *err)
{
    struct engine *engine = engine_of(backend);
    memset(ns, 0, engine->store.plan->n_steps * sizeof(*ns));
    TRY(engine_require_batch(engine, err));
    return engine_checked(engine, shape_time(engine->shape, &engine->store, ns, err), err);
}

enum status engine_time_repeat(struct backend *backend, const struct engine_repeat *repeat, double *ns,
                               struct error *err)
{
    struct engine *engine = engine_of(backend);
    ASSERT(repeat->first + (repeat->n_copies - 1) * repeat->stride + repeat->n_steps <= engine->store.plan->n_steps);
    TRY(engine_require_batch(engine, err));
    return engine_checked(engine, shape_repeat(engine->shape, &engine->store, repeat, ns, err), err);
}

static enum status list_programs(struct engine *engine, uint32_t first, uint32_t last, struct engine_program *programs,
                                 uint32_t most, uint32_t *n, struct error *err)
{
    TRY(engine_require_batch(engine, err));
    const struct schedule *schedule = &engine->shape->schedule;
    *n = 0;
    for (uint32_t step = first; step < last;) {
        const struct entry *entry = schedule_next(schedule, step, last, true);
        for (uint32_t i = 0; i < entry->n_dispatches; i++, ++*n) {
            const struct dispatch *dispatch = &schedule->dispatches[entry->first_dispatch + i];
            if (*n >= most) {
                continue;
            }
            programs[*n] = (struct engine_program){.shader = dispatch->program->key.shader,
                                                   .lanes = dispatch->program->key.constants.local_size,
                                                   .groups = dispatch->groups_x * dispatch->groups_y};
            TRY(program_statistics(&engine->device, dispatch->program, programs[*n].statistics,
                                   &programs[*n].n_statistics, err));
        }
        step += entry->n_steps;
    }
    return STATUS_OK;
}

enum status engine_programs(struct backend *backend, uint32_t first, uint32_t last, struct engine_program *programs,
                            uint32_t most, uint32_t *n, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, list_programs(engine, first, last, programs, most, n, err), err);
}

enum status engine_read_bandwidth(struct backend *backend, double *bytes_per_second, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, bandwidth_measure(&engine->device, &engine->programs, bytes_per_second, err), err);
}

struct device *engine_vulkan(const struct backend *backend)
{
    return &engine_of(backend)->device;
}
