/* lockstep run: generation, greedy or sampled; the text as it comes, then the ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/options.h"
#include "workbench/probes/probe_config.h"
#include "workbench/python/python.h"

#define DEFAULT_TOKENS 24

/* The text that was printed so far, of the ids that came so far. */
struct printer {
    const struct model *model; /* NULL: nothing but ids is printed */
    bool ids_suffice;          /* ids were given, not text: no Python, no text, and no error */
    bool whole;                /* the text at the end, after "Output " */
    int32_t *ids;
    uint32_t n_ids;
    size_t printed; /* bytes */
    enum status status;
    struct error *err;
};

/* How much of a text is whole: U+FFFD at its end is a character whose last bytes did not come yet. */
static size_t whole_characters(const char *text)
{
    size_t length = strlen(text);
    while (length >= 3 && memcmp(text + length - 3, "\xEF\xBF\xBD", 3) == 0) {
        length -= 3;
    }
    return length;
}

/* Prints what the ids so far add to the text; last: nothing more comes, so broken characters are printed too. All ids
 * are decoded anew each time, for a token's text depends on those before it. */
static void print_text(struct printer *printer, bool last)
{
    if (printer->whole && !last) {
        return; /* lines for grep come in between: the text follows them at the end, on a line of its own */
    }
    if (printer->model == NULL || printer->status != STATUS_OK || printer->n_ids == 0) {
        return;
    }
    char *text;
    printer->status = python_detokenize(printer->model, printer->ids, printer->n_ids, &text, printer->err);
    if (printer->status == STATUS_ABSENT && printer->ids_suffice) {
        fprintf(stderr, "lockstep: no text: %s\n", printer->err->text);
        printer->err->text[0] = '\0';
        printer->status = STATUS_OK;
        printer->model = NULL;
        return;
    }
    if (printer->status != STATUS_OK) {
        return;
    }
    size_t length = last ? strlen(text) : whole_characters(text);
    if (printer->whole) {
        printf("Output ");
    }
    /* Broken bytes can turn what was printed into U+FFFD: still no character is printed from its middle. */
    while (printer->printed < length && ((unsigned char)text[printer->printed] & 0xC0) == 0x80) {
        printer->printed++;
    }
    if (length > printer->printed) {
        fwrite(text + printer->printed, 1, length - printer->printed, stdout);
        fflush(stdout);
        printer->printed = length;
    }
    free(text);
}

static void each_token(void *context, int32_t id)
{
    struct printer *printer = context;
    printer->ids[printer->n_ids++] = id;
    print_text(printer, false);
}

/* Prints the lines that the debug configuration asks for; of a batch that ran whole, so that a probe sees what shipped.
 */
struct watch {
    struct debug_config config;
    const struct plan *plan;
    float *rows;      /* of the widest stage */
    float *before[2]; /* layer_out of the layer before, and of the one before that */
};

/* Rows of an earlier layer's output, or NULL where it is not looked at. */
static const float *earlier(const struct watch *watch, struct backend *backend, int32_t layer, float *rows)
{
    struct error unused;
    int32_t s = layer >= 0 ? plan_find(watch->plan, layer, STAGE_layer_out) : -1;
    bool there = s >= 0 && debug_config_wants(&watch->config, watch->plan, (uint32_t)s);
    return there && backend->ops->read(backend, (uint32_t)s, rows, &unused) == STATUS_OK ? rows : NULL;
}

static enum status watch_batch(void *context, struct backend *backend, const struct batch *batch, struct error *err)
{
    struct watch *watch = context;
    enum status status = STATUS_OK;
    for (uint32_t s = 0; status == STATUS_OK && s < watch->plan->n_steps; s++) {
        const struct step *step = &watch->plan->steps[s];
        struct debug_rows rows = {.plan = watch->plan,
                                  .step = s,
                                  .first = batch->first_position,
                                  .n_rows = batch->n_rows,
                                  .n_sides = 1,
                                  .names = {backend->name},
                                  .rows = {watch->rows},
                                  .odd = watch->config.odd};
        if (!debug_config_wants(&watch->config, watch->plan, s)) {
            debug_anomaly_inherit(&rows);
            continue;
        }
        for (int32_t i = 0; i < 2 && step->stage == STAGE_layer_out; i++) {
            rows.before[i] = earlier(watch, backend, step->layer - 1 - i, watch->before[i]);
        }
        status = backend->ops->read(backend, s, watch->rows, err);
        if (status == STATUS_OK) {
            debug_lines_print(&watch->config, &rows);
        }
    }
    return status;
}

