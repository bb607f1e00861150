/* Command lines and debug configurations from doppler's notes, as they stand there but for the program's name: each
 * runs, or is told in one line what takes its place. What is told runs as well, and prints what the note pipes it to
 * grep for. Those with layers up to 25 or ids up to 17022 need SmolLM2; without it they are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/program.h"

#define TINY "golden/tiny-llama"
#define SMOLLM2 ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

#define DIM334                                                                                               \
    "'{\n  \"runtime\": {\n    \"debug\": {\n"                                                               \
    "      \"trace\": { \"enabled\": true, \"categories\": [\"ffn\"] },\n"                                   \
    "      \"probes\": [\n        { \"id\": \"dim334\", \"stage\": \"layer_out\", \"layers\": [0, 17, 25], " \
    "\"tokens\": [0, -1], \"dims\": [334] }\n      ]\n    }\n  }\n}'"
#define TOPK                                                                                           \
    "'{\n  \"runtime\": {\n    \"debug\": {\n"                                                         \
    "      \"trace\": { \"enabled\": true, \"categories\": [\"logits\"] },\n"                          \
    "      \"probes\": [\n        { \"id\": \"topk\", \"stage\": \"logits_final\", \"tokens\": [-1], " \
    "\"dims\": [476, 3868, 17022] }\n      ]\n    }\n  }\n}'"
#define TOPK_SHARED                                                                                        \
    "'{\n  \"runtime\": {\n    \"shared\": {\n      \"debug\": {\n"                                        \
    "        \"trace\": { \"enabled\": true, \"categories\": [\"logits\"] },\n"                            \
    "        \"probes\": [\n          { \"id\": \"topk\", \"stage\": \"logits_final\", \"tokens\": [-1], " \
    "\"dims\": [476, 3868] }\n        ]\n      }\n    }\n  }\n}'"

/* `npm run debug --` is doppler's way to call `doppler debug`, and is read so. */
static const struct line {
    const char *words;   /* after the program's name */
    const char *pattern; /* of the note's grep -E; NULL: none, or one that a healthy run does not match */
    bool large;          /* the model must be SmolLM2 */
} lines[] = {
    {"bench inference --config debug", "FINAL_HIDDEN|LAST_TOKEN|blue|Kaw|Generated", false},
    {"debug --config " TOPK_SHARED, "PROBE", true},
    {"debug", "Loader.*Shard|Loader.*Layer", false},
    {"debug", "Layer[0-9]", false},
    {"debug", "Layer", false},
    {"debug", "logits", false},
    {"debug", "top-5", false},
    {"debug", "Generated", false},
    {"debug", "FINAL_HIDDEN", false},
    {"debug", "LAST_TOKEN", false},
    {"debug --config debug", "TRACE", false},
    {"bench inference --config bench --headed", "tok/s", false},
    {"bench inference --config debug", "time=.*ms", false},
    {"bench inference --config bench --profile-dir .benchmark-cache", "tok/s", false},
    {"bench inference --config bench --profile-dir .benchmark-cache-cold", "tok/s", false},
    {"test inference --perf", "tok/s", false},
    {"test inference --config debug", "TRACE:kernels", false},
    {"bench inference --prompt xs --debug", "FINAL_HIDDEN|LAST_TOKEN|blue|Kaw|Generated", false},
    {"bench inference --prompt xs --debug", "Layer[0-9]", false},
    {"bench inference --prompt xs --debug", "Logits: min=", false},
    {"bench inference --prompt xs --debug", "MATMUL|variant=", false},
    {"bench inference --prompt xs --debug --verbose", "Loader", false},
    {"bench inference --prompt xs --headed", "tok/s", false},
    {"bench inference --prompt xs --profile-dir .benchmark-cache", "tok/s", false},
    {"bench inference --prompt xs --debug", "LAYER|FINAL|logits|Generated", false},
    {"debug -m MODEL", "Done", false},
    {"debug -m MODEL", "Config", false},
    {"debug -m MODEL", NULL, false}, /* Error|NaN|Inf|ANOMALY */
    {"debug -m MODEL --trace attn", "TRACE|maxAbs", false},
    {"debug -m MODEL --trace ffn", "TRACE:attn|TRACE:ffn", false},
    {"debug -m MODEL --trace logits", "TRACE:logits", false},
    {"debug -m MODEL --trace kernels", "TRACE:kernels", false},
    {"debug -m MODEL --trace kv", "TRACE:kv", false},
    {"debug -m MODEL --trace sample", "TRACE:sample", false},
    {"debug -m MODEL --trace loader", "Loader.*Shard", false},
    {"debug -m MODEL --trace all", "LAYER_OUT", false},
    {"debug -m MODEL --config " DIM334, "PROBE", true},
    {"debug -m MODEL --config " TOPK, "PROBE", true},
    {"debug --config gemma2-debug -m MODEL", "PROBE", false},
    {"debug -m MODEL --skip-load --trace ffn", "Done", false},
    {"debug -m MODEL --skip-load", "Done", false},
    {"debug -m MODEL --trace ffn --trace-layers 0,12,25", "LAYER_OUT layer=25", true},
};

/* Where the note gives a configuration alone: keys with values, and objects that a function takes. */
static const struct line configs[] = {
    {"runtime.shared.debug.logLevel.defaultLogLevel=info", "Config .*log=info", false},
    {"runtime.shared.debug.logLevel.defaultLogLevel=verbose", "Loader Shard .*source=.*ms=", false},
    {"runtime.shared.debug.logLevel.defaultLogLevel=silent", "Done", false},
    {"runtime.shared.debug.trace.enabled=true", "trace=on", false},
    {"'runtime.shared.debug.trace.categories=[\"kernels\",\"attn\"]'", "trace=off", false},
    {"'runtime.shared.debug.trace.categories=[\"all\",\"-buffers\"]'", "Config", false},
    {"runtime.shared.benchmark.run.debug=true", "TRACE:sample", false},
    {"'{ \"debug\": true, \"maxTokens\": 10 }'", "LAYER_OUT layer=3", false},
    {"'{ \"debug\": true, \"debugLayers\": [0, 12, 25] }'", "LAYER_OUT layer=12", true},
    {"bench", "log=info trace=off", false},
    {"debug", "log=verbose trace=on", false},
};

