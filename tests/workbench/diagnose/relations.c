/* Relations: a stage of a golden is spoilt in a known way, and the diagnosis must name it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/scratch.h"
#include "tests/workbench/audit/compute_step.h"
#include "workbench/diagnose/diagnose.h"

/* Each spoils rows of a stage. */
typedef void spoil_function(const struct trace *trace, struct trace_stage *stage, uint32_t position);

static float *row_of(const struct trace_stage *stage, uint32_t position)
{
    return stage->rows + (uint64_t)position * stage->width;
}

static void spoil_zeros(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    memset(row_of(stage, position), 0, stage->width * sizeof(float));
}

static void spoil_constant(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    for (uint32_t d = 0; d < stage->width; d++) {
        row_of(stage, position)[d] = -1.25f;
    }
}

static void spoil_sign(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    for (uint32_t d = 0; d < stage->width; d++) {
        row_of(stage, position)[d] = -row_of(stage, position)[d];
    }
}

static void spoil_multiple(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    for (uint32_t d = 0; d < stage->width; d++) {
        row_of(stage, position)[d] *= 0.70710678f;
    }
}

static void spoil_row_multiple(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    for (uint32_t d = 0; d < stage->width; d++) {
        row_of(stage, position)[d] *= 1.5f + (float)position;
    }
}

static void spoil_offset(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    for (uint32_t d = 0; d < stage->width; d++) {
        row_of(stage, position)[d] += 0.5f;
    }
}

static void spoil_reverse(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    float *row = row_of(stage, position);
    for (uint32_t d = 0; d < stage->width / 2; d++) {
        float value = row[d];
        row[d] = row[stage->width - 1 - d];
        row[stage->width - 1 - d] = value;
    }
}

static void spoil_earlier_row(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    if (position > 0) {
        memcpy(row_of(stage, position), row_of(stage, 0), stage->width * sizeof(float));
    }
}

static void spoil_tail(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    for (uint32_t d = stage->width / 2; d < stage->width; d++) {
        row_of(stage, position)[d] = 0;
    }
}

static void spoil_tail_nan(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    for (uint32_t d = stage->width / 2; d < stage->width; d++) {
        row_of(stage, position)[d] = NAN;
    }
}

/* From the neighbour layer, of the same width. */
static void spoil_neighbour(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    memcpy(row_of(stage, position), row_of(stage_at(trace, stage->layer + 1, STAGE_q_proj), position),
           stage->width * sizeof(float));
}

/* attn_resid = what came in, without the branch. */
static void spoil_not_added(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    memcpy(row_of(stage, position), row_of(stage_at(trace, stage->layer - 1, STAGE_layer_out), position),
           stage->width * sizeof(float));
}

static void spoil_one_dim(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    row_of(stage, position)[9] *= 1000;
}

static void spoil_nan(const struct trace *trace, struct trace_stage *stage, uint32_t position)
{
    (void)trace;
    row_of(stage, position)[position % 3] = NAN;
}

static const struct relation_case {
    const char *named;
    spoil_function *spoil;
    int32_t layer;
    enum stage stage;
    uint32_t first; /* positions from here on are spoilt */
    const char *text;
} cases[] = {
    {"zeros", spoil_zeros, 1, STAGE_ffn_up, 0, "16 failing rows are all zeros"},
    {"constant", spoil_constant, 1, STAGE_ffn_up, 3, "Every value of the 13 failing rows is -1.25"},
    {"sign-flipped", spoil_sign, 2, STAGE_o_proj, 0, "opposite sign"},
    {"constant-multiple", spoil_multiple, 0, STAGE_attn_norm, 0, "0.7071"},
    {"row-multiples", spoil_row_multiple, 0, STAGE_attn_norm, 0, "1.5"},
    {"constant-offset", spoil_offset, 3, STAGE_ffn_down, 2, "plus 0.5"},
    {"permutation", spoil_reverse, 1, STAGE_q_rope, 0, "another order"},
    {"equals-other-row", spoil_earlier_row, 1, STAGE_k_proj, 1, "position 1 has that of position 0"},
    {"dispatch-2d-x-only", spoil_tail, -1, STAGE_logits, 0, "from dim 256 on, of 512"},
    {"dispatch-2d-x-only", spoil_tail_nan, -1, STAGE_logits, 10, "from dim 256 on, of 512"},
    {"pingpong-release", spoil_neighbour, 1, STAGE_layer_out, 0, "those of layer 2 q_proj"},
    {"copied-input", spoil_not_added, 2, STAGE_attn_resid, 0, "copy of the input layer 1 layer_out"},
    {"weight-spike", spoil_one_dim, 2, STAGE_ffn_gate, 0, "only dim 9 is wrong, and there the output is 1000"},
    {"nonfinite", spoil_nan, 2, STAGE_ffn_gate, 4, "12 NaN and 0 infinite values, the first at position 4, dim 1"},
};

