#include "workbench/session.h"

#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

/* Plants the faults in the engine's plan. *pad: one of them asks for padded buffers. */
static enum status plant_faults(struct session *session, const struct session_options *options, bool *pad,
                                struct error *err)
{
    for (uint32_t i = 0; i < options->n_faults; i++) {
        struct fault_request request;
        enum status status = fault_parse(&request, options->faults[i], err);
        if (status != STATUS_OK) {
            return status;
        }
        int32_t step;
        status = fault_plant(&request, &session->engine_plan, &step, err);
        if (status != STATUS_OK) {
            return status;
        }
        *pad = *pad || request.fault->edit == EDIT_PAD_BUFFERS;
    }
    return STATUS_OK;
}

static enum status open_backends(struct session *session, const struct session_options *options, struct error *err)
{
    bool pad = false;
    enum status status = plant_faults(session, options, &pad, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (options->engine) {
        struct engine_options engine = {.device = options->device,
                                        .max_positions = options->max_positions,
                                        .no_capture = options->no_capture,
                                        .pad_buffers = pad};
        status = engine_open(&session->backend[SOURCE_ENGINE], &session->engine_plan, &engine, err);
        if (status != STATUS_OK) {
            return status;
        }
        session->on[SOURCE_ENGINE] = true;
    }
    if (options->reference) {
        status = reference_open(&session->backend[SOURCE_REFERENCE], &session->plan, options->max_positions, err);
        if (status != STATUS_OK) {
            return status;
        }
        session->on[SOURCE_REFERENCE] = true;
    }
    return STATUS_OK;
}

enum status session_open(struct session *session, const char *model_path, const struct session_options *options,
                         struct error *err)
{
    memset(session, 0, sizeof(*session));
    enum status status = model_open(&session->model, model_path, err);
    if (status != STATUS_OK) {
        return status;
    }
    status = plan_build(&session->plan, &session->model, err);
    if (status != STATUS_OK) {
        model_close(&session->model);
        return status;
    }
    plan_copy(&session->engine_plan, &session->plan);
    status = open_backends(session, options, err);
    if (status != STATUS_OK) {
        session_close(session);
    }
    return status;
}

void session_close(struct session *session)
{
    for (int source = 0; source < SOURCE_COUNT; source++) {
        if (session->on[source]) {
            session->backend[source].ops->close(&session->backend[source]);
        }
    }
    plan_free(&session->engine_plan);
    plan_free(&session->plan);
    model_close(&session->model);
    memset(session, 0, sizeof(*session));
}

/* How many positions from `first` go into one batch: a run of prefill rows, or a single decode row. */
static uint32_t batch_rows(const struct backend *backend, const uint8_t *phase, uint32_t first, uint32_t n_positions)
{
    uint32_t n = 1;
    if (phase[first] == PHASE_DECODE) {
        return n;
    }
    while (first + n < n_positions && n < backend->max_rows && phase[first + n] == PHASE_PREFILL) {
        n++;
    }
    return n;
}

/* Copies the rows of the current batch into the trace. */
static enum status record_batch(struct backend *backend, const struct batch *batch, const bool *stages,
                                struct trace *trace, struct error *err)
{
    for (uint32_t i = 0; i < backend->plan->n_steps; i++) {
        const struct step *step = &backend->plan->steps[i];
        if (stages != NULL && !stages[step->stage]) {
            continue;
        }
        struct trace_stage *stage = trace_add(trace, step->layer, step->stage, step->width);
        /* A batch's rows are consecutive positions, and so are the trace's: read in place. */
        enum status status =
            backend->ops->read(backend, i, stage->rows + (uint64_t)batch->first_position * step->width, err);
        if (status != STATUS_OK) {
            return status;
        }
        for (uint32_t row = 0; row < batch->n_rows; row++) {
            uint32_t position = batch->first_position + row;
            stage->n_recorded += stage->recorded[position] == 0;
            stage->recorded[position] = 1;
        }
    }
    return STATUS_OK;
}

static enum status check_positions(const struct backend *backend, uint32_t n_positions, struct error *err)
{
    if (n_positions <= backend->max_positions) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_BAD_INPUT, backend->name, "positions", ERROR_NO_OFFSET,
                     "%u of them, expected at most %u", n_positions, backend->max_positions);
}

