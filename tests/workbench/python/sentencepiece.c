/* A GGUF file's tokenizer of type "llama" (SentencePiece's BPE): Llama's way, with a space before a text, and Gemma's
 * way, without. If SentencePiece is installed, tests/check_sentencepiece.py compares with the library itself. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/expect.h"
#include "tests/support/gguf_doc.h"
#include "workbench/python/python.h"

static char folder[256], path[512];
static struct gguf_doc doc;
static int n_files;

#define BLANK "\u2581"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, BYTE = 6 };

static struct word {
    const char *text;
    int32_t type;
    float score;
} words[] = {
    {"<unk>", UNKNOWN, 0},       {"<s>", CONTROL, 0},     {"</s>", CONTROL, 0},      {"<0xC3>", BYTE, 0},
    {"<0xA9>", BYTE, 0},         {"<0xF0>", BYTE, 0},     {"<0x9F>", BYTE, 0},       {"<0x98>", BYTE, 0},
    {"<0x80>", BYTE, 0},         {BLANK, NORMAL, -20},    {"h", NORMAL, -21},        {"e", NORMAL, -22},
    {"l", NORMAL, -23},          {"o", NORMAL, -24},      {"w", NORMAL, -25},        {"he", NORMAL, -3},
    {"ll", NORMAL, -5},          {BLANK "w", NORMAL, -2}, {"hell", NORMAL, -6},      {"hello", NORMAL, -7},
    {BLANK "hello", NORMAL, -8}, {"lo", NORMAL, -1},      {BLANK BLANK, NORMAL, -4}, {"<turn>", USER_DEFINED, 0},
};
enum { N_WORDS = sizeof(words) / sizeof(words[0]), LO = 21, BLANKS = 22 };

static void add_array(const char *key, uint32_t type, uint64_t n)
{
    struct gguf_doc_value *value = gguf_doc_value(&doc, key);
    value->type = 9;
    buffer_u32(&value->bytes, type);
    buffer_u64(&value->bytes, n);
    for (uint64_t i = 0; i < n; i++) {
        buffer_add(&value->bytes, type == 6 ? (const void *)&words[i].score : (const void *)&words[i].type, 4);
    }
}

static void add_bool(const char *key, bool flag)
{
    struct gguf_doc_value *value = gguf_doc_value(&doc, key);
    value->type = 7;
    buffer_add(&value->bytes, flag ? "\1" : "", 1);
}

static int setup(void **state)
{
    (void)state;
    const char *texts[N_WORDS];
    for (int i = 0; i < N_WORDS; i++) {
        texts[i] = words[i].text;
    }
    scratch_make(folder);
    gguf_doc_llama(&doc);
    gguf_doc_string(&doc, "tokenizer.ggml.model", "llama");
    gguf_doc_strings(&doc, "tokenizer.ggml.tokens", texts, N_WORDS);
    add_array("tokenizer.ggml.token_type", 5, N_WORDS);
    add_array("tokenizer.ggml.scores", 6, N_WORDS);
    gguf_doc_u32(&doc, "tokenizer.ggml.bos_token_id", 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gguf_doc_free(&doc);
    scratch_remove(folder);
    return 0;
}

/* Writes the document to a new name each time, because tokenizers are cached by file name. */
static void write_doc(void)
{
    char name[32];
    snprintf(name, sizeof(name), "%d.gguf", n_files++);
    struct buffer bytes = gguf_doc_bytes(&doc, &(size_t){0});
    scratch_write(scratch_path(path, folder, name), bytes.bytes, bytes.size);
    buffer_free(&bytes);
}

static bool is_tokens(const struct model *model, const char *text, const char *expected)
{
    int32_t *ids;
    uint32_t n_ids;
    char list[256] = "";
    assert_int_equal(python_tokenize(model, text, &ids, &n_ids, NULL), STATUS_OK);
    for (uint32_t i = 0; i < n_ids; i++) {
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%d", i > 0 ? " " : "", ids[i]);
    }
    free(ids);
    if (strcmp(list, expected) != 0) {
        print_message("\"%s\" became %s, not %s\n", text, list, expected);
    }
    return strcmp(list, expected) == 0;
}

static bool is_text(const struct model *model, const int32_t *ids, uint32_t n_ids, const char *expected)
{
    char *text;
    assert_int_equal(python_detokenize(model, ids, n_ids, &text, NULL), STATUS_OK);
    bool same = strcmp(text, expected) == 0;
    if (!same) {
        print_message("became \"%s\", not \"%s\"\n", text, expected);
    }
    free(text);
    return same;
}

