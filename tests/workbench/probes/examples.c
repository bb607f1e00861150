/* Probe and trace configurations from doppler's notes, unchanged: dim 334 of layers 0, 17 and 25, logits of ids up to
 * 17022. They need SmolLM2; without it the test is skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define SMOLLM2 ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

static const struct {
    const char *preset, *json; /* one of the two */
    const char *there[6];      /* beginnings of lines, in this order */
    const char *absent;
} examples[] = {
    {NULL,
     "{\n"
     "  \"runtime\": {\n"
     "    \"shared\": {\n"
     "      \"debug\": {\n"
     "        \"trace\": { \"enabled\": true, \"categories\": [\"logits\"] },\n"
     "        \"probes\": [\n"
     "          { \"id\": \"topk\", \"stage\": \"logits_final\", \"tokens\": [-1], \"dims\": [476, 3868] }\n"
     "        ]\n"
     "      }\n"
     "    }\n"
     "  }\n"
     "}",
     {"FINAL_HIDDEN token=5", "PROBE id=topk token=5 dim=476 engine=", "PROBE id=topk token=5 dim=3868 engine=",
      "TRACE:logits stage=logits_final token=5", "Done"},
     "TRACE:ffn"},
    {NULL,
     "{\n"
     "  \"runtime\": {\n"
     "    \"debug\": {\n"
     "      \"trace\": { \"enabled\": true, \"categories\": [\"ffn\"] },\n"
     "      \"probes\": [\n"
     "        { \"id\": \"dim334\", \"stage\": \"layer_out\", \"layers\": [0, 17, 25], \"tokens\": [0, -1], \"dims\": "
     "[334] }\n"
     "      ]\n"
     "    }\n"
     "  }\n"
     "}",
     {"PROBE id=dim334 layer=0 token=0 dim=334 engine=", "PROBE id=dim334 layer=0 token=5 dim=334 engine=",
      "PROBE id=dim334 layer=17 token=0 dim=334 engine=", "PROBE id=dim334 layer=25 token=5 dim=334 engine=", "Done"},
     "TRACE:attn"},
    {NULL,
     "{\n"
     "  \"runtime\": {\n"
     "    \"debug\": {\n"
     "      \"trace\": { \"enabled\": true, \"categories\": [\"logits\"] },\n"
     "      \"probes\": [\n"
     "        { \"id\": \"topk\", \"stage\": \"logits_final\", \"tokens\": [-1], \"dims\": [476, 3868, 17022] }\n"
     "      ]\n"
     "    }\n"
     "  }\n"
     "}",
     {"PROBE id=topk token=5 dim=476 engine=", "PROBE id=topk token=5 dim=3868 engine=",
      "PROBE id=topk token=5 dim=17022 engine=", "Done"},
     "TRACE:ffn"},
    {"gemma2-debug",
     NULL,
     {"PROBE id=topk token=5 dim=476 engine=", "PROBE id=topk token=5 dim=17022 engine=", "Output ", "Done"},
     "TRACE:ffn"},
    {NULL,
     "{\"runtime\": {\"shared\": {\"debug\": {\"trace\": {\"enabled\": true, \"categories\": [\"all\", \"-buffers\"]}, "
     "\"layers\": [0, 12, 25]}}}}",
     {"TRACE:loader", "LAYER_OUT layer=0 token=5 maxAbs=", "LAYER_OUT layer=12 token=5 maxAbs=",
      "LAYER_OUT layer=25 token=5 maxAbs=", "TRACE:sample", "Done"},
     "TRACE:buffers"},
};

static void they_run_as_they_stand(void **state)
{
    (void)state;
    char folder[256], path[512];
    if (access(SMOLLM2, R_OK) != 0) {
        print_message(SMOLLM2 " is not there (./check fetches it): its probes are skipped\n");
        skip();
    }
    scratch_make(folder);
    scratch_path(path, folder, "config.json");
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        struct outcome outcome;
        if (examples[i].json != NULL) {
            scratch_write(path, examples[i].json, strlen(examples[i].json));
        }
        const char *const run[] = {"run",
                                   SMOLLM2,
                                   "--prompt",
                                   "The color of the sky is",
                                   "-n",
                                   "1",
                                   examples[i].json != NULL ? "--config" : "--preset",
                                   examples[i].json != NULL ? path : examples[i].preset,
                                   NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
        assert_string_equal(outcome.err, "");
        assert_int_equal(outcome.status, 0);
        const char *at = outcome.out;
        for (size_t k = 0; k < 6 && examples[i].there[k] != NULL; k++) {
            char line[128];
            snprintf(line, sizeof(line), "\n%s", examples[i].there[k]);
            expect_text(at, line);
            at = strstr(at, line) + 1;
        }
        expect_no_text(outcome.out, examples[i].absent);
        outcome_free(&outcome);
    }
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_run_as_they_stand)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
