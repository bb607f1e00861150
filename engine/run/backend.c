#include "engine/run/backend.h"

#include <stdlib.h>

#include "engine/device/submit.h"
#include "engine/run/batch.h"
#include "model/model.h"

#define DEFAULT_POSITIONS 1024
#define PADDING_BYTES 4096

static enum status engine_begin(struct backend *backend, const struct batch *batch, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, batch_begin(engine, batch, err), err);
}

static enum status engine_run(struct backend *backend, uint32_t first, uint32_t last, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, batch_run(engine, first, last, err), err);
}

static enum status engine_read(struct backend *backend, uint32_t step, float *rows, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, batch_read(engine, step, rows, err), err);
}

static enum status engine_write(struct backend *backend, uint32_t step, const float *rows, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, batch_write(engine, step, rows, err), err);
}

/* Frees what belongs to the plan. Nothing may be running. */
static void forget_plan(struct engine *engine)
{
    capture_ring_forget(&engine->ring);
    state_close_shapes(engine);
    buffers_close(&engine->buffers);
    free(engine->filled);
    free(engine->captured);
    engine->filled = NULL;
    engine->captured = NULL;
    engine->buffers = (struct buffers){.device = &engine->device};
}

static void free_engine(struct engine *engine)
{
    if (engine->device.handle) {
        forget_plan(engine);
        programs_close(&engine->programs);
        device_close(&engine->device);
    }
    free(engine);
}

static void engine_close(struct backend *backend)
{
    struct engine *engine = engine_of(backend);
    if (engine) {
        /* After a timeout, work may still run on what is freed now. The result does not matter. */
        (void)vkDeviceWaitIdle(engine->device.handle);
        free_engine(engine);
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

/* Creates what belongs to a plan: weights, slots, KV cache, and the shape of decoding. */
static enum status prepare_plan(struct engine *engine, const struct plan *plan, const struct engine_options *options,
                                const struct engine_limits *limits, struct error *err)
{
    engine->filled = xcalloc(plan->n_steps, sizeof(*engine->filled));
    engine->captured = xcalloc(plan->n_steps, sizeof(*engine->captured));
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        engine->captured[i] = !options->no_capture || i + 1 == plan->n_steps;
    }
    engine->buffers = (struct buffers){
        .device = &engine->device,
        .plan = plan,
        .limits = *limits,
        .kernels = options->kernels,
        .max_rows = options->max_rows,
        .max_positions = choose_positions(plan, options),
        .padding = options->pad_buffers ? PADDING_BYTES : 0,
        .last_row_alone = options->no_capture,
    };
    TRY(buffers_open(&engine->buffers, err));
    /* Every run needs the shape of decoding. Building it now reports problems early. */
    TRY(state_use_shape(engine, 1, err));
    engine->shape = NULL;
    return device_check_validation(&engine->device, err);
}

static enum status prepare(struct engine *engine, const struct plan *plan, const struct engine_options *options,
                           const struct engine_limits *limits, struct error *err)
{
    engine->device.statistics = options->statistics;
    TRY(device_open(&engine->device, options->device, options->validation, err));
    if (limits->timeout_ns) {
        engine->device.timeout_ns = limits->timeout_ns;
    }
    programs_open(&engine->programs, &engine->device, options->shader_dir);
    return prepare_plan(engine, plan, options, limits, err);
}

static struct backend backend_of(struct engine *engine)
{
    const struct buffers *buffers = &engine->buffers;
    return (struct backend){
        .ops = &engine_ops,
        .name = "engine",
        .plan = buffers->plan,
        .max_rows = buffers->max_rows,
        .max_positions = buffers->max_positions,
        .last_row_alone = buffers->tail < buffers->plan->n_steps,
        .state = engine,
    };
}

enum status backend_open(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                         const struct engine_limits *limits, struct error *err)
{
    *backend = (struct backend){0};
    ASSERT(plan->n_steps > 0);
    struct engine *engine = xcalloc(1, sizeof(*engine));
    enum status status = prepare(engine, plan, options, limits, err);
    if (status != STATUS_OK) {
        free_engine(engine);
        return status;
    }
    *backend = backend_of(engine);
    return STATUS_OK;
}

enum status backend_replan(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                           struct error *err)
{
    struct engine *engine = engine_of(backend);
    struct engine_limits limits = engine->buffers.limits;
    enum status status = submit_wait_all(&engine->device, err);
    if (status == STATUS_OK) {
        forget_plan(engine);
        status = prepare_plan(engine, plan, options, &limits, err);
    }
    if (status == STATUS_OK) {
        *backend = backend_of(engine);
    } else {
        engine_close(backend);
    }
    return status;
}