static void llamas_way(void **state)
{
    (void)state;
    struct model model;
    write_doc();
    expect_opens(&model, path, "llama");
    assert_true(is_tokens(&model, "hello", "1 9 15 12 21")); /* "lo" has the highest score */
    assert_true(is_tokens(&model, "hell w", "1 9 18 17"));
    assert_true(is_tokens(&model, " w", "1 9 17")); /* the text's own space and the one before it */
    assert_true(is_tokens(&model, "h<turn>hell</s>w", "1 9 10 23 9 18 2 17"));
    assert_true(is_tokens(&model, "\u00e9\U0001f600", "1 9 3 4 5 6 7 8"));
    assert_true(is_tokens(&model, "z", "1 9 0"));
    assert_false(is_tokens(&model, "hello", "1 20"));
    const int32_t ids[] = {20, 17, 3, 4, 5, 6, 7, 8, 22, 19};
    assert_true(is_text(&model, ids, 10, " hello w\u00e9\U0001f600  hello"));
    assert_true(is_text(&model, ids, 3, " hello w\uFFFD"));
    model_close(&model);
}

/* The same words with other scores give other tokens. */
static void scores_decide(void **state)
{
    (void)state;
    struct model model;
    struct gguf_doc_value *scores = gguf_doc_value(&doc, "tokenizer.ggml.scores");
    const float low = -9;
    memcpy(scores->bytes.bytes + 12 + 4 * LO, &low, 4);
    write_doc();
    expect_opens(&model, path, "scores");
    assert_true(is_tokens(&model, "hello", "1 20"));
    assert_false(is_tokens(&model, "hello", "1 9 15 12 21"));
    model_close(&model);
}

static void gemmas_way(void **state)
{
    (void)state;
    struct model model;
    struct gguf_doc_value *types = gguf_doc_value(&doc, "tokenizer.ggml.token_type");
    types->bytes.bytes[12 + 4 * BLANKS] = USER_DEFINED; /* found before anything is joined */
    add_bool("tokenizer.ggml.add_space_prefix", false);
    write_doc();
    expect_opens(&model, path, "gemma");
    assert_true(is_tokens(&model, "hello", "1 15 12 21"));
    assert_true(is_tokens(&model, "  w w", "1 22 14 17"));
    assert_true(is_tokens(&model, "<turn>hell <turn> w", "1 23 18 9 23 17"));
    model_close(&model);
    add_bool("tokenizer.ggml.add_bos_token", false);
    write_doc();
    expect_opens(&model, path, "no bos");
    assert_true(is_tokens(&model, "hello", "15 12 21"));
    model_close(&model);
}

static void expect_no_tokens(const char *message)
{
    struct model model;
    struct error err;
    int32_t *ids;
    uint32_t n_ids;
    write_doc();
    expect_opens(&model, path, message);
    assert_int_equal(python_tokenize(&model, "hello", &ids, &n_ids, &err), STATUS_BAD_INPUT);
    if (!strstr(err.text, message)) {
        fail_msg("\"%s\" is not in: %s", message, err.text);
    }
    model_close(&model);
}

static void refuses_spoiled(void **state)
{
    (void)state;
    struct gguf_doc_value *scores = gguf_doc_value(&doc, "tokenizer.ggml.scores");
    const float nan = NAN;
    memcpy(scores->bytes.bytes + 12 + 4 * LO, &nan, 4);
    expect_no_tokens("tokenizer.ggml.scores: found NaN");
    scores->bytes.bytes[4]--; /* one fewer; its bytes stay */
    scores->bytes.size -= 4;
    write_doc();
    expect_refused(path, "too few scores", NULL, "tokenizer.ggml.scores @", "an f32 for each");
    gguf_doc_remove(&doc, "tokenizer.ggml.scores");
    expect_no_tokens("tokenizer.ggml.scores: missing");
    gguf_doc_string(&doc, "tokenizer.ggml.model", "t5");
    expect_no_tokens("tokenizer.ggml.model: found 't5'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(llamas_way, setup, teardown),
        cmocka_unit_test_setup_teardown(scores_decide, setup, teardown),
        cmocka_unit_test_setup_teardown(gemmas_way, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_spoiled, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    python_close();
    return failed;
}
