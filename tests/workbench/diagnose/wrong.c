/* Runs of transformers with one wrong module (golden/make_wrong.py). Each is found at that module, and named where a
 * known bug fits. Needs neither torch nor a device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/report.h"

static const struct {
    const char *trace, *model;
    json_int_t layer; /* -1: outside the layers */
    const char *stage;
    const char *fault, *how; /* NULL: no known bug is this one */
} wrong[] = {
    {"norm-subtracts-mean", "tiny-llama", 2, "attn_norm", "layernorm-for-rmsnorm", "reproduced"},
    {"gelu-for-silu", "tiny-llama", 1, "ffn_act", "gelu-for-silu", "reproduced"},
    {"rope-of-neighbours", "tiny-llama", 0, "q_rope", "rope-interleaved", "reproduced"},
    {"kv-repeated-as-block", "tiny-llama", 0, "attn_out", "kv-heads-in-turn", "reproduced"},
    {"attention-unscaled", "tiny-gemma2", 1, "attn_out", "attention-unscaled", "reproduced"},
    {"mask-shows-the-next", "tiny-llama", 1, "attn_out", "mask-off-by-one", "reproduced"},
    {"bias-dropped", "tiny-gpt-oss", 1, "o_proj", "bias-missing", "reproduced"},
    {"values-of-the-layer-before", "tiny-gemma3", 3, "v_proj", "weights-of-layer-before", "reproduced"},
    {"window-ignored", "tiny-gemma2", 0, "attn_out", "wrong-sliding-window", "reproduced"},
    {"embedding-scaled-in-bf16", "tiny-gemma3", -1, "embed", "constant-multiple", "relation"},
    {"q-norm-without-offset", "tiny-gemma3", 2, "q_norm", "qk-norm-no-offset", "reproduced"},
    {"eps-too-large", "tiny-gemma2", 2, "post_attn_norm", "wrong-eps", "reproduced"},
    {"head-rows-shifted", "tiny-llama", -1, "logits", "layout", "reproduced"},
};

/* The first divergence is at the wrong module, and the first diagnosis names it. */
static void check_report(const json_t *report, size_t i)
{
    const json_t *first = json_object_get(report, "first_divergence"), *layer = json_object_get(first, "layer");
    assert_string_equal(text_at(report, "outlier"), "trace");
    assert_string_equal(text_at(first, "stage"), wrong[i].stage);
    assert_int_equal(json_is_null(layer) ? -1 : json_integer_value(layer), wrong[i].layer);
    const json_t *diagnosis = json_array_get(json_object_get(report, "diagnosis"), 0);
    if (!wrong[i].fault) {
        assert_string_not_equal(text_at(diagnosis, "how"), "reproduced");
        return;
    }
    assert_string_equal(text_at(diagnosis, "fault"), wrong[i].fault);
    assert_string_equal(text_at(diagnosis, "how"), wrong[i].how);
}

static void wrong_modules_are_found_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct outcome outcome;
        char trace[128], model[64];
        snprintf(trace, sizeof(trace), "golden/wrong/%s.h5", wrong[i].trace);
        snprintf(model, sizeof(model), "golden/%s", wrong[i].model);
        print_message("%s\n", trace);
        RUN(&outcome, 1, "audit", model, trace, "--json", "-");
        json_t *report = parse_report(&outcome);
        check_report(report, i);
        json_decref(report);
        outcome_free(&outcome);
    }
}

/* The same through --trace, beside a golden of the right model: only the trace is blamed. The twin: nothing is wrong.
 */
static void beside_a_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct outcome outcome;
        char trace[128];
        if (strcmp(wrong[i].model, "tiny-llama") != 0 || wrong[i].layer < 0 || wrong[i].layer > 1) {
            continue;
        }
        snprintf(trace, sizeof(trace), "golden/wrong/%s.h5", wrong[i].trace);
        RUN(&outcome, 1, "diff", "golden/tiny-llama", "--golden", "golden/wrong/nothing.h5", "--trace", trace, "--json",
            "-");
        json_t *report = parse_report(&outcome);
        check_report(report, i);
        json_decref(report);
        outcome_free(&outcome);
    }
    struct outcome outcome;
    RUN(&outcome, 0, "diff", "golden/tiny-llama", "--golden", "golden/wrong/nothing.h5", "--trace",
        "golden/wrong/nothing.h5");
    expect_text(outcome.out, "parity: ");
    outcome_free(&outcome);
    RUN(&outcome, 0, "audit", "golden/tiny-llama", "golden/wrong/nothing.h5");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_modules_are_found_and_named),
        cmocka_unit_test(beside_a_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
