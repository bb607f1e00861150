/* Tests of the verdict: which source is the outlier, given which sources fail where, and whether the weights are the
 * golden's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/scratch.h"
#include "workbench/audit/verdict.h"

/* Engine (or trace), reference and golden are copies of one golden. In each listed (source, layer, stage) one value of
 * position 3 is moved by `move`. */
struct blow {
    enum source source; /* SOURCE_COUNT: no more */
    int32_t layer;
    enum stage stage;
    float move;
};

static const struct verdict_case {
    const char *what;
    enum source first; /* SOURCE_ENGINE or SOURCE_TRACE, beside reference and golden */
    struct blow blows[3];
    bool same_weights;
    enum outlier outlier;
    enum source first_source; /* of first_divergence */
    int32_t layer;
    enum stage stage;
} cases[] = {
#define NO_BLOW                         \
    {                                   \
        SOURCE_COUNT, 0, STAGE_embed, 0 \
    }
    {"nothing", SOURCE_ENGINE, {NO_BLOW}, true, OUTLIER_NONE, 0, 0, 0},
    {"engine",
     SOURCE_ENGINE,
     {{SOURCE_ENGINE, 2, STAGE_ffn_up, 1}, NO_BLOW},
     true,
     OUTLIER_ENGINE,
     SOURCE_ENGINE,
     2,
     STAGE_ffn_up},
    {"trace",
     SOURCE_TRACE,
     {{SOURCE_TRACE, 2, STAGE_ffn_up, 1}, NO_BLOW},
     false,
     OUTLIER_TRACE,
     SOURCE_TRACE,
     2,
     STAGE_ffn_up},
    {"reference",
     SOURCE_ENGINE,
     {{SOURCE_REFERENCE, 1, STAGE_o_proj, 1}, NO_BLOW},
     true,
     OUTLIER_REFERENCE,
     SOURCE_REFERENCE,
     1,
     STAGE_o_proj},
    {"golden",
     SOURCE_ENGINE,
     {{SOURCE_GOLDEN, 3, STAGE_q_proj, 1}, NO_BLOW},
     true,
     OUTLIER_GOLDEN_OR_WEIGHTS,
     SOURCE_GOLDEN,
     3,
     STAGE_q_proj},
    {"engine and golden alike, same weights",
     SOURCE_ENGINE,
     {{SOURCE_ENGINE, 1, STAGE_ffn_down, 1}, {SOURCE_GOLDEN, 1, STAGE_ffn_down, 1}, NO_BLOW},
     true,
     OUTLIER_REFERENCE,
     SOURCE_ENGINE,
     1,
     STAGE_ffn_down},
    {"engine and golden alike, other weights",
     SOURCE_ENGINE,
     {{SOURCE_ENGINE, 1, STAGE_ffn_down, 1}, {SOURCE_GOLDEN, 1, STAGE_ffn_down, 1}, NO_BLOW},
     false,
     OUTLIER_GOLDEN_OR_WEIGHTS,
     SOURCE_ENGINE,
     1,
     STAGE_ffn_down},
    {"trace and golden alike",
     SOURCE_TRACE,
     {{SOURCE_TRACE, 1, STAGE_ffn_down, 1}, {SOURCE_GOLDEN, 1, STAGE_ffn_down, 1}, NO_BLOW},
     true,
     OUTLIER_REFERENCE,
     SOURCE_TRACE,
     1,
     STAGE_ffn_down},
    {"engine and golden at one step, not alike",
     SOURCE_ENGINE,
     {{SOURCE_ENGINE, 1, STAGE_ffn_down, 1}, {SOURCE_GOLDEN, 1, STAGE_ffn_down, -1}, NO_BLOW},
     true,
     OUTLIER_SEVERAL,
     SOURCE_ENGINE,
     1,
     STAGE_ffn_down},
    {"engine and golden at other steps",
     SOURCE_ENGINE,
     {{SOURCE_ENGINE, 2, STAGE_ffn_down, 1}, {SOURCE_GOLDEN, 1, STAGE_ffn_down, 1}, NO_BLOW},
     true,
     OUTLIER_SEVERAL,
     SOURCE_ENGINE, /* the golden's error comes earlier */
     2,
     STAGE_ffn_down},
    {"engine and reference",
     SOURCE_ENGINE,
     {{SOURCE_REFERENCE, 0, STAGE_v_proj, 1}, {SOURCE_ENGINE, 0, STAGE_v_proj, 1}, NO_BLOW},
     true,
     OUTLIER_SEVERAL,
     SOURCE_ENGINE,
     0,
     STAGE_v_proj},
    {"all three",
     SOURCE_ENGINE,
     {{SOURCE_REFERENCE, 0, STAGE_v_proj, 1}, {SOURCE_ENGINE, 0, STAGE_v_proj, 1}, {SOURCE_GOLDEN, 0, STAGE_v_proj, 1}},
     true,
     OUTLIER_SEVERAL,
     SOURCE_ENGINE,
     0,
     STAGE_v_proj},
};

