/* Generation: a token at a time, its logits looked at on the host; or, where nobody looks between them, several at a
 * time that the engine chooses and feeds back itself. */
#include <stdlib.h>
#include <time.h>

#include "workbench/session/session_internal.h"

/* How long the text may stand still while several tokens are decoded together. */
#define TOGETHER_MS 250

/* A text that is being made. */
struct generation {
    struct session *session;
    struct backend *backend;
    struct sampler sampler;
    uint32_t n_prompt, n; /* n: most tokens behind the prompt */
    int32_t *out;
    uint32_t n_out;
    void (*each)(void *context, int32_t id);
    void *context;
    double token_ms; /* the least that a token took, several of them in one submit; 0: none was measured */
    bool ended;
};

/* Runs one batch and reads its logits into rows[n_rows * vocab]. */
static enum status run_logits(struct backend *backend, const struct batch *batch, float *rows, struct error *err)
{
    uint32_t last = backend->plan->n_steps - 1;
    ASSERT(backend->plan->steps[last].stage == STAGE_logits_final);
    enum status status = backend->ops->begin(backend, batch, err);
    if (status == STATUS_OK) {
        status = backend->ops->run(backend, 0, backend->plan->n_steps, err);
    }
    if (status == STATUS_OK) {
        status = backend->ops->read(backend, last, rows, err);
    }
    return status;
}

/* Who watches sees the batch's rows; Ctrl-C ends the work between two batches. */
static enum status after_batch(struct session *session, struct backend *backend, const struct batch *batch,
                               struct error *err)
{
    enum status status = session_check_interrupt(batch, err);
    return status == STATUS_OK && session->watch != NULL ? session->watch(session->watch_context, backend, batch, err)
                                                         : status;
}

/* The prompt, in batches; the logits behind it go to rows, *last is where the last position's begin. */
static enum status run_prompt(struct generation *run, const int32_t *prompt, float *rows, uint32_t rows_at_once,
                              const float **last, struct error *err)
{
    enum status status = STATUS_OK;
    uint32_t vocab = run->session->model.config.vocab;
    for (uint32_t first = 0; status == STATUS_OK && first < run->n_prompt;) {
        uint32_t left = run->n_prompt - first;
        struct batch batch = {first, left < rows_at_once ? left : rows_at_once, prompt + first, false};
        status = run_logits(run->backend, &batch, rows, err);
        status = status == STATUS_OK ? after_batch(run->session, run->backend, &batch, err) : status;
        first += batch.n_rows;
        *last = rows + (run->backend->last_row_alone ? 0 : (uint64_t)(batch.n_rows - 1) * vocab);
    }
    return status;
}

/* The next token of the text, which may be its last. */
static void take(struct generation *run, int32_t id)
{
    run->out[run->n_out++] = id;
    if (run->each != NULL) {
        run->each(run->context, id);
    }
    run->ended = run->n_out == run->n || config_ends_text(&run->session->model.config, id);
}

/* Decodes the last token and chooses the next one here. */
static enum status decode_one(struct generation *run, float *row, struct error *err)
{
    struct batch batch = {run->n_prompt + run->n_out - 1, 1, &run->out[run->n_out - 1], true};
    enum status status = run_logits(run->backend, &batch, row, err);
    status = status == STATUS_OK ? after_batch(run->session, run->backend, &batch, err) : status;
    if (status == STATUS_OK) {
        take(run, sampler_choose(&run->sampler, row, NULL));
    }
    return status;
}

static double now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* As many tokens as the engine puts into one submit, where they come soon enough: the text goes on several times a
 * second, and Ctrl-C need not wait for more. */
static uint32_t choose_together(const struct generation *run)
{
    uint32_t most = run->session->together > 0 ? run->session->together : ENGINE_TOKENS_A_SUBMIT;
    uint32_t left = run->n - run->n_out;
    bool soon = run->token_ms > 0 && run->token_ms * most <= TOGETHER_MS;
    most = soon || run->session->together > 0 ? most : 1;
    return most < left ? most : left;
}

/* Decodes the last token and those that follow it, chosen on the device; what comes behind the text's end is dropped.
 */
static enum status decode_together(struct generation *run, struct error *err)
{
    int32_t ids[ENGINE_TOKENS_A_SUBMIT];
    uint32_t n = choose_together(run), first = run->n_prompt + run->n_out - 1;
    ASSERT(n <= ENGINE_TOKENS_A_SUBMIT);
    double start = now_ms();
    struct engine_decoding decoding = {.first_position = first,
                                       .token = run->out[run->n_out - 1],
                                       .masked = run->sampler.masked_id,
                                       .n = n,
                                       .ids = ids};
    enum status status = engine_decode(run->backend, &decoding, err);
    double token_ms = (now_ms() - start) / n;
    run->token_ms = run->token_ms > 0 && run->token_ms < token_ms ? run->token_ms : token_ms;
    for (uint32_t i = 0; status == STATUS_OK && i < n && !run->ended; i++) {
        take(run, ids[i]);
    }
    return status == STATUS_OK ? session_check_interrupt(&(struct batch){.first_position = first, .n_rows = n}, err)
                               : status;
}

enum status session_generate(struct session *session, enum source source, const int32_t *prompt, uint32_t n_prompt,
                             uint32_t n, int32_t *out, uint32_t *n_out, void (*each)(void *context, int32_t id),
                             void *context, struct error *err)
{
    struct backend *backend = &session->backend[source];
    struct generation run = {.session = session,
                             .backend = backend,
                             .n_prompt = n_prompt,
                             .n = n,
                             .out = out,
                             .each = each,
                             .context = context};
    ASSERT(session->on[source] && n_prompt > 0);
    *n_out = 0;
    enum status status = session_check_positions(backend, n_prompt + n, err);
    if (status != STATUS_OK || n == 0) {
        return status;
    }
    uint32_t rows_at_once = n_prompt < backend->max_rows ? n_prompt : backend->max_rows;
    uint32_t vocab = session->model.config.vocab;
    float *rows = xmalloc((uint64_t)rows_at_once * vocab * sizeof(*rows));
    const float *last = rows; /* the row that the next token is chosen from */
    sampler_init(&run.sampler, &session->sampling, vocab, session_chooser_masks(session, backend));
    bool nobody_looks = source == SOURCE_ENGINE && session->watch == NULL && session->sampling.temperature == 0 &&
                        engine_can_choose(backend);
    status = run_prompt(&run, prompt, rows, rows_at_once, &last, err);
    if (status == STATUS_OK) {
        take(&run, sampler_choose(&run.sampler, last, NULL));
    }
    while (status == STATUS_OK && !run.ended) {
        status = nobody_looks ? decode_together(&run, err) : decode_one(&run, rows, err);
    }
    *n_out = run.n_out;
    sampler_free(&run.sampler);
    free(rows);
    return status;
}
