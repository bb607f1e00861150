/* The debug configuration as a command line gives it: files, JSON, keys, presets' names, --trace, --trace-layers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define MODEL "golden/tiny-gemma2"

SCRATCH_FIXTURE

/* Runs the model on the reference with these further arguments. */
static void run(struct outcome *outcome, const char *a, const char *b, const char *c, const char *d)
{
    const char *const arguments[] = {"run", MODEL, "--ids", "1,2,3", "-n", "1", "--on", "reference", a, b, c, d, NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, "", arguments);
}

/* What a run prints, what it does not, and what it notes; NULL: nothing to look for. */
static const struct {
    const char *a, *b, *c, *d;
    const char *there, *absent, *note;
} runs[] = {
    {"--config", "{\"debug\": {\"trace\": {\"enabled\": true, \"categories\": [\"ffn\"]}}}", NULL, NULL,
     "TRACE:ffn layer=3", "TRACE:attn", NULL},
    {"--config", "debug", NULL, NULL, "log=verbose", NULL, NULL},
    {"--config", "bench", NULL, NULL, "log=info trace=off", "TRACE", NULL},
    {"--config", "gemma2-debug", NULL, NULL, "PROBE id=topk token=2 dim=476", "dim=3868", "without 3868, 17022"},
    {"--preset", "gemma2-debug", NULL, NULL, "PROBE id=topk token=2 dim=476", "dim=3868", "without 3868, 17022"},
    {"--trace", "attn", NULL, NULL, "TRACE:attn layer=0", "TRACE:ffn", NULL},
    {"--trace", "all,-attn", NULL, NULL, "TRACE:ffn layer=0", "TRACE:attn", NULL},
    {"--trace", "ffn", "--trace-layers", "1,3", "LAYER_OUT layer=3", "layer=2", NULL},
    {"--config", "debug", "--trace", "none", "log=verbose trace=off", "TRACE", NULL},
    {"--config", "debug", "--config", "{\"debug\": {\"logLevel\": {\"defaultLogLevel\": \"info\"}}}",
     "log=info trace=on", NULL, NULL},
    {"--config", "runtime.shared.debug.trace.enabled=true", "--config", "debug.trace.categories=[\"kv\"]", "TRACE:kv",
     "TRACE:attn", NULL},
    /* "debug" of runtime and of shared, in one document: the inner one is read last. */
    {"--config",
     "{\"runtime\": {\"debug\": {\"trace\": {\"enabled\": true, \"categories\": [\"attn\"]}, \"logLevel\": "
     "{\"defaultLogLevel\": \"silent\"}}, \"shared\": {\"debug\": {\"trace\": {\"categories\": [\"sample\"]}}}}}",
     NULL, NULL, "TRACE:sample", "TRACE:attn", NULL},
    {"--config", "{\"debug\": true, \"debugLayers\": [2]}", NULL, NULL, "LAYER_OUT layer=2", "LAYER_OUT layer=1", NULL},
    {"--config", "{\"debug\": {\"debugLayers\": [2], \"trace\": {\"enabled\": true, \"categories\": [\"ffn\"]}}}", NULL,
     NULL, "LAYER_OUT layer=2", "LAYER_OUT layer=1", NULL},
    {"--config", "{\"debug\": false}", NULL, NULL, "log=info trace=off", "TRACE", NULL},
    {"--config", "{\"shared\": {\"debug\": {}}, \"inference\": 1}", NULL, NULL, "Done", "TRACE",
     "\"inference\" is not about debugging"},
};

static void configurations_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        struct outcome outcome;
        run(&outcome, runs[i].a, runs[i].b, runs[i].c, runs[i].d);
        if (outcome.status != 0) {
            fail_msg("%s %s: %s", runs[i].a, runs[i].b, outcome.err);
        }
        expect_text(outcome.out, runs[i].there);
        expect_text(outcome.out, "Done");
        if (runs[i].absent != NULL) {
            expect_no_text(outcome.out, runs[i].absent);
        }
        if (runs[i].note != NULL) {
            expect_one_line(outcome.err, runs[i].note);
        } else {
            assert_string_equal(outcome.err, "");
        }
        outcome_free(&outcome);
    }
}

