/* Triage: symptoms that no mutant explains are reported with their likely causes. What the golden shows as well is left
 * out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/diagnose/triage.h"

/* Spoils a copy of the golden. */
static void spoil(struct trace *trace, const char *how)
{
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        struct trace_stage *logits = stage_at(trace, LAYER_NONE, STAGE_logits_final);
        if (strcmp(how, "nan") == 0) {
            stage_at(trace, 2, STAGE_ffn_gate)->rows[3] = NAN;
        }
        for (int32_t layer = 0; layer < 4; layer++) {
            struct trace_stage *stage = stage_at(trace, layer, STAGE_layer_out);
            float *row = stage->rows + (uint64_t)p * stage->width;
            if (strcmp(how, "spike") == 0 && layer > 0) {
                row[7] = 300 + (float)layer;
            }
            for (uint32_t i = 0; i < stage->width && strcmp(how, "explosion") == 0 && layer > 1; i++) {
                row[i] *= 1000;
            }
        }
        if (strcmp(how, "repetition") == 0) {
            logits->rows[(uint64_t)p * logits->width + 9] = 100;
        }
        if (strcmp(how, "pad") == 0) {
            logits->rows[(uint64_t)p * logits->width + 0] = 100;
        }
    }
}

static uint32_t triage(const char *how, bool same_golden, struct diagnosis *found)
{
    struct small_model small;
    struct trace run;
    struct audit audit;
    struct verdict verdict;
    static const enum source sources[] = {SOURCE_TRACE, SOURCE_GOLDEN};
    small_open(&small, "tiny-llama", NULL);
    small.model.config.pad_id = 0;
    trace_copy(&run, &small.golden);
    spoil(&run, how);
    if (same_golden) {
        spoil(&small.golden, how);
    }
    const struct trace *traces[] = {&run, &small.golden};
    audit_run(&audit, &small.plan, traces, 2, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, false);
    uint32_t n = triage_find(&audit, &verdict, traces, sources, found, 6);
    verdict_free(&verdict);
    audit_free(&audit);
    trace_free(&run);
    small_close(&small);
    return n;
}

static void test_symptoms(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"nan", "triage-nan-or-inf"},
                                          {"explosion", "triage-exploding-values"},
                                          {"spike", "triage-single-dimension-spike"},
                                          {"pad", "triage-pad-wins"},
                                          {"repetition", "triage-repeating-tokens"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct diagnosis found[6];
        uint32_t n = triage(rows[i][0], false, found);
        bool told = false;
        for (uint32_t k = 0; k < n; k++) {
            print_message("%s: %s: %s\n", rows[i][0], found[k].fault, found[k].text);
            assert_int_equal(found[k].how, HOW_CONSISTENT);
            told |= strcmp(found[k].fault, rows[i][1]) == 0;
        }
        assert_true(told);
        n = triage(rows[i][0], true, found); /* the twin: the golden shows it too */
        for (uint32_t k = 0; k < n; k++) {
            assert_string_not_equal(found[k].fault, rows[i][1]);
        }
    }
    struct diagnosis found[6];
    assert_int_equal(triage("nothing", false, found), 0);
}

static void test_every_op_has_a_next_step(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        struct step step = {.op = (enum op)op};
        assert_true(strlen(triage_next(&(struct plan){.n_steps = 1, .steps = &step}, 0, NULL, 0)) > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symptoms),
        cmocka_unit_test(test_every_op_has_a_next_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
