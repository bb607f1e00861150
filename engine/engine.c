#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine/device/device_list.h"
#include "engine/device/submit.h"
#include "engine/lowering/lower_argmax.h"
#include "engine/lowering/prefill.h"
#include "engine/program/embedded_shaders.h"
#include "engine/program/statistics.h"
#include "engine/recording/chain.h"
#include "engine/recording/readback.h"
#include "engine/recording/timing.h"
#include "engine/run/backend.h"
#include "engine/run/bandwidth.h"
#include "engine/run/batch.h"
#include "engine/run/kernel_survey.h"
#include "model/variants.h"

_Static_assert(ENGINE_TOKENS_A_SUBMIT == CHAIN_TOKENS, "engine.h and recording/chain.h state the same number");
_Static_assert(ENGINE_TOKENS_KEPT == CAPTURE_RING, "engine.h and placement/buffers.h state the same number");

enum status engine_devices(struct device_info **devices, uint32_t *n_devices, struct error *err)
{
    struct instance instance;
    struct device_list list;
    TRY(instance_open(&instance, false, err));
    enum status status = device_list_open(&list, instance.handle, err);
    if (status == STATUS_OK) {
        *devices = list.infos;
        *n_devices = list.n;
        list.infos = NULL; /* the caller's now */
        device_list_free(&list);
    }
    instance_close(&instance);
    return status;
}

enum status engine_open(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                        struct error *err)
{
    return backend_open(backend, plan, options, &(struct engine_limits){0}, err);
}

enum status engine_replan(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                          struct error *err)
{
    return backend_replan(backend, plan, options, err);
}

/* Drops all recorded commands, and records those of decoding again. Nothing may be running. */
static enum status record_anew(struct engine *engine, struct error *err)
{
    capture_ring_forget(&engine->ring);
    state_close_shapes(engine);
    TRY(state_use_shape(engine, 1, err));
    engine->shape = NULL;
    return STATUS_OK;
}

static enum status capture(struct engine *engine, const bool *steps, struct error *err)
{
    TRY(submit_wait_all(&engine->device, err));
    for (uint32_t i = 0; i < engine->buffers.plan->n_steps; i++) {
        engine->captured[i] = steps == NULL || steps[i];
    }
    return record_anew(engine, err);
}

enum status engine_capture(struct backend *backend, const bool *steps, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, capture(engine, steps, err), err);
}

static enum status reload(struct engine *engine, const char *shader_dir, struct error *err)
{
    TRY(submit_wait_all(&engine->device, err));
    TRY(programs_reload(&engine->programs, shader_dir, err));
    return record_anew(engine, err);
}

enum status engine_reload(struct backend *backend, const char *shader_dir, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, reload(engine, shader_dir, err), err);
}

uint32_t engine_many_rows(const struct backend *backend)
{
    return prefill_least_rows(&engine_of(backend)->buffers);
}

bool engine_can_choose(const struct backend *backend)
{
    return argmax_possible(&engine_of(backend)->buffers);
}

enum status engine_decode(struct backend *backend, const struct engine_decoding *decoding, struct error *err)
{
    return state_check(engine_of(backend), generate_chains(backend, decoding, err), err);
}

enum status engine_stream(struct backend *backend, const struct engine_decoding *decoding, engine_token_function *each,
                          void *context, struct error *err)
{
    return state_check(engine_of(backend), generate_stream(backend, decoding, each, context, err), err);
}

enum status engine_read_at(const struct backend *backend, uint32_t position, uint32_t step, float *row,
                           struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, batch_read_at(engine, position, step, row, err), err);
}

/* Adds what a step of one token reads. */
static void add_step_costs(const struct plan *plan, const struct step *step, struct engine_costs *costs)
{
    for (unsigned w = 0; w < OP_MAX_WEIGHTS; w++) {
        if (step->weight[w]) {
            costs->weight_bytes += step->op == OP_embed ? tensor_row_bytes(step->weight[w]) : step->weight[w]->n_bytes;
        }
    }
    for (unsigned k = 1; step->op == OP_attention && k < OP_MAX_INPUTS; k++) {
        costs->cache_bytes += plan->steps[step->input[k]].width * sizeof(float);
    }
}

void engine_costs(const struct backend *backend, struct engine_costs *costs)
{
    const struct engine *engine = engine_of(backend);
    const struct plan *plan = engine->buffers.plan;
    const struct shape *decode = state_decode_shape(engine);
    *costs = (struct engine_costs){.submits = engine->device.compute.submitted,
                                   .memory_bytes = engine->device.most_allocated};
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        add_step_costs(plan, &plan->steps[i], costs);
    }
    if (!decode) {
        return; /* the shape was closed to make room; the next decoded token opens it again */
    }
    costs->dispatches = decode->n_dispatches;
    costs->barriers = decode->n_barriers;
    costs->readback_bytes = readback_bytes(decode);
}

enum status engine_time_ops(struct backend *backend, double *ns, struct error *err)
{
    struct engine *engine = engine_of(backend);
    memset(ns, 0, engine->buffers.plan->n_steps * sizeof(*ns));
    TRY(state_require_batch(engine, err));
    return state_check(engine, timing_run_steps(engine->shape, ns, err), err);
}

