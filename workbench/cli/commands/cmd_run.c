/* lockstep run: prints the text token by token, then the ids of the tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/commands/option_values.h"
#include "workbench/probes/probe_lines.h"
#include "workbench/python/python.h"

#define DEFAULT_TOKENS 24

/* The tokens generated so far, and how much of their text is printed. */
struct printer {
    const struct model *model; /* NULL: print only ids */
    bool ids_suffice;          /* where Python is missing, print only ids; else that is an error */
    bool whole;                /* print the text once, at the end, after "Output " */
    int32_t *ids;
    uint32_t n_ids;
    size_t printed; /* bytes of the text */
    enum status status;
    struct error *err;
};

/* The length of a text without the unfinished character at its end. The tokenizer writes U+FFFD for a character whose
 * last bytes have not come yet. */
static size_t whole_characters(const char *text)
{
    size_t length = strlen(text);
    while (length >= 3 && memcmp(text + length - 3, "\xEF\xBF\xBD", 3) == 0) {
        length -= 3;
    }
    return length;
}

/* Prints the text that is new. last: no token follows, so an unfinished character is printed, too. All ids are decoded
 * each time: a token's text depends on the tokens before it. */
static void print_text(struct printer *printer, bool last)
{
    if (printer->whole && !last) {
        return; /* lines of the debug configuration would stand inside the text */
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
    /* A later token can turn printed bytes into U+FFFD. Never begin to print in the middle of a character. */
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

/* Prints the lines that the debug configuration asks for, after each batch: probes see what the shipped kernels made.
 */
struct watch {
    struct probe_config config;
    const struct plan *plan;
    float *rows;      /* of the widest stage */
    float *before[2]; /* layer_out of the previous layer, and of the one before that */
    bool timed[2];    /* [phase] the layers' times were printed */
};

/* Reads an earlier layer's output into rows. Returns NULL where the configuration does not look at it. */
static const float *earlier(const struct watch *watch, struct backend *backend, int32_t layer, float *rows)
{
    struct error unused;
    int32_t s = layer >= 0 ? plan_find(watch->plan, layer, STAGE_layer_out) : -1;
    bool there = s >= 0 && probe_config_needs(&watch->config, watch->plan, (uint32_t)s);
    return there && backend->ops->read(backend, (uint32_t)s, rows, &unused) == STATUS_OK ? rows : NULL;
}

/* Prints the time of each layer, of the first batch of each phase: by timestamps on a device; on the reference by
 * running each step again. Devices without timestamps print nothing. */
static void print_layer_times(struct watch *watch, struct backend *backend, const struct batch *batch)
{
    double *ns = xcalloc(watch->plan->n_steps, sizeof(*ns));
    struct error unused;
    enum status status = STATUS_OK;
    if (strcmp(backend->name, "reference") == 0) {
        for (uint32_t s = 0; status == STATUS_OK && s < watch->plan->n_steps; s++) {
            double start = session_now_ms();
            status = backend->ops->run(backend, s, s + 1, &unused);
            ns[s] = (session_now_ms() - start) * 1e6;
        }
    } else {
        status = engine_time_ops(backend, ns, &unused);
    }
    if (status == STATUS_OK) {
        probe_lines_print_layer_times(watch->plan, ns, batch);
    }
    watch->timed[batch->decode] = true;
    free(ns);
}

static enum status watch_batch(void *context, struct backend *backend, const struct batch *batch, struct error *err)
{
    struct watch *watch = context;
    enum status status = STATUS_OK;
    for (uint32_t s = 0; status == STATUS_OK && s < watch->plan->n_steps; s++) {
        const struct step *step = &watch->plan->steps[s];
        struct probe_rows rows = {.plan = watch->plan,
                                  .step = s,
                                  .first = batch->first_position,
                                  .n_rows = batch->n_rows,
                                  .n_sides = 1,
                                  .names = {backend->name},
                                  .rows = {watch->rows},
                                  .anomalous = watch->config.anomalous};
        if (!probe_config_needs(&watch->config, watch->plan, s)) {
            anomaly_inherit(&rows);
            continue;
        }
        for (int32_t i = 0; i < 2 && step->stage == STAGE_layer_out; i++) {
            rows.before[i] = earlier(watch, backend, step->layer - 1 - i, watch->before[i]);
        }
        status = backend->ops->read(backend, s, watch->rows, err);
        if (status == STATUS_OK) {
            probe_lines_print(&watch->config, &rows);
        }
    }
    if (status == STATUS_OK && watch->config.level == LOG_VERBOSE && !watch->timed[batch->decode]) {
        print_layer_times(watch, backend, batch);
    }
    return status;
}

/* Makes the engine copy to the host only the stages that the configuration looks at, and the logits. */
static enum status capture_wanted(const struct watch *watch, struct backend *engine, struct error *err)
{
    uint32_t n_steps = watch->plan->n_steps, n = 0;
    bool *steps = xcalloc(n_steps, sizeof(*steps));
    for (uint32_t s = 0; s < n_steps; s++) {
        steps[s] = s + 1 == n_steps || probe_config_needs(&watch->config, watch->plan, s);
        n += steps[s];
    }
    enum status status = engine_capture(engine, steps, err);
    if (status == STATUS_OK && watch->config.trace_enabled && watch->config.categories[TRACE_buffers]) {
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
    probe_config_init(&watch->config);
    const struct probe_options options = parse_probe_options(arguments, arguments->trace);
    enum status status = probe_config_read_options(&watch->config, &options, watch->plan, err);
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
    watch->config.anomalous = xcalloc(watch->plan->n_steps, 1);
    session->watch = watch_batch;
    session->watch_context = watch;
    probe_lines_print_config(&watch->config, watch->plan,
                             source == SOURCE_ENGINE ? engine_device(&session->backend[source])->name : "reference");
    probe_lines_print_loader(&watch->config, &session->model, session->load_ms);
    return source == SOURCE_ENGINE ? capture_wanted(watch, &session->backend[source], err) : STATUS_OK;
}

/* What a run starts with. */
struct generation {
    struct token_list prompt;
    uint32_t n;    /* tokens to decode, at most */
    bool from_ids; /* ids were given: a model without a tokenizer, and a machine without Python, suffice */
};

static enum status generate(struct session *session, enum source source, const struct generation *generation,
                            struct error *err)
{
    bool has_tokenizer = session->model.tokenizer_json != NULL || session->model.tokenizer.model != NULL;
    int32_t *out = xcalloc((uint64_t)generation->n + 1, sizeof(*out));
    struct printer printer = {.model = has_tokenizer ? &session->model : NULL,
                              .ids_suffice = generation->from_ids,
                              .whole = session->watch != NULL,
                              .err = err};
    printer.ids = xcalloc((uint64_t)generation->n + 1, sizeof(*printer.ids));
    uint32_t n_out = 0;
    const struct generate_options options = {.prompt = generation->prompt.ids,
                                             .n_prompt = generation->prompt.n,
                                             .n = generation->n,
                                             .each = each_token,
                                             .context = &printer};
    double start = session_now_ms();
    enum status status = session_generate(session, source, &options, out, &n_out, err);
    double ms = session_now_ms() - start;
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
        if (session->watch != NULL && ((const struct watch *)session->watch_context)->config.level == LOG_VERBOSE) {
            printf("Generated tokens=%u ms=%.1f\n", n_out, ms);
        }
    }
    free(printer.ids);
    free(out);
    return status;
}

static void watch_free(struct watch *watch)
{
    free(watch->rows);
    free(watch->before[0]);
    free(watch->before[1]);
    probe_config_free(&watch->config);
}

enum status command_run(const struct arguments *arguments, struct error *err)
{
    enum source source;
    struct sampling sampling;
    struct session session;
    struct watch watch;
    TRY(parse_on_one(arguments->on, &source, err));
    TRY(parse_sampling(arguments, &sampling, err));
    struct generation generation = {.n = arguments->n < 0 ? DEFAULT_TOKENS : (uint32_t)arguments->n,
                                    .from_ids = arguments->ids != NULL};
    const struct probe_options options = parse_probe_options(arguments, arguments->trace);
    const struct session_wish wish = {
        .engine = source == SOURCE_ENGINE,
        .reference = source == SOURCE_REFERENCE,
        .no_capture = !probe_options_given(&options),
        .n_more = generation.n,
    };
    TRY(open_with_tokens(arguments, &wish, &session, &generation.prompt, err));
    session.sampling = sampling;
    enum status status = watch_begin(arguments, &session, source, &watch, err);
    if (status == STATUS_OK) {
        status = generate(&session, source, &generation, err);
    }
    if (status == STATUS_OK && watch.config.given) {
        printf("Done\n");
    }
    watch_free(&watch);
    session_close(&session);
    free(generation.prompt.ids);
    return status;
}
