/* Runs given tokens and records the stages and the samples. */
#include <stdlib.h>

#include "workbench/session/session_internal.h"

/* The number of rows of the batch from position `first` on: prefill rows in a row, or a single decode row. */
static uint32_t batch_rows(const struct backend *backend, const struct record_options *options, uint32_t first)
{
    const uint8_t *phase = options->phase;
    bool fewer = options->most_rows > 0 && options->most_rows < backend->max_rows;
    uint32_t n = 1, most = fewer ? options->most_rows : backend->max_rows;
    if (phase[first] == PHASE_DECODE) {
        return n;
    }
    while (first + n < options->n_positions && n < most && phase[first + n] == PHASE_PREFILL) {
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
        session_declare_storage(step, stage);
        /* A batch's rows are consecutive positions, in the trace too, so they are read in place. */
        TRY(backend->ops->read(backend, i, stage->rows + (uint64_t)batch->first_position * step->width, err));
        for (uint32_t row = 0; row < batch->n_rows; row++) {
            uint32_t position = batch->first_position + row;
            stage->n_recorded += stage->recorded[position] == 0;
            stage->recorded[position] = 1;
        }
    }
    return STATUS_OK;
}

/* Samples of rows of logits. A run chooses tokens only from the prompt's last position on. */
struct samples {
    struct sampler sampler, chooser; /* for sample_probs; for sample_token */
    bool wants_probs, wants_token;
    uint32_t last_prompt; /* the prompt's last position */
    float *logits;        /* [max_rows, vocab] of the current batch */
    float *probs;         /* [vocab] of one row */
};