enum status engine_time_repeat(struct backend *backend, const struct engine_repeat *repeat, double *ns,
                               struct error *err)
{
    struct engine *engine = engine_of(backend);
    ASSERT(repeat->first + (repeat->n_copies - 1) * repeat->stride + repeat->n_steps <= engine->buffers.plan->n_steps);
    TRY(state_require_batch(engine, err));
    return state_check(engine, timing_run_repeat(engine->shape, repeat, ns, err), err);
}

/* Appends the program of a dispatch to the list, if there is room. */
static enum status add_program(const struct device *device, const struct dispatch *dispatch,
                               struct engine_programs *list, struct error *err)
{
    if (list->n++ >= list->most) {
        return STATUS_OK;
    }
    struct engine_program *program = &list->programs[list->n - 1];
    *program = (struct engine_program){.shader = dispatch->program->key.shader,
                                       .lanes = dispatch->program->key.constants.local_size,
                                       .groups = dispatch->groups_x * dispatch->groups_y};
    return statistics_get(device, dispatch->program, program->statistics, &program->n_statistics, err);
}

static enum status list_programs(struct engine *engine, uint32_t first, uint32_t last, struct engine_programs *list,
                                 struct error *err)
{
    TRY(state_require_batch(engine, err));
    const struct schedule *schedule = &engine->shape->schedule;
    list->n = 0;
    for (uint32_t step = first; step < last;) {
        const struct entry *entry = schedule_next(schedule, step, last, true);
        for (uint32_t i = 0; i < entry->n_dispatches; i++) {
            TRY(add_program(&engine->device, &schedule->dispatches[entry->first_dispatch + i], list, err));
        }
        step += entry->n_steps;
    }
    return STATUS_OK;
}

enum status engine_list_programs(struct backend *backend, uint32_t first, uint32_t last, struct engine_programs *list,
                                 struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, list_programs(engine, first, last, list, err), err);
}

const char *engine_shader_source(uint32_t i, const char **file)
{
    *file = shader_texts[i].name;
    return shader_texts[i].text;
}

enum status engine_possible_kernels(const struct backend *backend, uint32_t n_rows, uint32_t *possible,
                                    struct error *err)
{
    const struct engine *engine = engine_of(backend);
    return kernel_survey_possible(&engine->buffers, n_rows, engine->captured, possible, err);
}

enum status engine_used_kernels(const struct backend *backend, uint32_t n_rows, const struct kernel_choices *choices,
                                uint32_t *used, struct error *err)
{
    const struct engine *engine = engine_of(backend);
    struct buffers buffers = engine->buffers;
    buffers.kernels = *choices;
    return kernel_survey_used(&buffers, n_rows, engine->captured, used, err);
}

static enum status choose_kernels(struct engine *engine, const struct kernel_choices *kernels, struct error *err)
{
    struct kernel_choices before = engine->buffers.kernels;
    TRY(submit_wait_all(&engine->device, err));
    engine->buffers.kernels = *kernels;
    enum status status = record_anew(engine, err);
    if (status != STATUS_OK) {
        struct error unused;
        engine->buffers.kernels = before;
        (void)record_anew(engine, &unused);
    }
    return status;
}

enum status engine_choose_kernels(struct backend *backend, const struct kernel_choices *kernels, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, choose_kernels(engine, kernels, err), err);
}

const struct kernel_choices *engine_chosen_kernels(const struct backend *backend)
{
    return &engine_of(backend)->buffers.kernels;
}

bool engine_kernel_of(const struct backend *backend, uint32_t n_rows, uint32_t step, bool by_itself,
                      struct engine_kernel *kernel)
{
    const struct engine *engine = engine_of(backend);
    const struct shape *shape = state_find_shape(engine, n_rows);
    if (shape == NULL) {
        return false;
    }
    const struct schedule *schedule = &shape->schedule;
    uint32_t at = 0, n_before = 0, n_steps = engine->buffers.plan->n_steps;
    const struct entry *entry = by_itself ? &schedule->single[0] : schedule_next(schedule, 0, n_steps, true);
    while (at + entry->n_steps <= step) {
        n_before += entry->n_dispatches;
        at += entry->n_steps;
        entry = by_itself ? &schedule->single[at] : schedule_next(schedule, at, n_steps, true);
    }
    uint32_t i = schedule_writer(schedule, entry, step);
    const struct dispatch *dispatch = &schedule->dispatches[i];
    const struct program_key *key = &dispatch->program->key;
    *kernel = (struct engine_kernel){
        .shader = key->shader,
        .variant = key->variant == VARIANT_NONE ? NULL : variant_info(key->variant)->name,
        .dispatch = n_before + i - entry->first_dispatch,
        .first_step = at,
        .n_steps = entry->n_steps,
        .lanes = key->constants.local_size,
        .groups = dispatch->groups_x * dispatch->groups_y,
    };
    return true;
}

enum status engine_read_bandwidth(struct backend *backend, double *bytes_per_second, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return state_check(engine, bandwidth_measure(&engine->device, &engine->programs, bytes_per_second, err), err);
}

const struct device_info *engine_device(const struct backend *backend)
{
    return &engine_of(backend)->device.info;
}