static void check_case(const struct verdict_case *at, const struct small_model *small)
{
    enum source sources[] = {at->first, SOURCE_REFERENCE, SOURCE_GOLDEN};
    struct trace copies[3];
    const struct trace *traces[3];
    struct audit audit;
    struct verdict verdict;
    for (uint32_t t = 0; t < 3; t++) {
        trace_copy(&copies[t], &small->golden);
        traces[t] = &copies[t];
        for (size_t b = 0; b < 3 && at->blows[b].source != SOURCE_COUNT; b++) {
            const struct blow *blow = &at->blows[b];
            if (blow->source != sources[t]) {
                continue;
            }
            struct trace_stage *stage = stage_at(&copies[t], blow->layer, blow->stage);
            stage->rows[3 * stage->width + 5] += blow->move;
        }
    }
    audit_run(&audit, &small->plan, traces, 3, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, at->same_weights);
    assert_int_equal(verdict.outlier, at->outlier);
    assert_int_equal(verdict.diverged, at->outlier != OUTLIER_NONE);
    if (verdict.diverged) {
        const struct introduced *first = verdict_first(&verdict);
        assert_int_equal(first->source, at->first_source);
        assert_int_equal(first->step, plan_find(&small->plan, at->layer, at->stage));
        assert_int_equal(sources[first->trace], at->first_source);
        bool nobody = at->outlier == OUTLIER_REFERENCE || at->outlier == OUTLIER_GOLDEN_OR_WEIGHTS;
        assert_string_equal(verdict_source(verdict.outlier, first->source), nobody && first->source != SOURCE_GOLDEN
                                                                                ? outlier_name(at->outlier)
                                                                                : source_name(first->source));
    }
    for (uint32_t i = 1; i < verdict.n_introduced; i++) {
        const struct introduced *a = &verdict.introduced[i - 1], *b = &verdict.introduced[i];
        assert_true(a->step < b->step || (a->step == b->step && a->source < b->source));
    }
    assert_int_equal(verdict.expected, small->plan.n_steps);
    assert_int_equal(verdict.compared, small->plan.n_steps);
    assert_int_equal(verdict.n_lacks, 0);
    verdict_free(&verdict);
    audit_free(&audit);
    for (uint32_t t = 0; t < 3; t++) {
        trace_free(&copies[t]);
    }
}

static void test_outlier(void **state)
{
    (void)state;
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        print_message("%s\n", cases[i].what);
        check_case(&cases[i], &small);
    }
    small_close(&small);
}

/* Stages that a source lacks are counted and listed, and are no divergence. */
static void test_coverage(void **state)
{
    (void)state;
    static const enum source sources[] = {SOURCE_REFERENCE, SOURCE_GOLDEN};
    struct small_model small;
    struct trace copy;
    struct audit audit;
    struct verdict verdict;
    small_open(&small, "tiny-llama", NULL);
    trace_copy(&copy, &small.golden);
    struct trace_stage *stage = stage_at(&small.golden, 1, STAGE_k_rope);
    memset(stage->recorded, 0, small.golden.n_positions);
    stage->n_recorded = 0;
    const struct trace *traces[] = {&copy, &small.golden};
    audit_run(&audit, &small.plan, traces, 2, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, true);
    assert_false(verdict.diverged);
    assert_int_equal(verdict.outlier, OUTLIER_NONE);
    assert_int_equal(verdict.expected, 64);
    assert_int_equal(verdict.compared, 63); /* attn_out over k_rope, from k_proj */
    assert_int_equal(verdict.n_lacks, 1);
    assert_int_equal(verdict.lacks[0].step, plan_find(&small.plan, 1, STAGE_k_rope));
    assert_int_equal(verdict.lacks[0].source, SOURCE_GOLDEN);
    assert_false(verdict.lacks[0].unaudited);
    verdict_free(&verdict);
    audit_free(&audit);
    for (uint32_t i = 0; i < small.golden.n_stages; i++) { /* nothing is recorded at position 0 */
        small.golden.stages[i].n_recorded -= small.golden.stages[i].recorded[0];
        small.golden.stages[i].recorded[0] = 0;
    }
    audit_run(&audit, &small.plan, traces, 2, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, true);
    assert_false(verdict.diverged);
    assert_int_equal(verdict.compared, 63 - 3);
    assert_int_equal(verdict.n_lacks, 1 + 3);
    assert_int_equal(verdict.lacks[1].step, plan_find(&small.plan, 1, STAGE_attn_out));
    assert_true(verdict.lacks[1].unaudited);
    verdict_free(&verdict);
    audit_free(&audit);
    trace_free(&copy);
    small_close(&small);
}

