/* A config.json with one wrong number, or the right one beside an engine that has another: the golden's audit says
 * which number it is, and what the golden was made with. Needs neither torch nor a device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/report.h"
#include "tests/support/scratch.h"

SCRATCH_FIXTURE

static const struct {
    const char *model, *key, *wrong; /* of config.json; wrong: JSON. key "a.b.c": nested */
    json_int_t layer;                /* -1: outside the layers */
    const char *stage, *fault, *text;
} numbers[] = {
    {"tiny-llama", "rms_norm_eps", "1e-3", 0, "attn_norm", "wrong-eps", "rms_norm_eps is 1e-05 where MODEL has 0.001"},
    {"tiny-llama", "rope_parameters.rope_theta", "5e4", 0, "q_rope", "wrong-rope-theta",
     "rope_theta is 10000 where MODEL has 50000"},
    {"tiny-gemma3", "rope_parameters.full_attention.rope_theta", "5e5", 2, "q_rope", "wrong-rope-theta",
     "rope_theta is 1e+06 where MODEL has 500000"},
    {"tiny-gemma3", "rope_parameters.full_attention",
     "{\"rope_type\": \"linear\", \"factor\": 8.0, \"rope_theta\": 1e6}", 2, "q_rope", "wrong-rope-type",
     "rope is not scaled where MODEL has a rope scaling"},
    {"tiny-gemma2", "sliding_window", "3", 0, "attn_out", "wrong-sliding-window",
     "sliding_window is 6 where MODEL has 3"},
    {"tiny-gemma2", "sliding_window", "9", 0, "attn_out", "wrong-sliding-window",
     "sliding_window is 6 where MODEL has 9"},
    {"tiny-gemma2", "query_pre_attn_scalar", "100", 0, "attn_out", "query-scale",
     "scores are scaled by 1/sqrt(head_dim)"},
    {"tiny-gemma2", "attn_logit_softcapping", "30.0", 0, "attn_out", "wrong-attention-softcap",
     "attn_logit_softcapping is 5 where MODEL has 30"},
    {"tiny-gemma2", "attn_logit_softcapping", "null", 0, "attn_out", "wrong-attention-softcap",
     "attn_logit_softcapping is 5 where MODEL has none"},
    {"tiny-gemma2", "final_logit_softcapping", "50.0", -1, "logits_final", "wrong-final-softcap",
     "final_logit_softcapping is 8 where MODEL has 50"},
    {"tiny-gpt-oss", "swiglu_alpha", "1.5", 0, "moe_act", "wrong-swiglu-alpha",
     "swiglu_alpha is 1.702 where MODEL has 1.5"},
    {"tiny-gpt-oss", "rope_parameters.factor", "8.0", 0, "q_rope", "wrong-rope-factor",
     "rope scaling's factor is 4 where MODEL has 8"},
    {"tiny-gpt-oss", "rope_parameters",
     "{\"rope_type\": \"yarn\", \"factor\": 16.0, \"original_max_position_embeddings\": 512, \"rope_theta\": 150000.0, "
     "\"beta_fast\": 32.0, \"beta_slow\": 1.0, \"truncate\": false}",
     0, "q_rope", "wrong-rope-factor",
     "rope scaling's factor is 4 where MODEL has 16, and rope scaling's original_max_position_embeddings is 64 where "
     "MODEL has 512"},
    {"tiny-gpt-oss", "rope_parameters",
     "{\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 64, \"rope_theta\": 150000.0, "
     "\"beta_fast\": 8.0, \"beta_slow\": 3.0, \"truncate\": false}",
     0, "q_rope", "wrong-rope-high", "low_freq_factor (YaRN: beta_slow) is 1 where MODEL has 3"},
};

/* config.json of a small model with one value replaced; model.safetensors is that of golden/. */
static void write_model(const char *model, const char *key, const char *json)
{
    char path[512], name[64], target[512];
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/%s/config.json", model);
    json_t *config = json_load_file(path, 0, NULL), *at = config;
    assert_non_null(config);
    snprintf(name, sizeof(name), "%s", key);
    char *last = name;
    for (char *dot; (dot = strchr(last, '.')); last = dot + 1) {
        *dot = '\0';
        at = json_object_get(at, last);
        assert_non_null(at);
    }
    assert_int_equal(json_object_set_new(at, last, json_loads(json, JSON_DECODE_ANY, NULL)), 0);
    assert_int_equal(json_dump_file(config, scratch_path(path, folder, "config.json"), 0), 0);
    json_decref(config);
    snprintf(target, sizeof(target), LOCKSTEP_SOURCE_DIR "/golden/%s/model.safetensors", model);
    (void)unlink(scratch_path(path, folder, "model.safetensors"));
    assert_int_equal(symlink(target, path), 0);
}

static void wrong_numbers_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct outcome outcome;
        char golden[128];
        print_message("%s: %s %s\n", numbers[i].model, numbers[i].key, numbers[i].wrong);
        write_model(numbers[i].model, numbers[i].key, numbers[i].wrong);
        snprintf(golden, sizeof(golden), "golden/%s.h5", numbers[i].model);
        RUN(&outcome, 1, "audit", folder, golden, "--json", "-");
        json_t *report = parse_report(&outcome);
        const json_t *first = json_object_get(report, "first_divergence"), *layer = json_object_get(first, "layer");
        const json_t *diagnosis = json_array_get(json_object_get(report, "diagnosis"), 0);
        assert_string_equal(text_at(first, "stage"), numbers[i].stage);
        assert_int_equal(json_is_null(layer) ? -1 : json_integer_value(layer), numbers[i].layer);
        assert_string_equal(text_at(diagnosis, "fault"), numbers[i].fault);
        assert_string_equal(text_at(diagnosis, "how"), "reproduced");
        expect_text(text_at(diagnosis, "text"), numbers[i].text);
        json_decref(report);
        outcome_free(&outcome);
    }
}

/* The twins: the right number passes; and where a value is off besides, no number explains all rows. */
static void no_number_explains_more(void **state)
{
    (void)state;
    struct outcome outcome;
    char path[512];
    write_model("tiny-llama", "rope_parameters.rope_theta", "1e4");
    RUN(&outcome, 0, "audit", folder, "golden/tiny-llama.h5");
    outcome_free(&outcome);
    write_model("tiny-llama", "rope_parameters.rope_theta", "5e4");
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    struct trace_stage *stage = stage_at(&small.golden, 0, STAGE_q_rope);
    stage->rows[5 * stage->width + 3] += 0.01f;
    assert_int_equal(trace_write(&small.golden, scratch_path(path, folder, "spoiled.h5"), NULL), STATUS_OK);
    small_close(&small);
    RUN(&outcome, 1, "audit", folder, path, "--json", "-");
    json_t *report = parse_report(&outcome);
    const json_t *diagnosis = json_array_get(json_object_get(report, "diagnosis"), 0);
    const char *stage_of_it = text_at(json_object_get(report, "first_divergence"), "stage");
    assert_string_equal(stage_of_it, "q_rope");
    assert_false(strcmp(text_at(diagnosis, "fault"), "wrong-rope-theta") == 0 &&
                 strcmp(text_at(diagnosis, "stage"), "q_rope") == 0 && integer_at(diagnosis, "layer") == 0);
    json_decref(report);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrong_numbers_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_number_explains_more, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
