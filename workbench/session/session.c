/* Opens a session and its engines. session_record.c records, session_generate.c generates. */
#include "workbench/session/session_internal.h"

#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/reference.h"
#include "workbench/fault/expanded_weights.h"
#include "workbench/session/interrupt.h"
#include "workbench/session/progress.h"
#include "workbench/text/suggest.h"

/* Plants the faults in a plan of the engine. Sets *pad if one of them needs padded buffers. */
static enum status plant_faults(struct plan *plan, const struct session_options *options, bool *pad, struct error *err)
{
    for (uint32_t i = 0; i < options->n_faults; i++) {
        struct fault_request request;
        TRY(fault_parse(&request, options->faults[i], err));
        int32_t step;
        TRY(fault_plant(&request, plan, &step, err));
        *pad = *pad || request.fault->pads_buffers;
    }
    return STATUS_OK;
}

/* Plants the faults in `plan`, a copy of the right one, and opens an engine on it. A *backend that is open already is
 * given the plan instead. */
static enum status open_engine(struct plan *plan, const struct session_options *options, struct backend *backend,
                               struct error *err)
{
    bool pad = false;
    uint32_t weights;
    TRY(plant_faults(plan, options, &pad, err));
    TRY(parse_weights(options->weights, &weights, err));
    if (weights != DTYPE_COUNT) {
        plan_decode_weights(plan, weights);
        TRY(stop_check(err));
    }
    struct engine_options engine = {.device = options->device,
                                    .max_positions = options->max_positions,
                                    .no_capture = options->no_capture,
                                    .pad_buffers = pad,
                                    .shader_dir = options->shader_dir,
                                    .kernels = options->kernels};
    return backend->ops != NULL ? engine_replan(backend, plan, &engine, err) : engine_open(backend, plan, &engine, err);
}

enum status session_take_engine(struct session *session, struct session *from, const struct session_options *options,
                                struct error *err)
{
    struct backend engine = from->backend[SOURCE_ENGINE];
    ASSERT(from->on[SOURCE_ENGINE] && (session == from || !session->on[SOURCE_ENGINE]));
    from->on[SOURCE_ENGINE] = false;
    from->backend[SOURCE_ENGINE] = (struct backend){0};
    struct plan old = session->engine_plan; /* the engine runs it until open_engine gives it the new plan */
    plan_copy(&session->engine_plan, &session->plan);
    enum status status = open_engine(&session->engine_plan, options, &engine, err);
    if (status != STATUS_OK && engine.ops != NULL) {
        engine.ops->close(&engine);
    }
    plan_free(&old);
    session->backend[SOURCE_ENGINE] = engine;
    session->on[SOURCE_ENGINE] = status == STATUS_OK;
    return status;
}

enum status session_new_engine(const struct session *session, const struct session_options *options,
                               struct new_engine *engine, struct error *err)
{
    *engine = (struct new_engine){.plan = xcalloc(1, sizeof(*engine->plan))};
    plan_copy(engine->plan, &session->plan);
    enum status status = open_engine(engine->plan, options, &engine->backend, err);
    if (status != STATUS_OK) {
        session_drop_engine(engine);
    }
    return status;
}

void session_drop_engine(struct new_engine *engine)
{
    if (engine->backend.ops != NULL) {
        engine->backend.ops->close(&engine->backend);
    }
    if (engine->plan != NULL) {
        plan_free(engine->plan);
        free(engine->plan);
    }
    *engine = (struct new_engine){0};
}

void session_replace_engine(struct session *session, struct new_engine *engine)
{
    struct new_engine old = {session->later_plan, session->backend[SOURCE_ENGINE]};
    session->backend[SOURCE_ENGINE] = engine->backend;
    session->later_plan = engine->plan;
    *engine = (struct new_engine){0};
    session_drop_engine(&old);
}

uint32_t session_weights_dtype(const struct session *session)
{
    return session->weights != NULL && strcmp(session->weights, "f16") == 0 ? DTYPE_F16 : DTYPE_F32;
}