/* Keeps the first n rows of a stage. */
static void keep_rows(struct trace_stage *stage, uint32_t n_positions, uint32_t n)
{
    for (uint32_t p = n; p < n_positions; p++) {
        stage->n_recorded -= stage->recorded[p];
        stage->recorded[p] = 0;
    }
}

/* The verdict on a dump that holds n_in rows of what layer 0 makes, and n_out of the queries that layer 1 makes of
 * them. */
static enum conclusion conclude_dump(uint32_t n_in, uint32_t n_out, bool wrong)
{
    static const enum source sources[] = {SOURCE_TRACE};
    struct small_model small;
    struct audit audit;
    struct verdict verdict;
    small_open(&small, "tiny-llama", NULL);
    for (uint32_t i = 0; i < small.golden.n_stages; i++) {
        struct trace_stage *stage = &small.golden.stages[i];
        bool in = stage->layer == 0 && stage->stage == STAGE_layer_out;
        bool out = stage->layer == 1 && stage->stage == STAGE_q_proj;
        keep_rows(stage, small.golden.n_positions, in ? n_in : out ? n_out : 0);
        stage->rows[0] += wrong && out;
    }
    const struct trace *traces[] = {&small.golden};
    audit_run(&audit, &small.plan, traces, 1, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, true);
    enum conclusion conclusion = verdict.conclusion;
    assert_int_equal(verdict.of[0], conclusion);
    assert_int_equal(verdict.diverged, conclusion == CONCLUSION_DIVERGED);
    verdict_free(&verdict);
    audit_free(&audit);
    small_close(&small);
    return conclusion;
}

/* Half of the recorded rows must be judged for parity. A divergence is one however few rows are judged. */
static void test_undecided(void **state)
{
    (void)state;
    assert_int_equal(conclude_dump(5, 10, false), CONCLUSION_PARITY);
    assert_int_equal(conclude_dump(4, 10, false), CONCLUSION_UNDECIDED);
    assert_int_equal(conclude_dump(4, 10, true), CONCLUSION_DIVERGED);
    assert_int_equal(conclude_dump(0, 10, false), CONCLUSION_UNDECIDED);
    assert_int_equal(conclude_dump(0, 0, false), CONCLUSION_UNDECIDED);
}

/* A bit of MODEL's weights is flipped: both our sides run with it, and only the golden fails, at the dim of the flipped
 * weight. Bit 30 makes the weight 1.8e37, so later norms overflow; no other step is reported for that. */
static void test_flipped_bit(void **state)
{
    (void)state;
    static const unsigned bits[] = {23, 24, 25, 26, 27, 28, 29, 30};
    static const enum source sources[] = {SOURCE_REFERENCE, SOURCE_GOLDEN};
    char folder[256];
    for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
        struct small_model small;
        struct trace run;
        struct audit audit;
        struct verdict verdict;
        scratch_make(folder);
        small_copy_flipped("tiny-gemma3", folder, "model.layers.3.self_attn.q_proj.weight", 90 * 72 + 10, bits[i]);
        small_open(&small, "tiny-gemma3", folder);
        record_run(&run, &small.plan, &small.golden);
        const struct trace *traces[] = {&run, &small.golden};
        audit_run(&audit, &small.plan, traces, 2, NULL, NULL);
        verdict_reach(&verdict, &audit, traces, sources, false);
        assert_int_equal(verdict.outlier, OUTLIER_GOLDEN_OR_WEIGHTS);
        assert_int_equal(verdict.n_introduced, 1);
        assert_int_equal(verdict.introduced[0].step, plan_find(&small.plan, 3, STAGE_q_proj));
        assert_int_equal(audit_finding(&audit, verdict.introduced[0].step, 1)->dim, 90);
        verdict_free(&verdict);
        audit_free(&audit);
        trace_free(&run);
        small_close(&small);
        scratch_remove(folder);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(source_name(SOURCE_ENGINE), "engine");
    assert_string_equal(source_name(SOURCE_GOLDEN), "golden");
    assert_string_equal(outlier_name(OUTLIER_GOLDEN_OR_WEIGHTS), "golden-or-weights");
    assert_string_equal(outlier_name(OUTLIER_SEVERAL), "several");
    assert_string_equal(outlier_name(OUTLIER_TRACE), "trace");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outlier),     cmocka_unit_test(test_coverage), cmocka_unit_test(test_undecided),
        cmocka_unit_test(test_flipped_bit), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