/* The twin: each of these is refused in one line. */
static const struct {
    const char *option, *value, *message;
    int status;
} wrong[] = {
    {"--config", "{\"debug\": {\"layres\": [1]}}", "--config: debug: unknown key \"layres\"", 3},
    {"--config", "{\"debug\": {\"layers\": [4]}}", "debug.layers: 4, expected a number from 0 to 3", 3},
    {"--config", "{\"debugLayers\": [4]}", "debug.layers: 4, expected a number from 0 to 3", 3},
    {"--config", "{\"debug\": 3}", "debug: expected an object", 3},
    {"--config", "{\"runtime\": {}}", "debug: missing", 3},
    {"--config", "{", "--config: JSON", 3},
    {"--config", "weather", "weather: cannot be read", 3},
    {"--config", "debug.trace=on", "expected an object", 3},
    {"--config", "{\"debug\": {\"probes\": [{\"stage\": \"logits_final\", \"dims\": [476, 3868, 17022]}]}}",
     "debug.probes.dims: 3868, expected a number from 0 to 511", 3}, /* a preset alone is for several models */
    {"--config", "{\"debug\": {\"probes\": [{\"stage\": \"layer_out\", \"texts\": [\"blue\"]}]}}",
     "of logits or logits_final", 3},
    {"--trace", "attn,weather", "trace: \"weather\", expected attn, ffn", 3},
    {"--trace", "", "trace: \"\", expected attn, ffn", 3},
    {"--trace-layers", "0,9", "9, expected a number from 0 to 3", 3},
    {"--trace-layers", "first", "expected all, or a list like 3,17", 2},
};

static void wrong_ones_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct outcome outcome;
        run(&outcome, wrong[i].option, wrong[i].value, NULL, NULL);
        expect_one_line(outcome.err, wrong[i].message);
        assert_int_equal(outcome.status, wrong[i].status);
        outcome_free(&outcome);
    }
}

/* Of a file and categories, presets or keys of one name, the file is meant. */
static void a_file_goes_first(void **state)
{
    (void)state;
    char command[4096], name[512], here[400];
    struct outcome outcome;
    ASSERT(realpath(".", here) != NULL);
    static const char json[] = "{\"debug\": {\"logLevel\": {\"defaultLogLevel\": \"silent\"}}}";
    scratch_write(scratch_path(name, folder, "debug"), json, strlen(json));
    snprintf(command, sizeof(command),
             "cd '%s' && cp '%s/golden/wrong/gelu-for-silu.h5' ffn && "
             "%s run '%s/" MODEL "' --ids 1,2 -n 1 --on reference --config debug && "
             "echo 'where' | %s debug '%s/golden/tiny-llama' --trace ffn && "
             "echo 'show' | %s debug '%s/golden/tiny-llama' --trace ffn --trace attn && "
             "echo 'show' | %s debug '%s/golden/tiny-llama' --ids 1,2 --on reference --trace attn,ffn",
             folder, here, LOCKSTEP_PROGRAM, here, LOCKSTEP_PROGRAM, here, LOCKSTEP_PROGRAM, here, LOCKSTEP_PROGRAM,
             here);
    const char *const arguments[] = {"-c", command, NULL};
    program_run(&outcome, "/bin/sh", "", arguments);
    assert_int_equal(outcome.status, 0);
    expect_no_text(outcome.out, "LAYER_OUT");           /* the file's level is silent */
    expect_text(outcome.out, "before position 0 of 9"); /* the trace's tokens */
    const char *both = strstr(outcome.out, "before position 0 of 9");
    expect_text(both, "log=info trace=on");
    expect_text(both, "device   none, only the reference runs");
    outcome_free(&outcome);
    const char *const misspelled[] = {"debug", MODEL, "--trace", "attn,weather", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", misspelled);
    expect_one_line(outcome.err, "trace: \"weather\", expected attn, ffn");
    outcome_free(&outcome);
    const char *const absent[] = {"debug", MODEL, "--trace", "attn.h5", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", absent);
    expect_one_line(outcome.err, "attn.h5: ");
    outcome_free(&outcome);
    const char *const twice[] = {"debug", MODEL, "--trace", "attn", "--trace", "ffn", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", twice);
    expect_one_line(outcome.err, "--trace: attn and ffn, expected at most one file and one list of categories");
    assert_int_equal(outcome.status, 2);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(configurations_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_ones_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_goes_first, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