enum status parse_on(const char *on, bool *engine, bool *reference, struct error *err)
{
    if (on == NULL) {
        return STATUS_OK;
    }
    bool both = strcmp(on, "engine,reference") == 0 || strcmp(on, "reference,engine") == 0;
    *engine = both || strcmp(on, "engine") == 0;
    *reference = both || strcmp(on, "reference") == 0;
    if (*engine || *reference) {
        return STATUS_OK;
    }
    struct suggestion suggestion = {.word = on};
    char text[SUGGEST_SIZE];
    suggest_offer(&suggestion, source_name(SOURCE_ENGINE));
    suggest_offer(&suggestion, source_name(SOURCE_REFERENCE));
    return error_set(err, STATUS_USAGE, NULL, "--on", ERROR_NO_OFFSET,
                     "\"%s\", expected engine, reference or engine,reference%s", on, suggest_text(&suggestion, text));
}

static enum status open_backends(struct session *session, const struct session_options *options, struct error *err)
{
    if (options->weights != NULL && !options->engine) {
        return error_set(err, STATUS_USAGE, NULL, "--weights", ERROR_NO_OFFSET,
                         "given without the engine, expected it to run: the reference decodes as it reads");
    }
    if (options->engine) {
        TRY(open_engine(&session->engine_plan, options, &session->backend[SOURCE_ENGINE], err));
        session->on[SOURCE_ENGINE] = true;
    }
    if (options->reference) {
        TRY(reference_open(&session->backend[SOURCE_REFERENCE], &session->plan, options->max_positions, err));
        session->on[SOURCE_REFERENCE] = true;
    }
    return STATUS_OK;
}

static void close_side(struct session *session, enum source source)
{
    if (session->on[source]) {
        session->backend[source].ops->close(&session->backend[source]);
        session->backend[source] = (struct backend){0};
        session->on[source] = false;
    }
}

enum status session_change(struct session *session, const struct session_options *options, struct error *err)
{
    struct session_options others = *options;
    session->weights = options->weights;
    close_side(session, SOURCE_REFERENCE); /* it holds little beside its KV cache */
    if (options->engine && session->on[SOURCE_ENGINE]) {
        TRY(session_take_engine(session, session, options, err));
        others.engine = false;
        others.weights = NULL;
    } else if (options->engine) {
        plan_free(&session->engine_plan);
        plan_copy(&session->engine_plan, &session->plan);
    } else {
        close_side(session, SOURCE_ENGINE);
    }
    return open_backends(session, &others, err);
}

enum status session_open(struct session *session, const char *model_path, const struct session_options *options,
                         struct error *err)
{
    memset(session, 0, sizeof(*session));
    session->weights = options->weights;
    double start = session_now_ms();
    progress_note("loading", model_path);
    TRY(model_open(&session->model, model_path, err));
    enum status status = plan_build(&session->plan, &session->model, err);
    if (status != STATUS_OK) {
        model_close(&session->model);
        return status;
    }
    plan_copy(&session->engine_plan, &session->plan);
    status = open_backends(session, options, err);
    session->load_ms = session_now_ms() - start;
    progress_wipe();
    if (status != STATUS_OK) {
        session_close(session);
    }
    return status;
}

void session_close(struct session *session)
{
    for (int source = 0; source < SOURCE_COUNT; source++) {
        close_side(session, source);
    }
    if (session->later_plan != NULL) {
        plan_free(session->later_plan);
        free(session->later_plan);
    }
    plan_free(&session->engine_plan);
    plan_free(&session->plan);
    model_close(&session->model);
    memset(session, 0, sizeof(*session));
}

int32_t session_chooser_masks(const struct session *session, const struct backend *backend)
{
    bool tampered = backend->plan->steps[backend->plan->n_steps - 1].tamper.how == TAMPER_PAD_CHOSEN;
    return tampered ? -1 : config_masked_id(&session->model.config);
}

enum status session_check_positions(const struct backend *backend, uint32_t n_positions, struct error *err)
{
    if (n_positions <= backend->max_positions) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_BAD_INPUT, backend->name, "positions", ERROR_NO_OFFSET,
                     "found %u, expected at most %u", n_positions, backend->max_positions);
}

enum status session_check_interrupt(const struct batch *batch, struct error *err)
{
    if (!interrupt_seen()) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_INTERRUPTED, NULL, NULL, ERROR_NO_OFFSET, "interrupted after position %u",
                     batch->first_position + batch->n_rows - 1);
}
