/* Types tests/hunt.dbg on a terminal, with a bug planted in layer 17 of the engine: the wrong word wins, one op is to
 * blame, and with that op patched from the reference the right words come. On a model of 20 layers that the test makes,
 * and on SmolLM2 (30 layers) if it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "model/error.h"
#include "tests/support/folder_doc.h"
#include "tests/support/program.h"

#define SMOLLM2 ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
#define FAULT "weight-spike@17.ffn_down"

SCRATCH_FIXTURE

/* Types the script. answers: a text that each line's answer must hold. */
static void hunt(const char *const arguments[], const char *const *answers, size_t n_answers)
{
    FILE *script = fopen("tests/hunt.dbg", "r");
    assert_non_null(script);
    struct terminal terminal;
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, arguments);
    terminal_expect(&terminal, "dbg> ");
    char line[256];
    size_t n = 0;
    while (fgets(line, sizeof(line), script) != NULL) {
        if (line[0] == '#') {
            continue;
        }
        terminal_type(&terminal, line);
        if (strcmp(line, "quit\n") == 0) {
            break;
        }
        assert_true(n < n_answers);
        terminal_expect(&terminal, answers[n++]);
        terminal_expect(&terminal, "dbg> ");
    }
    fclose(script);
    assert_int_equal(n, n_answers);
    assert_int_equal(terminal_end(&terminal), 0);
}

/* Runs the model; ids: the four tokens chosen. */
static void chosen(const char *model, const char *fault, int ids[4])
{
    struct outcome outcome;
    const char *const run[] = {"run", model, "--ids", "3,17,9,20,5", "-n", "4", fault != NULL ? "--fault" : NULL,
                               fault, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
    const char *at = strstr(outcome.out, "ids:");
    if (at == NULL || sscanf(at, "ids: %d %d %d %d", &ids[0], &ids[1], &ids[2], &ids[3]) != 4) {
        fprintf(stderr, "%s%s", outcome.out, outcome.err);
        fail();
    }
    outcome_free(&outcome);
}

/* Each id is a word; the ids blue and kaw are the words that the script asks for. */
static void write_tokenizer(const char *path, int blue, int kaw)
{
    char text[4096];
    size_t n = (size_t)sprintf(text, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, "
                                     "\"added_tokens\": [], \"normalizer\": null, \"pre_tokenizer\": null, "
                                     "\"post_processor\": null, \"decoder\": null, \"model\": {\"type\": "
                                     "\"WordLevel\", \"unk_token\": \"w0\", \"vocab\": {");
    for (int id = 0; id < 40; id++) {
        char word[16];
        snprintf(word, sizeof(word), "w%d", id);
        n += (size_t)sprintf(text + n, "%s\"%s\": %d", id > 0 ? ", " : "",
                             id == blue  ? " blue"
                             : id == kaw ? " Kaw"
                                         : word,
                             id);
    }
    n += (size_t)sprintf(text + n, "}}}");
    scratch_write(path, text, n);
}

static void twenty_layers(void **state)
{
    (void)state;
    char model[512], path[512], wrong_next[64], right_next[64], output[128];
    int right[4], wrong[4];
    struct folder_doc doc;
    assert_int_equal(mkdir(scratch_path(model, folder, "model"), 0777), 0);
    folder_doc_deep_llama(&doc, 20);
    folder_doc_write(&doc, model);
    folder_doc_free(&doc);
    chosen(model, NULL, right);
    chosen(model, FAULT, wrong);
    assert_int_not_equal(right[0], wrong[0]);
    write_tokenizer(scratch_path(path, model, "tokenizer.json"), right[0], wrong[0]);
    snprintf(wrong_next, sizeof(wrong_next), "; next token %d\r\n", wrong[0]);
    snprintf(right_next, sizeof(right_next), "; next token %d\r\n", right[0]);
    snprintf(output, sizeof(output), "Output \" blue ");
    const char *const arguments[] = {"debug", model, "--ids", "3,17,9,20,5", "-n", "4", "--fault", FAULT, NULL};
    const char *const answers[] = {
        wrong_next,                                   /* step token */
        "\" Kaw\"",                                   /* logits of */
        "before position 0",                          /* back token */
        "diverged: engine, layer 17 ffn_down",        /* until diverge */
        "layer_out",                                  /* step layer 17 */
        "largest dims",                               /* stats */
        "next is layer 17 attn_norm",                 /* back layer */
        "layer 17 ffn_down of the engine is patched", /* patch */
        output,                                       /* continue */
        "\" Kaw\"",                                   /* logits of */
        "no step introduced an error so far",         /* first */
    };
    hunt(arguments, answers, sizeof(answers) / sizeof(answers[0]));
}

static void the_real_model(void **state)
{
    (void)state;
    if (access(SMOLLM2, R_OK) != 0) {
        print_message(SMOLLM2 " is not there (./check fetches it): the hunt on a real model is skipped\n");
        skip();
    }
    const char *const arguments[] = {"debug",   SMOLLM2, "--prompt", "The color of the sky is", "-n", "3",
                                     "--fault", FAULT,   NULL};
    static const char *const answers[] = {
        "; next token 1592\r\n",                      /* " together" */
        "15.7402 #5 p=0.037",                         /* the reference's " blue"; the engine ranks it far below */
        "before position 0",                          /* back token */
        "diverged: engine, layer 17 ffn_down",        /* until diverge */
        "layer_out",                                  /* step layer 17 */
        "largest dims 192: 3436.7",                   /* stats */
        "next is layer 17 attn_norm",                 /* back layer */
        "layer 17 ffn_down of the engine is patched", /* patch */
        "Output \" a classic example\"",              /* continue: as transformers says */
        "\" Kaw\"",                                   /* logits of */
        "no step introduced an error so far",         /* first */
    };
    hunt(arguments, answers, sizeof(answers) / sizeof(answers[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(twenty_layers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_real_model, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
