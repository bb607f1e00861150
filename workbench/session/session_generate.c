/* Generates text: one token at a time, chosen on the host from its logits; or, if nothing on the host needs the tokens
 * one by one, in groups that the engine chooses and feeds back itself. */
#include <stdlib.h>
#include <time.h>

#include "workbench/session/session_internal.h"

/* The most milliseconds that a group may take, because the text stands still meanwhile. */
#define GROUP_MS 250

/* A text that is being generated. */
struct generation {
    struct session *session;
    struct backend *backend;
    struct sampler sampler;
    const struct generate_options *options;
    int32_t *out; /* [options->n] */
    uint32_t n_out;
    double token_ms; /* milliseconds a token of the fastest group so far; 0: none was measured */
    bool ended;      /* the last token is in out */
};

/* Runs one batch and reads its logits into rows[n_rows, vocab]. */
static enum status run_logits(struct backend *backend, const struct batch *batch, float *rows, struct error *err)
{
    uint32_t last = backend->plan->n_steps - 1;
    ASSERT(backend->plan->steps[last].stage == STAGE_logits_final);
    TRY(backend->ops->begin(backend, batch, err));
    TRY(backend->ops->run(backend, 0, backend->plan->n_steps, err));
    return backend->ops->read(backend, last, rows, err);
}

/* Stops between two batches if Ctrl-C was pressed; otherwise calls the watch. */
static enum status after_batch(struct session *session, struct backend *backend, const struct batch *batch,
                               struct error *err)
{
    TRY(session_check_interrupt(batch, err));
    return session->watch != NULL ? session->watch(session->watch_context, backend, batch, err) : STATUS_OK;
}

/* Runs the prompt in batches of up to rows_at_once rows; rows[rows_at_once, vocab] receives their logits. *last points
 * to the logits of the prompt's last position. */
static enum status run_prompt(struct generation *run, float *rows, uint32_t rows_at_once, const float **last,
                              struct error *err)
{
    uint32_t vocab = run->session->model.config.vocab, n_prompt = run->options->n_prompt;
    for (uint32_t first = 0; first < n_prompt;) {
        uint32_t left = n_prompt - first;
        struct batch batch = {first, left < rows_at_once ? left : rows_at_once, run->options->prompt + first, false};
        TRY(run_logits(run->backend, &batch, rows, err));
        TRY(after_batch(run->session, run->backend, &batch, err));
        first += batch.n_rows;
        *last = rows + (run->backend->last_row_alone ? 0 : (uint64_t)(batch.n_rows - 1) * vocab);
    }
    return STATUS_OK;
}

/* Adds a token to the text, and ends the text if it is the last. */
static void take(struct generation *run, int32_t id)
{
    run->out[run->n_out++] = id;
    if (run->options->each != NULL) {
        run->options->each(run->options->context, id);
    }
    run->ended = run->n_out == run->options->n || config_ends_text(&run->session->model.config, id);
}

/* Decodes the last token and chooses the next one on the host. */
static enum status decode_one(struct generation *run, float *row, struct error *err)
{
    struct batch batch = {run->options->n_prompt + run->n_out - 1, 1, &run->out[run->n_out - 1], true};
    TRY(run_logits(run->backend, &batch, row, err));
    TRY(after_batch(run->session, run->backend, &batch, err));
    take(run, sampler_choose(&run->sampler, row, NULL));
    return STATUS_OK;
}

double session_now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* The size of the next group: as many tokens as the engine takes in one submit, if that took no longer than GROUP_MS.
 * So the text grows several times a second, and Ctrl-C does not wait for more. Otherwise one token. */
static uint32_t group_size(const struct generation *run)
{
    uint32_t asked = run->session->group_size, most = asked > 0 ? asked : ENGINE_TOKENS_A_SUBMIT;
    uint32_t left = run->options->n - run->n_out;
    bool soon = run->token_ms > 0 && run->token_ms * most <= GROUP_MS;
    most = soon || asked > 0 ? most : 1;
    return most < left ? most : left;
}

/* Decodes the last token and a group after it, chosen on the device. Tokens after the text's end are dropped. */
static enum status decode_group(struct generation *run, struct error *err)
{
    int32_t ids[ENGINE_TOKENS_A_SUBMIT];
    uint32_t n = group_size(run), first = run->options->n_prompt + run->n_out - 1;
    ASSERT(n <= ENGINE_TOKENS_A_SUBMIT);
    double start = session_now_ms();
    struct engine_decoding decoding = {.first_position = first,
                                       .token = run->out[run->n_out - 1],
                                       .masked = run->sampler.masked_id,
                                       .n = n,
                                       .ids = ids};
    TRY(engine_decode(run->backend, &decoding, err));
    double token_ms = (session_now_ms() - start) / n;
    run->token_ms = run->token_ms > 0 && run->token_ms < token_ms ? run->token_ms : token_ms;
    for (uint32_t i = 0; i < n && !run->ended; i++) {
        take(run, ids[i]);
    }
    return session_check_interrupt(&(struct batch){.first_position = first, .n_rows = n}, err);
}

/* Runs the prompt, then chooses tokens until the text ends. rows: as in run_prompt. */
static enum status generate(struct generation *run, float *rows, uint32_t rows_at_once, bool in_groups,
                            struct error *err)
{
    const float *last = rows; /* the logits that the next token is chosen from */
    TRY(run_prompt(run, rows, rows_at_once, &last, err));
    take(run, sampler_choose(&run->sampler, last, NULL));
    while (!run->ended) {
        TRY(in_groups ? decode_group(run, err) : decode_one(run, rows, err));
    }
    return STATUS_OK;
}

/* The tokens are written through `run`, which clang-tidy does not see. */
// NOLINTBEGIN(readability-non-const-parameter)
enum status session_generate(struct session *session, enum source source, const struct generate_options *options,
                             int32_t *out, uint32_t *n_out, struct error *err)
// NOLINTEND(readability-non-const-parameter)
{
    struct backend *backend = &session->backend[source];
    struct generation run = {.session = session, .backend = backend, .options = options, .out = out};
    uint32_t n_prompt = options->n_prompt, vocab = session->model.config.vocab;
    ASSERT(session->on[source] && n_prompt > 0);
    *n_out = 0;
    TRY(session_check_positions(backend, n_prompt + options->n, err));
    if (options->n == 0) {
        return STATUS_OK;
    }
    uint32_t rows_at_once = n_prompt < backend->max_rows ? n_prompt : backend->max_rows;
    float *rows = xmalloc((uint64_t)rows_at_once * vocab * sizeof(*rows));
    sampler_init(&run.sampler, &session->sampling, vocab, session_chooser_masks(session, backend));
    bool in_groups = source == SOURCE_ENGINE && session->watch == NULL && session->sampling.temperature == 0 &&
                     engine_can_choose(backend);
    enum status status = generate(&run, rows, rows_at_once, in_groups, err);
    *n_out = run.n_out;
    sampler_free(&run.sampler);
    free(rows);
    return status;
}