/* The engine brings to the host what is looked at, and what the next token is chosen from. */
static enum status capture_wanted(const struct watch *watch, struct backend *engine, struct error *err)
{
    uint32_t n_steps = watch->plan->n_steps, n = 0;
    bool *steps = xcalloc(n_steps, sizeof(*steps));
    for (uint32_t s = 0; s < n_steps; s++) {
        steps[s] = s + 1 == n_steps || debug_config_wants(&watch->config, watch->plan, s);
        n += steps[s];
    }
    enum status status = engine_capture(engine, steps, err);
    if (status == STATUS_OK && watch->config.trace && watch->config.categories[TRACE_buffers]) {
        struct engine_costs costs;
        engine_costs(engine, &costs);
        printf("TRACE:buffers stages=%u of=%u readback_bytes_per_token=%llu\n", n, n_steps,
               (unsigned long long)costs.readback_bytes);
    }
    free(steps);
    return status;
}

static enum status watch_begin(const struct arguments *arguments, struct session *session, enum source source,
                               struct watch *watch, struct error *err)
{
    uint32_t widest = 0;
    *watch = (struct watch){.plan = &session->plan};
    debug_config_init(&watch->config);
    enum status status = debug_config_options(&watch->config, arguments->preset, arguments->config, watch->plan, err);
    if (status != STATUS_OK || !watch->config.given) {
        return status;
    }
    for (uint32_t s = 0; s < watch->plan->n_steps; s++) {
        widest = watch->plan->steps[s].width > widest ? watch->plan->steps[s].width : widest;
    }
    uint64_t n_bytes = (uint64_t)session->backend[source].max_rows * widest * sizeof(float);
    watch->rows = xmalloc(n_bytes);
    watch->before[0] = xmalloc(n_bytes);
    watch->before[1] = xmalloc(n_bytes);
    watch->config.odd = xcalloc(watch->plan->n_steps, 1);
    session->watch = watch_batch;
    session->watch_context = watch;
    debug_lines_config(&watch->config, watch->plan,
                       source == SOURCE_ENGINE ? engine_device(&session->backend[source])->name : "reference");
    return source == SOURCE_ENGINE ? capture_wanted(watch, &session->backend[source], err) : STATUS_OK;
}

/* Ids in, ids out: from_ids needs neither a tokenizer nor Python, so that a model without one runs too. */
static enum status generate(struct session *session, enum source source, const int32_t *ids, uint32_t n_ids, uint32_t n,
                            bool from_ids, struct error *err)
{
    bool has_tokenizer = session->model.tokenizer_json != NULL || session->model.tokenizer.model != NULL;
    int32_t *out = xcalloc((uint64_t)n + 1, sizeof(*out));
    struct printer printer = {.model = has_tokenizer ? &session->model : NULL,
                              .ids_suffice = from_ids,
                              .whole = session->watch != NULL,
                              .err = err};
    printer.ids = xcalloc((uint64_t)n + 1, sizeof(*printer.ids));
    uint32_t n_out = 0;
    const struct generate_options options = {
        .prompt = ids, .n_prompt = n_ids, .n = n, .each = each_token, .context = &printer};
    enum status status = session_generate(session, source, &options, out, &n_out, err);
    if (status == STATUS_OK) {
        print_text(&printer, true);
        status = printer.status;
    }
    if (status == STATUS_OK) {
        printf("%sids:", printer.printed > 0 ? "\n" : "");
        for (uint32_t i = 0; i < n_out; i++) {
            printf(" %d", out[i]);
        }
        printf("\n");
    }
    free(printer.ids);
    free(out);
    return status;
}

enum status command_run(const struct arguments *arguments, struct error *err)
{
    enum source source;
    struct sampling sampling;
    enum status status = parse_on_one(arguments->on, &source, err);
    if (status == STATUS_OK) {
        status = parse_sampling(arguments, &sampling, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t n = arguments->n < 0 ? DEFAULT_TOKENS : (uint32_t)arguments->n;
    struct session session;
    int32_t *ids;
    uint32_t n_ids;
    bool watched = arguments->config != NULL || arguments->preset != NULL;
    status = open_with_tokens(arguments, source == SOURCE_ENGINE, source == SOURCE_REFERENCE, !watched, n, &session,
                              &ids, &n_ids, err);
    if (status != STATUS_OK) {
        return status;
    }
    session.sampling = sampling;
    struct watch watch;
    status = watch_begin(arguments, &session, source, &watch, err);
    if (status == STATUS_OK) {
        status = generate(&session, source, ids, n_ids, n, arguments->ids != NULL, err);
    }
    if (status == STATUS_OK && watch.config.given) {
        printf("Done\n");
    }
    free(watch.rows);
    free(watch.before[0]);
    free(watch.before[1]);
    debug_config_free(&watch.config);
    session_close(&session);
    free(ids);
    return status;
}