static void samples_begin(struct samples *samples, const struct session *session, const struct backend *backend,
                          const struct record_options *options)
{
    const bool *stages = options->stages;
    uint32_t vocab = session->model.config.vocab, n_prompt = 0;
    *samples = (struct samples){.wants_probs = stages != NULL ? stages[STAGE_sample_probs] : session->samples,
                                .wants_token = stages != NULL ? stages[STAGE_sample_token] : session->samples};
    while (n_prompt < options->n_positions && options->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    samples->last_prompt = n_prompt > 0 ? n_prompt - 1 : 0;
    sampler_init(&samples->sampler, &session->sampling, vocab, config_masked_id(&session->model.config));
    sampler_init(&samples->chooser, &session->sampling, vocab, session_chooser_masks(session, backend));
    samples->wants_token |= backend->plan->steps[backend->plan->n_steps - 1].tamper.how == TAMPER_PAD_CHOSEN;
    samples->logits = xmalloc((uint64_t)backend->max_rows * vocab * sizeof(*samples->logits));
    samples->probs = xmalloc(vocab * sizeof(*samples->probs));
}

static void samples_end(struct samples *samples)
{
    sampler_free(&samples->sampler);
    sampler_free(&samples->chooser);
    free(samples->logits);
    free(samples->probs);
}

/* Samples from the rows of the current batch in order, as a run does, and records the samples. */
static enum status record_samples(struct samples *samples, struct backend *backend, const struct batch *batch,
                                  struct trace *trace, struct error *err)
{
    uint32_t last = backend->plan->n_steps - 1, vocab = backend->plan->steps[last].width;
    if (!(samples->wants_probs || samples->wants_token) ||
        batch->first_position + batch->n_rows <= samples->last_prompt) {
        return STATUS_OK;
    }
    enum status status = backend->ops->read(backend, last, samples->logits, err);
    for (uint32_t row = 0; row < batch->n_rows && status == STATUS_OK; row++) {
        uint32_t position = batch->first_position + row;
        if (position < samples->last_prompt) {
            continue;
        }
        const float *logits = samples->logits + (uint64_t)row * vocab;
        float token = (float)sampler_choose(&samples->chooser, logits, NULL);
        if (samples->wants_probs) {
            (void)sampler_choose(&samples->sampler, logits, samples->probs);
            trace_set_row(trace, trace_add(trace, LAYER_NONE, STAGE_sample_probs, vocab), position, samples->probs);
        }
        if (samples->wants_token) {
            trace_set_row(trace, trace_add(trace, LAYER_NONE, STAGE_sample_token, 1), position, &token);
        }
    }
    return status;
}

void session_declare_storage(const struct step *step, struct trace_stage *stage)
{
    if (step->variant == VARIANT_STORE_F16) {
        ASSERT(float_type("float16", &stage->arith.u_storage, &stage->arith.eta));
    }
}

const int32_t *session_batch_tokens(const struct plan *plan, const int32_t *tokens, const uint8_t *phase,
                                    uint32_t n_positions, uint32_t first)
{
    if (plan->steps[0].tamper.how != TAMPER_LATER_TOKENS || phase[first] != PHASE_DECODE) {
        return tokens + first;
    }
    uint32_t start = first;
    while (start > 0 && phase[start - 1] == PHASE_DECODE) {
        start--;
    }
    bool overwritten = (first - start) % 4 < 2 && first + 2 < n_positions;
    return tokens + first + (overwritten ? 2 : 0);
}

/* Where a batch runs. With TAMPER_CHUNKS_AT_0 each part of a prompt runs at 0, and what is decoded follows the last. */
static uint32_t runs_at(const struct backend *backend, const struct record_options *options, const struct batch *batch)
{
    uint32_t part = 0;
    while (part + batch_rows(backend, options, part) <= batch->first_position &&
           options->phase[part + batch_rows(backend, options, part)] == PHASE_PREFILL) {
        part += batch_rows(backend, options, part);
    }
    return batch->first_position - (backend->plan->steps[0].tamper.how == TAMPER_CHUNKS_AT_0 ? part : 0);
}

/* Runs one batch and records it. */
static enum status run_batch(struct backend *backend, const struct batch *batch, const struct record_options *options,
                             struct samples *samples, struct trace *trace, struct error *err)
{
    struct batch run = *batch;
    run.first_position = runs_at(backend, options, batch);
    TRY(backend->ops->begin(backend, &run, err));
    TRY(backend->ops->run(backend, 0, backend->plan->n_steps, err));
    TRY(record_batch(backend, batch, options->stages, trace, err));
    TRY(record_samples(samples, backend, batch, trace, err));
    return session_check_interrupt(batch, err);
}

static enum status run_batches(struct backend *backend, const struct record_options *options, struct samples *samples,
                               struct trace *trace, struct error *err)
{
    uint32_t n_positions = options->n_positions;
    TRY(session_check_positions(backend, n_positions, err));
    for (uint32_t first = 0; first < n_positions;) {
        struct batch batch = {first, batch_rows(backend, options, first),
                              session_batch_tokens(backend->plan, options->tokens, options->phase, n_positions, first),
                              options->phase[first] == PHASE_DECODE};
        enum status status = run_batch(backend, &batch, options, samples, trace, err);
        first += batch.n_rows;
        if (options->progress != NULL) {
            options->progress(options->progress_context, first, n_positions);
        }
        TRY(status);
    }
    return STATUS_OK;
}

enum status session_record(struct session *session, enum source source, const struct record_options *options,
                           struct trace *trace, struct error *err)
{
    struct backend *backend = &session->backend[source];
    ASSERT(session->on[source]);
    trace_init(trace, backend->name, session->model.config.model_type, session->plan.n_layers, options->n_positions,
               options->tokens, options->phase);
    if (source == SOURCE_ENGINE) {
        trace->weights_dtype = session_weights_dtype(session);
    }
    trace->sampling = session->sampling;
    struct samples samples;
    samples_begin(&samples, session, backend, options);
    enum status status = run_batches(backend, options, &samples, trace, err);
    samples_end(&samples);
    if (status != STATUS_OK) {
        trace_free(trace);
    }
    return status;
}
