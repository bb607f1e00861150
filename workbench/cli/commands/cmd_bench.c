/* lockstep bench: measures how fast a side runs a model, what a token costs, and whether what ran was right. With
 * --kernels it measures single kernels. */
#include <stdlib.h>
#include <string.h>

#include "workbench/bench/kernels/kernel_bench.h"
#include "workbench/bench/model_bench.h"
#include "workbench/bench/timing.h"
#include "workbench/cli/command.h"
#include "workbench/cli/commands/option_values.h"
#include "workbench/cli/commands/write_reports.h"

#define DEFAULT_PROMPT 32
#define DEFAULT_DECODED 16

/* Reads the options. */
static enum status parse(const struct arguments *arguments, struct model_bench *bench, bool *captured,
                         struct error *err)
{
    const char *capture = arguments->capture != NULL ? arguments->capture : "all";
    *captured = strcmp(capture, "all") == 0;
    bench->compares_capture = strcmp(capture, "both") == 0;
    if (!*captured && !bench->compares_capture && strcmp(capture, "off") != 0) {
        return error_set(err, STATUS_USAGE, NULL, "--capture", ERROR_NO_OFFSET, "\"%s\", expected off, all or both",
                         capture);
    }
    bench->n_prompt = arguments->n_prompt < 0 ? DEFAULT_PROMPT : (uint32_t)arguments->n_prompt;
    bench->n_decoded = arguments->n < 0 ? DEFAULT_DECODED : (uint32_t)arguments->n;
    if (bench->n_prompt == 0) {
        return error_set(err, STATUS_USAGE, NULL, "-p", ERROR_NO_OFFSET, "0, expected at least one token");
    }
    TRY(parse_on_one(arguments->on, &bench->source, err));
    bool unusual = !*captured || bench->source != SOURCE_ENGINE || arguments->faults.n > 0 ||
                   arguments->kernel_choices.n > 0 || arguments->n_prompt >= 0 || arguments->n >= 0;
    if (arguments->record != NULL && unusual) {
        return error_set(err, STATUS_USAGE, NULL, "--record", ERROR_NO_OFFSET,
                         "given with one of --capture, --on, --fault, --kernel, -p, -n, expected the same run for all "
                         "devices, every stage captured: only then is parity known");
    }
    if (bench->compares_capture && bench->source != SOURCE_ENGINE) {
        return error_set(err, STATUS_USAGE, NULL, "--capture", ERROR_NO_OFFSET, "both, expected the engine to run");
    }
    return STATUS_OK;
}

/* Refuses options of the other use: a kernel has no tokens, no capture and no reference side; a model's run prints no
 * programs. */
static enum status check_use(const struct arguments *arguments, struct error *err)
{
    bool of_model = arguments->n >= 0 || arguments->n_prompt >= 0 || arguments->capture || arguments->on ||
                    arguments->ops || arguments->kernel_choices.n > 0 || arguments->record != NULL;
    if (arguments->kernels && of_model) {
        return error_set(err, STATUS_USAGE, NULL, "--kernels", ERROR_NO_OFFSET,
                         "given with one of -p, -n, --capture, --ops, --on, --kernel, --record, which are a MODEL's");
    }
    if (!arguments->kernels && arguments->verbose) {
        return error_set(err, STATUS_USAGE, NULL, "-v", ERROR_NO_OFFSET, "given without --kernels");
    }
    if (!arguments->kernels && arguments->n_positional == 0) {
        return error_set(err, STATUS_USAGE, NULL, "bench", ERROR_NO_OFFSET, "no MODEL given, nor --kernels");
    }
    return STATUS_OK;
}

static enum status measure_kernels(const struct arguments *arguments, struct error *err)
{
    const struct kernel_bench_options options = {
        .words = arguments->n_positional > 0 ? arguments->positional[0] : NULL,
        .faults = arguments->faults.text,
        .n_faults = arguments->faults.n,
        .device = arguments->device,
        .quiet = !prints_text(arguments),
        .verbose = arguments->verbose,
    };
    json_t *result = NULL;
    enum status status = kernel_bench_run(&options, wants_document(arguments) ? &result : NULL, err);
    if (result == NULL) {
        return status;
    }
    TRY(write_document(result, arguments, err));
    return status;
}

/* Opens a session with room for what is measured and for what is audited. */
static enum status open_session(const struct arguments *arguments, struct model_bench *bench, bool captured,
                                struct error *err)
{
    uint32_t prefilled = bench->n_prompt > MODEL_BENCH_AUDITED_PREFILL ? bench->n_prompt : MODEL_BENCH_AUDITED_PREFILL;
    uint32_t decoded = bench->n_decoded > MODEL_BENCH_AUDITED_DECODE ? bench->n_decoded : MODEL_BENCH_AUDITED_DECODE;
    struct session_options options = {
        .engine = bench->source == SOURCE_ENGINE,
        .reference = bench->source == SOURCE_REFERENCE,
        .device = arguments->device,
        .max_positions = prefilled + decoded,
        .faults = arguments->faults.text,
        .n_faults = arguments->faults.n,
        .no_capture = !captured,
    };
    TRY(parse_kernels(arguments, options.engine, &options.kernels, err));
    double start = now_ms();
    TRY(session_open(&bench->session, arguments->positional[0], &options, err));
    bench->load_ms = now_ms() - start;
    enum status status = check_kernels(&bench->session, bench->n_prompt, bench->n_decoded, err);
    if (status != STATUS_OK) {
        session_close(&bench->session);
    }
    return status;
}

static enum status measure(const struct arguments *arguments, struct model_bench *bench, bool captured,
                           struct error *err)
{
    TRY(model_bench_measure(bench, captured, arguments->ops, err));
    if (!captured) {
        TRY(model_bench_measure_on_device(bench, err));
    }
    if (bench->compares_capture) {
        const struct decode_run run = {.engine = &bench->session.backend[SOURCE_ENGINE],
                                       .tokens = bench->tokens + bench->n_prompt,
                                       .first = bench->n_prompt,
                                       .n = bench->n_decoded};
        TRY(capture_cost_measure(&run, &bench->capture_cost, err));
    }
    const char *capture = captured ? "all" : bench->compares_capture ? "both" : "off";
    if (prints_text(arguments)) {
        model_bench_print(bench, capture);
    }
    if (arguments->record != NULL) {
        TRY(model_bench_record(bench, arguments->record, err));
    }
    if (!wants_document(arguments)) {
        return STATUS_OK;
    }
    return write_document(model_bench_json(bench, arguments->positional[0], capture), arguments, err);
}

enum status command_bench(const struct arguments *arguments, struct error *err)
{
    struct model_bench bench = {0};
    bool captured;
    TRY(check_use(arguments, err));
    if (arguments->kernels) {
        return measure_kernels(arguments, err);
    }
    TRY(parse(arguments, &bench, &captured, err));
    TRY(open_session(arguments, &bench, captured, err));
    uint32_t n_positions = bench.n_prompt + bench.n_decoded;
    bench.tokens = xmalloc(n_positions * sizeof(*bench.tokens));
    for (uint32_t i = 0; i < n_positions; i++) {
        bench.tokens[i] = model_bench_token(&bench, i);
    }
    enum status status = measure(arguments, &bench, captured, err);
    free(bench.tokens);
    session_close(&bench.session);
    return status == STATUS_OK && bench.reason[0] != '\0' ? STATUS_DIVERGED : status;
}