static void shell(struct outcome *outcome, const char *command)
{
    const char *const arguments[] = {"-c", command, NULL};
    program_run(outcome, "/bin/sh", "", arguments);
}

/* The text with each `from` replaced; malloc'ed. */
static char *replace(const char *text, const char *from, const char *to)
{
    char *all = calloc(strlen(text) * 8 + 1024, 1), *end = all;
    for (const char *at; (at = strstr(text, from)) != NULL; text = at + strlen(from)) {
        end += sprintf(end, "%.*s%s", (int)(at - text), text, to);
    }
    strcpy(end, text);
    return all;
}

/* The command that the program tells in the place of a line; malloc'ed. NULL: it told none in one line. */
static char *told(const char *words)
{
    char *command = calloc(strlen(words) + 1024, 1);
    struct outcome outcome;
    sprintf(command, "%s %s", LOCKSTEP_PROGRAM, words);
    shell(&outcome, command);
    free(command);
    const char *place = strstr(outcome.err, "in its place: lockstep "), *end = strchr(outcome.err, '\n');
    place = place != NULL ? place : strstr(outcome.err, "come from: lockstep ");
    char *found = NULL;
    if (outcome.status == 2 && outcome.out[0] == '\0' && place != NULL && end != NULL && end[1] == '\0') {
        found = strdup(strstr(place, ": ") + strlen(": "));
        found[strcspn(found, "\n")] = '\0';
        char *remark = strstr(found, " (");
        if (remark != NULL && remark[strlen(remark) - 1] == ')') {
            *remark = '\0';
        }
    }
    outcome_free(&outcome);
    return found;
}

/* Runs a command of lockstep with a small model, or SmolLM2, in MODEL's place and a few ids in TEXT's. Returns whether
 * it succeeds and a line matches the pattern. */
static bool prints(const char *command, const char *pattern, bool large)
{
    char *with_model = replace(command, "MODEL", large ? SMOLLM2 : TINY);
    char *with_ids =
        replace(with_model, "--prompt TEXT", large ? "--ids 504,2380 -n 1" : "--ids 1,2,3 -n 2 --on reference");
    char *line = calloc(strlen(with_ids) + 1024, 1);
    bool bench = strncmp(command, "lockstep bench", strlen("lockstep bench")) == 0;
    struct outcome outcome;
    sprintf(line, "%s%s%s 2>/dev/null | grep -E '%s'", LOCKSTEP_PROGRAM, with_ids + strlen("lockstep"),
            bench ? " -p 2 -n 1 --on reference" : "", pattern != NULL ? pattern : "");
    shell(&outcome, line);
    bool matches = outcome.status == 0 && outcome.out[0] != '\0';
    if (!matches) {
        fprintf(stderr, "nothing matches: %s\n", line);
    }
    outcome_free(&outcome);
    free(line);
    free(with_ids);
    free(with_model);
    return matches;
}

static bool skips(const struct line *line)
{
    return line->large && access(SMOLLM2, R_OK) != 0;
}

static void each_line_is_told_and_its_place_runs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char *command = told(lines[i].words);
        if (command == NULL) {
            fail_msg("lockstep %s: not told what takes its place", lines[i].words);
        }
        assert_true(skips(&lines[i]) || prints(command, lines[i].pattern, lines[i].large));
        free(command);
    }
}

static void each_configuration_runs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
        char command[1024];
        snprintf(command, sizeof(command), "lockstep run MODEL --prompt TEXT --config %s", configs[i].words);
        assert_true(skips(&configs[i]) || prints(command, configs[i].pattern, configs[i].large));
    }
}

/* Kernel tests are `bench --kernels`, which takes longer than a test may: its words are checked alone. */
static void kernel_tests_are_told(void **state)
{
    (void)state;
    static const char *const kernels[][2] = {
        {"test kernels --perf", "lockstep bench --kernels"},
        {"test correctness", "lockstep bench --kernels"},
        {"test correctness --filter q4k", "lockstep bench --kernels Q4_K"},
        {"convert MODEL --quantize f16", "lockstep run MODEL --prompt TEXT --weights f16"}};
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        char *command = told(kernels[i][0]);
        assert_non_null(command);
        assert_string_equal(command, kernels[i][1]);
        free(command);
    }
}

/* The twins: a line that nothing takes the place of, and a pattern that no line matches, are found. */
static void other_lines_are_not_told(void **state)
{
    (void)state;
    static const char *const unknown[] = {"bench inferences", "test weather", "debug MODEL --frobnicate",
                                          "debug --config debug --interactive " TINY " --frobnicate", "trace -m MODEL"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_null(told(unknown[i]));
    }
    char *command = told("debug -m MODEL --trace ffn");
    assert_false(prints(command, "TRACE:attn", false));
    assert_false(prints("lockstep run MODEL --prompt TEXT --config weather", "Done", false));
    assert_false(prints("lockstep run MODEL --prompt TEXT --config '{\"debug\": {\"layres\": []}}'", "Done", false));
    free(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_is_told_and_its_place_runs),
        cmocka_unit_test(each_configuration_runs),
        cmocka_unit_test(kernel_tests_are_told),
        cmocka_unit_test(other_lines_are_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
