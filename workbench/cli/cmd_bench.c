/* lockstep bench: how fast a side runs a model, what a token costs it, and whether what it ran was right; or single
 * kernels. */
#include <stdlib.h>
#include <string.h>

#include "workbench/bench/kernel_bench.h"
#include "workbench/bench/model_bench.h"
#include "workbench/cli/command.h"
#include "workbench/cli/options.h"
#include "workbench/trace/json_file.h"

#define DEFAULT_PROMPT 32
#define DEFAULT_DECODED 16

static enum status parse(const struct arguments *arguments, struct model_bench *bench, bool *captured,
                         struct error *err)
{
    const char *capture = arguments->capture ? arguments->capture : "all";
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
    enum status status = parse_on_one(arguments->on, &bench->source, err);
    if (status == STATUS_OK && bench->compares_capture && bench->source != SOURCE_ENGINE) {
        return error_set(err, STATUS_USAGE, NULL, "--capture", ERROR_NO_OFFSET, "both, expected the engine to run");
    }
    return status;
}

/* Kernels have no tokens, no capture and no side but the engine; programs are shown of kernels alone. */
static enum status check_kind(const struct arguments *arguments, struct error *err)
{
    bool of_model =
        arguments->n >= 0 || arguments->n_prompt >= 0 || arguments->capture || arguments->on || arguments->ops;
    if (arguments->kernels && of_model) {
        return error_set(err, STATUS_USAGE, NULL, "--kernels", ERROR_NO_OFFSET,
                         "given with one of -p, -n, --capture, --ops, --on, which are a MODEL's");
    }
    if (!arguments->kernels && arguments->verbose) {
        return error_set(err, STATUS_USAGE, NULL, "-v", ERROR_NO_OFFSET, "given without --kernels");
    }
    if (!arguments->kernels && arguments->n_positional == 0) {
        return error_set(err, STATUS_USAGE, NULL, "bench", ERROR_NO_OFFSET, "no MODEL given, nor --kernels");
    }
    return STATUS_OK;
}

enum status command_bench(const struct arguments *arguments, struct error *err)
{
    enum status status = check_kind(arguments, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (arguments->kernels) {
        const struct kernel_bench_options kernels = {
            .words = arguments->n_positional > 0 ? arguments->positional[0] : NULL,
            .faults = arguments->faults,
            .n_faults = arguments->n_faults,
            .device = arguments->device,
            .json = arguments->json,
            .verbose = arguments->verbose,
        };
        return kernel_bench_run(&kernels, err);
    }
    struct model_bench bench = {0};
    bool captured;
    status = parse(arguments, &bench, &captured, err);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t positions = bench.n_prompt + bench.n_decoded;
    uint32_t prefilled = bench.n_prompt > MODEL_BENCH_AUDITED_PREFILL ? bench.n_prompt : MODEL_BENCH_AUDITED_PREFILL;
    uint32_t decoded = bench.n_decoded > MODEL_BENCH_AUDITED_DECODE ? bench.n_decoded : MODEL_BENCH_AUDITED_DECODE;
    struct session_options options = {
        .engine = bench.source == SOURCE_ENGINE,
        .reference = bench.source == SOURCE_REFERENCE,
        .device = arguments->device,
        .max_positions = prefilled + decoded,
        .faults = arguments->faults,
        .n_faults = arguments->n_faults,
        .no_capture = !captured,
    };
    status = session_open(&bench.session, arguments->positional[0], &options, err);
    if (status != STATUS_OK) {
        return status;
    }
    bench.tokens = xmalloc(positions * sizeof(*bench.tokens));
    for (uint32_t i = 0; i < positions; i++) {
        bench.tokens[i] = model_bench_token(&bench, i);
    }
    status = model_bench_measure(&bench, captured, arguments->ops, err);
    if (status == STATUS_OK && !captured) {
        status = model_bench_measure_on_device(&bench, err);
    }
    if (status == STATUS_OK && bench.compares_capture) {
        const struct decode_run run = {.engine = &bench.session.backend[SOURCE_ENGINE],
                                       .tokens = bench.tokens + bench.n_prompt,
                                       .first = bench.n_prompt,
                                       .n = bench.n_decoded};
        status = capture_cost_measure(&run, &bench.capture_cost, err);
    }
    if (status == STATUS_OK) {
        const char *capture = captured ? "all" : bench.compares_capture ? "both" : "off";
        if (!arguments->json || strcmp(arguments->json, "-") != 0) {
            model_bench_print(&bench, capture);
        }
        if (arguments->json) {
            status = json_write_file(model_bench_json(&bench, arguments->positional[0], capture), arguments->json, err);
        }
    }
    free(bench.tokens);
    session_close(&bench.session);
    return status == STATUS_OK && bench.reason[0] ? STATUS_DIVERGED : status;
}
