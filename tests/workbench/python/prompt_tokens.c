/* The tokens that a prompt becomes: by the tokenizer in a GGUF file, by a folder's tokenizer.json; and tokenizers that
 * are refused in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/folder_doc.h"
#include "tests/support/gguf_doc.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

SCRATCH_FIXTURE

/* The text must become these tokens, as `where` at the prompt shows them. */
static void expect_tokens(const char *model, const char *text, const char *tokens)
{
    const char *const arguments[] = {"debug", model, "--prompt", text, "--on", "reference", NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "where\n", arguments);
    assert_string_equal(outcome.err, "");
    expect_text(outcome.out, tokens);
    outcome_free(&outcome);
}

/* A prompt on this model must end with this exit status and one line that holds the message. */
static void expect_refused_tokens(const char *model, int status, const char *message)
{
    const char *const arguments[] = {"run", model, "--prompt", "ab", "-n", "1", "--on", "reference", NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, status);
    expect_one_line(outcome.err, message);
    outcome_free(&outcome);
}

/* A byte-level BPE of twelve tokens; \u0120 is a space, \u00c3 and \u00a9 are the bytes of e with an acute. */
static void add_tokenizer(struct gguf_doc *doc, const char *pre)
{
    static const char *const tokens[] = {"<s>", "a", "b",  "\u0120",  "ab",     "\u0120a",
                                         "1",   "2", "12", "\u0120b", "\u00c3", "\u00a9"};
    static const char *const merges[] = {"a b", "\u0120 a", "1 2", "\u0120 b"};
    gguf_doc_string(doc, "tokenizer.ggml.model", "gpt2");
    gguf_doc_string(doc, "tokenizer.ggml.pre", pre);
    gguf_doc_strings(doc, "tokenizer.ggml.tokens", tokens, 12);
    gguf_doc_strings(doc, "tokenizer.ggml.merges", merges, 4);
    struct gguf_doc_value *types = gguf_doc_value(doc, "tokenizer.ggml.token_type");
    types->type = 9;
    buffer_u32(&types->bytes, 5); /* i32 */
    buffer_u64(&types->bytes, 12);
    for (uint32_t i = 0; i < 12; i++) {
        buffer_u32(&types->bytes, i == 0 ? 3 : 1); /* control, normal */
    }
    gguf_doc_u32(doc, "tokenizer.ggml.bos_token_id", 0);
}

/* Writes the file into the folder and frees the document. Returns path. */
static const char *write_gguf(struct gguf_doc *doc, char path[512], const char *name)
{
    gguf_doc_write(doc, scratch_path(path, folder, name));
    gguf_doc_free(doc);
    return path;
}

static void a_gguf_has_its_tokenizer(void **state)
{
    (void)state;
    char path[512];
    struct gguf_doc doc;
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "smollm");
    write_gguf(&doc, path, "smollm.gguf");
    expect_tokens(path, "ab 12", "tokens 4 3 6 7\n");         /* digits one by one, whatever the merges say */
    expect_tokens(path, "a <s>b ab", "tokens 1 3 0 2 3 4\n"); /* <s> is a control token */
    expect_tokens(path, "\u00e9", "tokens 10 11\n");
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "gpt-2");
    struct gguf_doc_value *add_bos = gguf_doc_value(&doc, "tokenizer.ggml.add_bos_token");
    add_bos->type = 7; /* bool */
    buffer_add(&add_bos->bytes, "\1", 1);
    write_gguf(&doc, path, "gpt2.gguf");
    expect_tokens(path, "ab 12", "tokens 0 4 3 8\n");
}

static void unknown_tokenizers_are_refused(void **state)
{
    (void)state;
    char path[512];
    struct gguf_doc doc;
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "viking");
    expect_refused_tokens(write_gguf(&doc, path, "viking.gguf"), 3, "tokenizer.ggml.pre: found 'viking', known are");
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "smollm");
    gguf_doc_string(&doc, "tokenizer.ggml.model", "rwkv");
    expect_refused_tokens(write_gguf(&doc, path, "rwkv.gguf"), 3, "tokenizer.ggml.model: found 'rwkv'");
    static const char *const merges[] = {"a b", "a z"};
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "smollm");
    gguf_doc_strings(&doc, "tokenizer.ggml.merges", merges, 2);
    expect_refused_tokens(write_gguf(&doc, path, "merges.gguf"), 3, "tokenizer.ggml.merges: entry 1 is");
    expect_refused_tokens("golden/tiny-gemma3", 4, "tokenizer: the model has none, expected token ids");
}

static void a_folder_has_its_tokenizer(void **state)
{
    (void)state;
    static const char json[] =
        "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, \"post_processor\": null,"
        " \"decoder\": null, \"pre_tokenizer\": {\"type\": \"Whitespace\"}, \"model\": {\"type\":"
        " \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0, \"hello\": 3, \"world\": 17}}}";
    char path[512];
    struct folder_doc doc;
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    folder_doc_free(&doc);
    scratch_write(scratch_path(path, folder, "tokenizer.json"), json, strlen(json));
    expect_tokens(folder, "hello big world", "tokens 3 0 17\n");
    scratch_write(path, json, strlen(json) / 2);
    expect_refused_tokens(folder, 3, "tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_gguf_has_its_tokenizer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_tokenizers_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_has_its_tokenizer, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
