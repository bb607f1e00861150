/* Tests of --weights f32|f16 and of compare --drift. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/report.h"
#include "tests/support/scratch.h"

#define GOLDEN LOCKSTEP_SOURCE_DIR "/golden/"
#define TOKENS "--ids", "1,5,9,33,2,7,8", "-n", "0"

static char stored[512], f16[512], plain[512];

SCRATCH_FOLDER

static int set_up(void **state)
{
    (void)state;
    scratch_make(folder);
    scratch_path(stored, folder, "stored.h5");
    scratch_path(f16, folder, "f16.h5");
    scratch_path(plain, folder, "plain.h5");
    return 0;
}

/* A healthy engine passes with its weights in f32 and in f16; with f16 Gemma's embedding scale is rounded, too. */
static void decoded_on_load(void **state)
{
    (void)state;
    struct outcome outcome;
    static const char *const dtypes[] = {"f32", "f16"};
    for (int i = 0; i < 2; i++) {
        RUN(&outcome, 0, "diff", GOLDEN "tiny-gemma3", "--golden", GOLDEN "tiny-gemma3.h5", "--on", "engine",
            "--weights", dtypes[i]);
        outcome_free(&outcome);
    }
    RUN(&outcome, 0, "trace", GOLDEN "same/llama-q4_k-rdrr", TOKENS, "--weights", "f32", "-o", plain);
    outcome_free(&outcome);
    RUN(&outcome, 0, "audit", GOLDEN "same/llama-q4_k-rdrr", plain);
    outcome_free(&outcome);
    RUN(&outcome, 0, "audit", GOLDEN "same/llama-q4_k-f32", plain); /* the same values */
    outcome_free(&outcome);
    /* The twins: rounded weights that are declared pass; judged by other weights they fail. */
    RUN(&outcome, 0, "trace", GOLDEN "same/llama-q4_k-rdrr", TOKENS, "--weights", "f16", "-o", f16);
    outcome_free(&outcome);
    RUN(&outcome, 0, "audit", GOLDEN "same/llama-q4_k-rdrr", f16);
    outcome_free(&outcome);
    RUN(&outcome, 1, "audit", GOLDEN "same/llama-bf16", f16);
    outcome_free(&outcome);
    RUN(&outcome, 1, "compare", f16, plain);
    outcome_free(&outcome);
}

static void drift(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 0, "trace", GOLDEN "same/llama-q4_k-rdrr", TOKENS, "--on", "reference", "-o", stored);
    outcome_free(&outcome);
    RUN(&outcome, 0, "trace", GOLDEN "same/llama-bf16", TOKENS, "--on", "reference", "-o", plain);
    outcome_free(&outcome);
    RUN(&outcome, 1, "compare", stored, plain); /* without --drift it is a divergence */
    outcome_free(&outcome);
    RUN(&outcome, 0, "compare", stored, plain, "--drift");
    expect_text(outcome.out, "relative rms");
    expect_text(outcome.out, "0      layer_out ");
    expect_text(outcome.out, "1      layer_out ");
    expect_text(outcome.out, "-      logits_final ");
    outcome_free(&outcome);
    RUN(&outcome, 0, "compare", stored, plain, "--drift", "--json", "-");
    expect_text(outcome.out, "\"worst_relative_rms\"");
    expect_text(outcome.out, "\"cosine\"");
    outcome_free(&outcome);
    RUN(&outcome, 3, "compare", stored, GOLDEN "tiny-llama.h5", "--drift"); /* other tokens cannot be compared */
    outcome_free(&outcome);
}

static void refuses(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 2, "trace", GOLDEN "tiny-llama", TOKENS, "--weights", "f64", "-o", plain);
    expect_one_line(outcome.err, "\"f64\", expected f32 or f16");
    outcome_free(&outcome);
    RUN(&outcome, 2, "trace", GOLDEN "tiny-llama", TOKENS, "--weights", "f16", "--on", "reference", "-o", plain);
    expect_one_line(outcome.err, "given without the engine");
    outcome_free(&outcome);
    RUN(&outcome, 2, "audit", GOLDEN "tiny-llama", GOLDEN "tiny-llama.h5", "--weights", "f16");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(decoded_on_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drift, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
