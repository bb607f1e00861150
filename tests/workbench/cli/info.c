/* Tests of `lockstep info`: its text, its JSON, and how it refuses what is no model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "tests/support/folder_doc.h"
#include "tests/support/gguf_doc.h"
#include "tests/support/program.h"

SCRATCH_FOLDER

static int set_up(void **state)
{
    static struct folder_doc doc;
    (void)state;
    scratch_make(folder);
    folder_doc_gemma3(&doc);
    folder_doc_write(&doc, folder);
    folder_doc_free(&doc);
    return 0;
}

static void info(struct outcome *outcome, const char *model, const char *json)
{
    const char *const arguments[] = {"info", model, json ? "--json" : NULL, json, NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, "", arguments);
}

static void prints_the_plan(void **state)
{
    (void)state;
    struct outcome outcome;
    info(&outcome, folder, NULL);
    assert_int_equal(outcome.status, 0);
    assert_string_equal(outcome.err, "");
    expect_text(outcome.out, ": gemma3_text, 3 layers, 41 tensors, F32\n");
    expect_text(outcome.out, "window 5 in 2 layers");
    expect_text(outcome.out, "plan: 61 steps\n");
    expect_text(outcome.out, "-- layers 0-1\n");
    expect_text(outcome.out, "-- layers 2\n");
    expect_text(outcome.out, "  attn_resid      add             32  residual post_attn_norm\n");
    expect_no_text(outcome.out, "notes");
    outcome_free(&outcome);
}

static void names_a_gguf(void **state)
{
    (void)state;
    static struct gguf_doc doc;
    struct outcome outcome;
    char path[512];
    size_t n_header;
    gguf_doc_llama(&doc);
    gguf_doc_u32(&doc, "llama.no_such_key", 1);
    struct buffer file = gguf_doc_bytes(&doc, &n_header);
    scratch_write(scratch_path(path, folder, "small.gguf"), file.bytes, file.size);
    info(&outcome, path, NULL);
    assert_int_equal(outcome.status, 0);
    assert_int_equal(strncmp(outcome.out, "model  small.gguf: llama, 2 layers, 20 tensors, Q4_1\n", 52), 0);
    expect_text(outcome.out, "llama.no_such_key is not known here");
    outcome_free(&outcome);
    file.bytes[0] = 'g';
    scratch_write(path, file.bytes, file.size);
    info(&outcome, path, NULL);
    assert_int_equal(outcome.status, 3);
    assert_string_equal(outcome.out, "");
    expect_one_line(outcome.err, "small.gguf: magic @0: not a GGUF file");
    outcome_free(&outcome);
    buffer_free(&file);
    gguf_doc_free(&doc);
}

static void writes_json(void **state)
{
    (void)state;
    struct outcome outcome;
    info(&outcome, folder, "-");
    assert_int_equal(outcome.status, 0);
    assert_int_equal(outcome.out[0], '{'); /* nothing but the JSON */
    expect_text(outcome.out, "\"format\": \"lockstep-info\"");
    expect_text(outcome.out, "\"norm_eps\": 1e-6");
    expect_text(outcome.out, "\"name\": \"model.layers.2.self_attn.q_norm.weight\"");
    expect_text(outcome.out, "\"stage\": \"logits_final\"");
    outcome_free(&outcome);
    info(&outcome, folder, "/nonexistent-folder/info.json");
    assert_int_equal(outcome.status, 5);
    expect_one_line(outcome.err, "/nonexistent-folder/info.json");
    outcome_free(&outcome);
}

/* Mixtures of experts and each kind of rope are described. */
static void names_ropes_and_experts(void **state)
{
    (void)state;
    struct outcome outcome;
    info(&outcome, LOCKSTEP_SOURCE_DIR "/golden/same/gpt-oss-bf16.gguf", NULL);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "  experts    5, 2 a token, swiglu limit 7, alpha 1.702\n");
    expect_text(outcome.out, "yarn factor 8 of 32 positions, from 1 to 16, cos and sin x 1.20794, not truncated\n");
    outcome_free(&outcome);
    info(&outcome, LOCKSTEP_SOURCE_DIR "/golden/same/llama3-rope-bf16.gguf", NULL);
    expect_text(outcome.out, "llama3 factor 8 of 128 positions, from 1 to 4\n");
    expect_no_text(outcome.out, "experts");
    outcome_free(&outcome);
    info(&outcome, LOCKSTEP_SOURCE_DIR "/golden/same/llama3-rope-bf16.gguf", "-");
    expect_text(outcome.out, "\"type\": \"llama3\"");
    expect_text(outcome.out, "\"original\": 128.0");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(prints_the_plan, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_a_gguf, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_ropes_and_experts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_json, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