enum status session_record(struct session *session, enum source source, uint32_t n_positions, const int32_t *tokens,
                           const uint8_t *phase, const bool *stages, struct trace *trace, progress_function *progress,
                           void *context, struct error *err)
{
    struct backend *backend = &session->backend[source];
    ASSERT(session->on[source]);
    trace_init(trace, backend->name, session->model.config.model_type, session->plan.n_layers, n_positions, tokens,
               phase);
    enum status status = check_positions(backend, n_positions, err);
    for (uint32_t first = 0; status == STATUS_OK && first < n_positions;) {
        struct batch batch = {first, batch_rows(backend, phase, first, n_positions), tokens + first,
                              phase[first] == PHASE_DECODE};
        status = backend->ops->begin(backend, &batch, err);
        if (status == STATUS_OK) {
            status = backend->ops->run(backend, 0, backend->plan->n_steps, err);
        }
        if (status == STATUS_OK) {
            status = record_batch(backend, &batch, stages, trace, err);
        }
        first += batch.n_rows;
        if (progress != NULL) {
            progress(context, first, n_positions);
        }
    }
    if (status != STATUS_OK) {
        trace_free(trace);
    }
    return status;
}

uint32_t argmax(const float *values, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (values[i] > values[best] || (values[best] != values[best] && values[i] == values[i])) {
            best = i;
        }
    }
    return best;
}

static bool is_eos(const struct config *config, int32_t id)
{
    for (uint32_t i = 0; i < config->n_eos_ids; i++) {
        if (config->eos_ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* Runs one batch and reads the logits of its last row into rows[n_rows * vocab]; *id: the most likely token after it.
 */
static enum status run_and_choose(struct backend *backend, const struct batch *batch, float *rows, int32_t *id,
                                  struct error *err)
{
    uint32_t last = backend->plan->n_steps - 1;
    const struct step *logits = &backend->plan->steps[last];
    ASSERT(logits->stage == STAGE_logits_final);
    enum status status = backend->ops->begin(backend, batch, err);
    if (status == STATUS_OK) {
        status = backend->ops->run(backend, 0, backend->plan->n_steps, err);
    }
    if (status == STATUS_OK) {
        status = backend->ops->read(backend, last, rows, err);
    }
    if (status == STATUS_OK) {
        *id = (int32_t)argmax(rows + (uint64_t)(batch->n_rows - 1) * logits->width, logits->width);
    }
    return status;
}

enum status session_generate(struct session *session, enum source source, const int32_t *prompt, uint32_t n_prompt,
                             uint32_t n, int32_t *out, uint32_t *n_out, void (*each)(void *context, int32_t id),
                             void *context, struct error *err)
{
    struct backend *backend = &session->backend[source];
    ASSERT(session->on[source] && n_prompt > 0);
    *n_out = 0;
    enum status status = check_positions(backend, n_prompt + n, err);
    if (status != STATUS_OK || n == 0) {
        return status;
    }
    uint32_t rows_at_once = n_prompt < backend->max_rows ? n_prompt : backend->max_rows;
    float *rows = xmalloc((uint64_t)rows_at_once * session->model.config.vocab * sizeof(*rows));
    int32_t id = 0;
    for (uint32_t first = 0; status == STATUS_OK && first < n_prompt;) {
        uint32_t left = n_prompt - first;
        struct batch batch = {first, left < rows_at_once ? left : rows_at_once, prompt + first, false};
        status = run_and_choose(backend, &batch, rows, &id, err);
        first += batch.n_rows;
    }
    while (status == STATUS_OK) {
        out[(*n_out)++] = id;
        if (each != NULL) {
            each(context, id);
        }
        if (*n_out == n || is_eos(&session->model.config, id)) {
            break;
        }
        struct batch batch = {n_prompt + *n_out - 1, 1, &out[*n_out - 1], true};
        status = run_and_choose(backend, &batch, rows, &id, err);
    }
    free(rows);
    return status;
}