static void test_relations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct relation_case *at = &cases[i];
        struct small_model small;
        struct diagnosis found[8];
        small_open(&small, "tiny-llama", NULL);
        struct trace_stage *stage = stage_at(&small.golden, at->layer, at->stage);
        for (uint32_t p = at->first; p < small.golden.n_positions; p++) {
            at->spoil(&small.golden, stage, p);
        }
        uint32_t n =
            diagnose_step(&small.plan, (uint32_t)plan_find(&small.plan, at->layer, at->stage), &small.golden, found, 8);
        print_message("%s: %u found, %s: %s\n", at->named, n, n ? found[0].fault : "", n ? found[0].text : "");
        assert_true(n >= 1);
        assert_string_equal(found[0].fault, at->named);
        assert_non_null(strstr(found[0].text, at->text));
        assert_int_not_equal(found[0].how, HOW_REPRODUCED);
        small_close(&small);
    }
}

/* A matrix times 1.01 under operands in f16, with a bias that is not: the multiple is one of the matrix. The twin: the
 * whole output is. */
static void test_multiple_beside_a_bias(void **state)
{
    (void)state;
    for (int whole = 0; whole <= 1; whole++) {
        struct small_model small;
        struct diagnosis found[8];
        small_open(&small, "tiny-gpt-oss", NULL);
        uint32_t s = (uint32_t)plan_find(&small.plan, 1, STAGE_q_proj);
        struct trace_stage *stage = stage_at(&small.golden, 1, STAGE_q_proj);
        float *bias = xmalloc(stage->width * sizeof(*bias));
        weights_decode(small.plan.steps[s].weight[1], 0, 0, stage->width, bias);
        stage->arith.roundings.operands = ROUNDING_F16;
        compute_step(&small.plan, s, &small.golden, &stage->arith);
        for (uint64_t i = 0; i < (uint64_t)small.golden.n_positions * stage->width; i++) {
            float kept = whole ? 0 : bias[i % stage->width];
            stage->rows[i] = 1.01f * (stage->rows[i] - kept) + kept;
        }
        assert_true(diagnose_step(&small.plan, s, &small.golden, found, 8) >= 1);
        assert_string_equal(found[0].fault, "constant-multiple");
        assert_int_equal(strstr(found[0].text, "without the bias") == NULL, whole);
        free(bias);
        small_close(&small);
    }
}

/* The twin: noise is no relation of any kind. */
static void test_noise_is_no_relation(void **state)
{
    (void)state;
    struct small_model small;
    struct diagnosis found[8];
    uint32_t seed = 1;
    small_open(&small, "tiny-llama", NULL);
    struct trace_stage *stage = stage_at(&small.golden, 1, STAGE_ffn_up);
    for (uint64_t i = 0; i < (uint64_t)small.golden.n_positions * stage->width; i++) {
        stage->rows[i] += 0.1f * scratch_random(&seed);
    }
    uint32_t s = (uint32_t)plan_find(&small.plan, 1, STAGE_ffn_up);
    assert_int_equal(diagnose_step(&small.plan, s, &small.golden, found, 8), 0);
    small_close(&small);
}

/* A weight with one flipped bit, whichever it is: reported with its row, column and right value. */
static void test_one_weight(void **state)
{
    (void)state;
    static const unsigned bits[] = {31, 30, 29, 27, 23, 22, 20};
    char folder[256];
    for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
        struct small_model small;
        struct diagnosis found[8];
        scratch_make(folder);
        small_copy_flipped("tiny-gemma3", folder, "model.layers.3.self_attn.q_proj.weight", 17 * 72 + 44, bits[i]);
        small_open(&small, "tiny-gemma3", folder);
        uint32_t s = (uint32_t)plan_find(&small.plan, 3, STAGE_q_proj);
        assert_true(diagnose_step(&small.plan, s, &small.golden, found, 8) >= 1);
        print_message("bit %u: %s: %s\n", bits[i], found[0].fault, found[0].text);
        assert_string_equal(found[0].fault, "one-weight");
        assert_non_null(strstr(found[0].text, "self_attn.q_proj.weight[17, 44] = "));
        assert_non_null(strstr(found[0].text, "made with -0.05339"));
        small_close(&small);
        scratch_remove(folder);
    }
}

/* Values past what the declared type holds. */
static void test_storage_overflow(void **state)
{
    (void)state;
    struct small_model small;
    struct diagnosis found[8];
    small_open(&small, "tiny-llama", NULL);
    struct trace_stage *branch = stage_at(&small.golden, 1, STAGE_ffn_down),
                       *sum = stage_at(&small.golden, 1, STAGE_layer_out);
    row_of(branch, 4)[7] = 70000;
    row_of(sum, 4)[7] = INFINITY;
    assert_true(float_type("float16", &sum->arith.u_storage, &sum->arith.eta));
    uint32_t s = (uint32_t)plan_find(&small.plan, 1, STAGE_layer_out);
    assert_true(diagnose_step(&small.plan, s, &small.golden, found, 8) >= 1);
    assert_string_equal(found[0].fault, "f16-overflow");
    assert_string_equal(found[1].fault, "storage-overflow");
    assert_non_null(strstr(found[1].text, "65504"));
    row_of(branch, 4)[7] = 60000;
    assert_true(diagnose_step(&small.plan, s, &small.golden, found, 8) >= 1);
    assert_string_not_equal(found[0].fault, "storage-overflow");
    assert_string_not_equal(found[0].fault, "f16-overflow");
    small_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relations),
        cmocka_unit_test(test_multiple_beside_a_bias),
        cmocka_unit_test(test_noise_is_no_relation),
        cmocka_unit_test(test_one_weight),
        cmocka_unit_test(test_storage_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
