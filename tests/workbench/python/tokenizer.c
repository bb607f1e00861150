/* Tokenizers of the families' types: the tokens that a text becomes, those that the tokenizer's own post-processor
 * adds, and that a text printed token by token is the whole text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/folder_doc.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"
#include "workbench/python/python.h"

SCRATCH_FIXTURE

/* A model with a tokenizer of this kind. */
static void open_with_tokenizer(struct model *model, const char *kind)
{
    char path[512];
    struct folder_doc doc;
    struct outcome outcome;
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    folder_doc_free(&doc);
    const char *const arguments[] = {"tests/make_tokenizer.py", kind, scratch_path(path, folder, "tokenizer.json"),
                                     NULL};
    program_run(&outcome, LOCKSTEP_SOURCE_DIR "/.venv/bin/python3", "", arguments);
    assert_string_equal(outcome.err, "");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    assert_int_equal(model_open(model, folder, NULL), STATUS_OK);
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

/* Whether every head of the ids decodes to a head of the text, so that printed text never changes later. A head may end
 * with U+FFFD in place of an incomplete character. */
static bool grows_to(const struct model *model, const int32_t *ids, uint32_t n_ids, const char *text)
{
    bool grows = true;
    for (uint32_t n = 1; n <= n_ids; n++) {
        char *head;
        assert_int_equal(python_detokenize(model, ids, n, &head, NULL), STATUS_OK);
        size_t length = strlen(head);
        bool broken = length >= 3 && strcmp(head + length - 3, "\uFFFD") == 0;
        length -= broken ? 3 : 0;
        grows = grows && strncmp(head, text, length) == 0 && (n < n_ids || (strlen(text) == length && !broken));
        free(head);
    }
    return grows;
}

static void gemmas_type(void **state)
{
    (void)state;
    struct model model;
    open_with_tokenizer(&model, "gemma");
    assert_true(is_tokens(&model, "hello well", "2 20 21 13 18"));
    assert_true(is_tokens(&model, "  w", "2 11 21")); /* by the merges' rank */
    assert_true(is_tokens(&model, "  h", "2 22 12"));
    assert_true(is_tokens(&model, "<start_of_turn>hello", "2 4 20"));
    assert_true(is_tokens(&model, "h\u00e9\U0001f600", "2 12 5 6 7 8 9 10"));
    assert_true(is_tokens(&model, "hello hello hello hello", "2 20 11 20 11 20 11 20")); /* the file says: cut to 6 */
    assert_true(is_tokens(&model, "z", "2 3"));
    assert_false(is_tokens(&model, "hello", "20"));
    const int32_t ids[] = {20, 21, 5, 6, 7, 8, 9, 10, 5, 6, 11, 12};
    assert_true(grows_to(&model, ids, 12, "hello w\u00e9\U0001f600\u00e9 h"));
    assert_false(grows_to(&model, ids, 7, "hello w\u00e9\U0001f600"));
    assert_false(grows_to(&model, ids, 12, "hello w\u00e9\u00e9 h"));
    model_close(&model);
}

static void gpt_oss_type(void **state)
{
    (void)state;
    struct model model;
    open_with_tokenizer(&model, "gpt-oss");
    assert_true(is_tokens(&model, "HelloWorld", "20 4 3 5 2 6")); /* "oW" is a word, across o200k's border */
    assert_true(is_tokens(&model, "1234", "23 10"));              /* three digits, then one: "34" is a word too */
    assert_true(is_tokens(&model, "Hello's World<|end|>", "20 25 26 3 5 2 6 16"));
    assert_true(is_tokens(&model, "\u00e9", "14 15"));
    assert_false(is_tokens(&model, "HelloWorld", "2 20 4 3 5 2 6"));
    const int32_t ids[] = {20, 26, 14, 15, 25, 16};
    assert_true(grows_to(&model, ids, 6, "Hello W\u00e9's<|end|>"));
    assert_false(grows_to(&model, ids, 3, "Hello W\u00e9"));
    model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gemmas_type, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gpt_oss_type, set_up, tear_down),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    python_close();
    return failed;
}
