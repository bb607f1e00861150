/* Logits alone that choose other tokens than the golden's: a divergence whose place is unknown. The twins: where
 * roundings may have exchanged the two likeliest tokens, and where all tokens are the golden's, nothing is decided. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/session/comparison.h"
#include "workbench/trace/sample.h"

/* What becomes of a run's logits. */
enum logits { HEALTHY, EXCHANGED, OF_WRONG_SCALE };

static const struct dump {
    const char *model;
    enum stage stage;
    enum logits logits;
    enum conclusion conclusion;
} dumps[] = {
    {"tiny-llama", STAGE_logits, HEALTHY, CONCLUSION_UNDECIDED},
    {"tiny-llama", STAGE_logits_final, EXCHANGED, CONCLUSION_UNDECIDED},
    {"tiny-llama", STAGE_logits, OF_WRONG_SCALE, CONCLUSION_DIVERGED},
    {"tiny-llama", STAGE_logits_final, OF_WRONG_SCALE, CONCLUSION_DIVERGED},
    {"tiny-gpt-oss", STAGE_logits_final, HEALTHY, CONCLUSION_UNDECIDED},
    {"tiny-gpt-oss", STAGE_logits_final, OF_WRONG_SCALE, CONCLUSION_DIVERGED},
};

/* The likeliest token but one. */
static uint32_t second(const float *row, uint32_t width)
{
    uint32_t first = argmax(row, width), second = first == 0;
    for (uint32_t i = 0; i < width; i++) {
        second = i != first && row[i] > row[second] ? i : second;
    }
    return second;
}

/* Exchanges the two likeliest tokens where they are nearest. */
static void exchange_nearest(const struct trace *run, struct trace_stage *logits)
{
    float *nearest = logits->rows, least = INFINITY;
    uint32_t width = logits->width;
    for (uint32_t p = 0; p < run->n_positions; p++) {
        float *row = logits->rows + (uint64_t)p * width, apart = row[argmax(row, width)] - row[second(row, width)];
        nearest = apart < least ? row : nearest;
        least = apart < least ? apart : least;
    }
    uint32_t a = argmax(nearest, width), b = second(nearest, width);
    float first = nearest[a];
    nearest[a] = nearest[b];
    nearest[b] = first;
}

static void other_tokens_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(dumps) / sizeof(*dumps); i++) {
        struct small_model small;
        struct plan wrong;
        struct trace run;
        small_open(&small, dumps[i].model, NULL);
        plan_copy(&wrong, &small.plan);
        for (uint32_t s = 0; s < wrong.n_steps && dumps[i].logits == OF_WRONG_SCALE; s++) {
            if (wrong.steps[s].op == OP_attention) {
                wrong.steps[s].params.attention.scale *= 3;
            }
        }
        record_run(&run, &wrong, &small.golden);
        run.from_file = true;
        for (uint32_t k = run.n_stages; k-- > 0;) {
            if (run.stages[k].stage != dumps[i].stage) {
                trace_remove_stage(&run, &run.stages[k]);
            }
        }
        if (dumps[i].logits == EXCHANGED) {
            exchange_nearest(&run, &run.stages[0]);
        }
        struct comparison comparison = {.plan = &small.plan};
        comparison_add(&comparison, SOURCE_TRACE, &run);
        comparison_add(&comparison, SOURCE_GOLDEN, &small.golden);
        comparison_judge(&comparison, true, NULL);
        assert_int_equal(comparison.verdict.of[0], dumps[i].conclusion);
        assert_int_equal(comparison.verdict.of[1], CONCLUSION_PARITY);
        bool told = comparison.n_diagnoses == 1 && strcmp(comparison.diagnoses[0].fault, "other-tokens") == 0;
        assert_int_equal(told, dumps[i].conclusion == CONCLUSION_DIVERGED);
        assert_int_equal(comparison.diagnoses[0].extent.rows[0] != '\0', told);
        comparison_free(&comparison);
        plan_free(&wrong);
        small_close(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(other_tokens_are_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
