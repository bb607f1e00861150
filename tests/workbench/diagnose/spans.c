/* Dumps of few stages: numbers of the config inside a span, and two bugs in one span. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "reference/reference.h"
#include "tests/support/expect.h"
#include "tests/support/recording.h"
#include "workbench/audit/span.h"
#include "workbench/diagnose/diagnose.h"

#define LAYER 0

typedef void number_function(struct step *step);

static void theta_500000(struct step *step)
{
    step->params.rope.theta = 500000;
}

static void not_scaled(struct step *step)
{
    step->params.rope.type = ROPE_TYPE_DEFAULT;
    step->params.rope.factor = step->params.rope.scale = 1;
}

static void factor_32(struct step *step)
{
    step->params.rope.factor = 32;
}

static void scale_1(struct step *step)
{
    step->params.rope.scale = 1;
}

static void truncated(struct step *step)
{
    step->params.rope.truncate ^= 1;
}

static void eps_01(struct step *step)
{
    step->params.rms_norm.eps = 0.01f;
}

static void window_3(struct step *step)
{
    step->params.attention.window = step->params.attention.window ? 3 : 0;
}

static void window_9(struct step *step)
{
    step->params.attention.window = step->params.attention.window ? 9 : 0;
}

static void no_window(struct step *step)
{
    step->params.attention.window = 0;
}

static void softcap_50(struct step *step)
{
    step->params.attention.softcap = 50;
}

static void scaled_for_64(struct step *step)
{
    step->params.attention.scale = 0.125f;
}

static void limit_1(struct step *step)
{
    step->params.swiglu.limit = 1;
}

static void alpha_1(struct step *step)
{
    step->params.swiglu.alpha = 1;
}

static void no_activation(struct step *step)
{
    step->params.glu.activation = ACTIVATION_NONE;
}

static void both_limits(struct step *step)
{
    step->params.rope.high = 8;
    step->params.rope.low = 0.5f;
}

static void factor_32_of_128(struct step *step)
{
    step->params.rope.factor = 32;
    step->params.rope.original = 128;
}

struct bug {
    enum op op;
    number_function *edit;
};

static void plant(struct plan *plan, const struct bug *bug)
{
    for (uint32_t s = 0; s < plan->n_steps && bug->edit; s++) {
        if (plan->steps[s].layer == LAYER && plan->steps[s].op == bug->op) {
            bug->edit(&plan->steps[s]);
        }
    }
}

/* The diagnosis of a span that ends at a stage of LAYER has this kind and says this; says NULL: it names nothing. */
static void expect_named(const struct plan *plan, struct trace *run, enum stage last, enum fault_kind kind,
                         const char *says)
{
    struct diagnosis found[8];
    uint32_t n = diagnose_step(plan, (uint32_t)plan_find(plan, LAYER, last), run, found, 8);
    print_message("%s\n", n > 0 ? found[0].text : "nothing");
    assert_true(says ? n >= 1 : n == 0 || found[0].how != HOW_REPRODUCED);
    if (says) {
        assert_int_equal(found[0].kind, kind);
        assert_non_null(strstr(found[0].text, says));
    }
}

static void hide(struct trace *trace, const struct plan *plan, enum stage kept)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        enum stage stage = plan->steps[s].stage;
        struct trace_stage *hidden = trace_find(trace, plan->steps[s].layer, stage);
        if (hidden && stage != STAGE_embed && stage != STAGE_layer_out && stage != kept) {
            memset(hidden->recorded, 0, trace->n_positions);
            hidden->n_recorded = 0;
        }
    }
}

/* What is said of the layer, of which only the embedding, this stage and layer_out are recorded. */
static uint32_t diagnose(const char *model, const struct bug bugs[2], enum stage kept, struct diagnosis found[8])
{
    struct small_model small;
    struct plan faulty;
    struct trace run;
    small_open(&small, model, NULL);
    plan_copy(&faulty, &small.plan);
    plant(&faulty, &bugs[0]);
    plant(&faulty, &bugs[1]);
    record_run(&run, &faulty, &small.golden);
    hide(&run, &small.plan, kept);
    uint32_t n = diagnose_step(&small.plan, (uint32_t)plan_find(&small.plan, LAYER, kept), &run, found, 8);
    trace_free(&run);
    plan_free(&faulty);
    small_close(&small);
    return n;
}

static const struct {
    const char *model;
    struct bug bug;
    const char *fault;
    double solved;
} numbers[] = {
    {"tiny-llama", {OP_rope, theta_500000}, "wrong-rope-theta", 500000},
    {"tiny-gemma3", {OP_rope, theta_500000}, "wrong-rope-theta", 500000},
    {"tiny-llama-105", {OP_rope, factor_32}, "wrong-rope-factor", 32},
    {"tiny-llama-odd", {OP_rope, factor_32}, "wrong-rope-factor", 32},
    {"tiny-llama-105", {OP_rope, not_scaled}, "wrong-rope-type", ROPE_TYPE_DEFAULT},
    {"tiny-gpt-oss", {OP_rope, scale_1}, "wrong-rope-scale", 1},
    {"tiny-gpt-oss-odd", {OP_rope, truncated}, "wrong-yarn-truncate", 0},
    {"tiny-gpt-oss", {OP_rope, truncated}, "wrong-yarn-truncate", 1},
    {"tiny-llama", {OP_rms_norm, eps_01}, "wrong-eps", 0.01},
    {"tiny-gemma2", {OP_rms_norm, eps_01}, "wrong-eps", 0.01},
    {"tiny-gemma3", {OP_attention, window_3}, "wrong-sliding-window", 3},
    {"tiny-gpt-oss", {OP_attention, window_9}, "wrong-sliding-window", 9},
    {"tiny-gemma2", {OP_attention, softcap_50}, "wrong-attention-softcap", 50},
    {"tiny-gemma3-odd", {OP_attention, scaled_for_64}, "wrong-attention-scale", 64},
    {"tiny-llama", {OP_attention, scaled_for_64}, "wrong-attention-scale", 64},
    {"tiny-gpt-oss", {OP_rope, both_limits}, "wrong-rope-high", 8},
    {"tiny-llama-105", {OP_rope, factor_32_of_128}, "wrong-rope-factor", 32},
};

static void test_numbers_are_solved(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        const struct bug bugs[2] = {numbers[i].bug, {OP_COUNT, NULL}};
        enum stage kept = i % 3 == 0 ? STAGE_layer_out : i % 3 == 1 ? STAGE_attn_resid : STAGE_attn_out;
        struct diagnosis found[8];
        print_message("%s %s, %s\n", numbers[i].model, numbers[i].fault, stage_name(kept));
        uint32_t n = diagnose(numbers[i].model, bugs, kept, found);
        assert_true(n >= 1);
        assert_string_equal(found[0].fault, numbers[i].fault);
        assert_int_equal(found[0].how, HOW_REPRODUCED);
        assert_true(fabs(found[0].solved.found - numbers[i].solved) <= 1e-6 * numbers[i].solved);
    }
}

static void test_numbers_of_experts(void **state)
{
    (void)state;
    struct diagnosis found[8];
    assert_true(
        diagnose("tiny-gpt-oss", (struct bug[2]){{OP_swiglu, limit_1}, {OP_COUNT, NULL}}, STAGE_layer_out, found) >= 1);
    assert_string_equal(found[0].fault, "wrong-swiglu-limit");
    assert_true(diagnose("tiny-gpt-oss-odd", (struct bug[2]){{OP_swiglu, alpha_1}, {OP_COUNT, NULL}}, STAGE_layer_out,
                         found) >= 1);
    assert_string_equal(found[0].fault, "wrong-swiglu-alpha");
}

/* Weights of a step, written anew: row e is `from`'s row e + shift, times a factor. [1]: the bias, [0]: the matrix. */
static void write_weights(struct plan *plan, struct step *step, unsigned slot, const struct tensor *from,
                          uint64_t shift, float times)
{
    uint64_t n = tensor_row_elems(from), n_rows = tensor_rows(from);
    struct tensor *tensor = arena_alloc(&plan->arena, sizeof(*tensor));
    float *values = arena_alloc(&plan->arena, n * n_rows * sizeof(*values));
    for (uint64_t r = 0; r < n_rows; r++) {
        weights_decode(from, (r + shift) % n_rows, 0, n, values + r * n);
        for (uint64_t i = 0; i < n; i++) {
            values[r * n + i] *= times;
        }
    }
    *tensor = *from;
    tensor->dtype = DTYPE_F32;
    tensor->layout = LAYOUT_ROWS;
    tensor->scales = NULL;
    tensor->bytes = (const uint8_t *)values;
    tensor->n_bytes = n * n_rows * sizeof(*values);
    step->weight[slot] = tensor;
}

static const struct wrong_weights {
    const char *model;
    enum stage stage; /* whose weights are wrong, in layer 0 */
    unsigned slot;
    int32_t layer; /* whose weights it has */
    uint64_t shift;
    float times;
    enum stage kept; /* the stage that is judged */
    enum fault_kind kind;
    const char *says; /* NULL: nothing is named */
} wrong_weights[] = {
    {"tiny-gpt-oss", STAGE_moe_down, 1, 0, 1, 1, STAGE_moe_out, KIND_ADDITIVE, "expert e has that of e + 1"},
    {"tiny-gpt-oss-odd", STAGE_moe_gate_up, 1, 0, 4, 1, STAGE_layer_out, KIND_ADDITIVE, "expert e has that of e - 1"},
    {"tiny-llama-odd", STAGE_v_proj, 1, 0, 0, 2, STAGE_attn_resid, KIND_ADDITIVE, "The bias is added twice"},
    {"tiny-gpt-oss", STAGE_o_proj, 1, 0, 0, -1, STAGE_layer_out, KIND_ADDITIVE, "The bias is subtracted"},
    {"tiny-gpt-oss", STAGE_o_proj, 1, 1, 0, 1, STAGE_attn_resid, KIND_ADDITIVE, "The bias is the next layer's"},
    {"tiny-llama", STAGE_ffn_down, 0, 1, 0, 1, STAGE_layer_out, KIND_WIRING, "The weights are the next layer's"},
    {"tiny-gemma3", STAGE_attn_norm, 0, 1, 0, 1, STAGE_attn_out, KIND_WIRING, "The weights are the next layer's"},
    {"tiny-gpt-oss", STAGE_o_proj, 1, 0, 0, 1.37f, STAGE_layer_out, KIND_ADDITIVE, NULL},
    {"tiny-llama", STAGE_ffn_down, 0, 0, 3, 1, STAGE_layer_out, KIND_WIRING, NULL},
};

static void test_weights_of_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wrong_weights) / sizeof(*wrong_weights); i++) {
        const struct wrong_weights *bug = &wrong_weights[i];
        struct small_model small;
        struct plan faulty;
        struct trace run;

        small_open(&small, bug->model, NULL);
        plan_copy(&faulty, &small.plan);
        struct step *step = &faulty.steps[plan_find(&faulty, LAYER, bug->stage)];
        const struct step *from = &small.plan.steps[plan_find(&small.plan, bug->layer, bug->stage)];
        write_weights(&faulty, step, bug->slot, from->weight[bug->slot], bug->shift, bug->times);
        record_run(&run, &faulty, &small.golden);
        hide(&run, &small.plan, bug->kept);
        print_message("%s %s: ", bug->model, stage_name(bug->stage));
        expect_named(&small.plan, &run, bug->kept, bug->kind, bug->says);
        trace_free(&run);
        plan_free(&faulty);
        small_close(&small);
    }
}

/* A run whose q and k are rotated, or whose keys are seen, as no plan can say: by the op itself, row by row. */
struct row_bug {
    const char *model;
    enum stage stage;  /* q_rope, or attn_out */
    double shift;      /* of rope's positions */
    bool decode_alone; /* q and k of decode rows */
    int seen;          /* SEEN_ of attention; -1: every second key, which nothing is named for */
    enum stage kept;
    enum fault_kind kind;
    const char *says; /* NULL: nothing is named */
};

static const struct row_bug row_bugs[] = {
    {"tiny-llama", STAGE_q_rope, 3, true, 0, STAGE_layer_out, KIND_POSITIONS, "of decode are rotated as positions 3"},
    {"tiny-gpt-oss-odd", STAGE_q_rope, -2, false, 0, STAGE_attn_resid, KIND_POSITIONS, "positions 2 too small"},
    {"tiny-gemma3", STAGE_attn_out, 0, false, SEEN_WHOLE_PROMPT, STAGE_layer_out, KIND_VISIBLE_KEYS, "causal mask"},
    {"tiny-llama-odd", STAGE_attn_out, 0, false, SEEN_WITHOUT_OWN, STAGE_layer_out, KIND_VISIBLE_KEYS, "own key"},
    {"tiny-gpt-oss", STAGE_attn_out, 0, false, SEEN_WITHOUT_FIRST, STAGE_attn_resid, KIND_VISIBLE_KEYS, "first key"},
    {"tiny-llama", STAGE_attn_out, 0, false, -1, STAGE_layer_out, KIND_VISIBLE_KEYS, NULL},
    {"tiny-llama", STAGE_q_rope, 0.37, false, 0, STAGE_layer_out, KIND_POSITIONS, NULL},
};

/* One row of the layer's step, from the healthy run's stages and those made so far. */
static void run_row(const struct plan *plan, uint32_t s, struct trace *run, uint32_t p, const struct row_bug *bug)
{
    const struct step *step = &plan->steps[s];
    bool decode = run->phase[p] == PHASE_DECODE, of_q = step->stage == STAGE_q_rope;
    uint32_t keys[64], n = 0, prompt = 0;
    double y[4096];
    const struct rope_trial rope = {.shift = bug->shift};
    struct op_row row = {.arith = &arith_float32, .n_positions = run->n_positions, .position = p, .decode = decode};
    for (unsigned i = 0; i < OP_MAX_INPUTS && step->input[i] >= 0; i++) {
        const struct trace_stage *from = trace_find_step(run, &plan->steps[step->input[i]]);
        row.in[i] = op_reads_earlier(step->op, i) ? from->rows : trace_row(from, p);
    }
    const struct trace_stage *indices = trace_find(run, step->layer, STAGE_router_indices);
    row.places = step->op == OP_topk_softmax && indices ? trace_row(indices, p) : NULL;
    row.recorded = trace_row(trace_find_step(run, step), p);
    while (prompt < run->n_positions && run->phase[prompt] == PHASE_PREFILL) {
        prompt++;
    }
    if (step->op == OP_rope && bug->stage == STAGE_q_rope && (bug->decode_alone ? decode : of_q)) {
        row.rope = &rope;
    }
    uint32_t window = step->op == OP_attention ? step->params.attention.window : 0;
    for (uint32_t key = 0; key < run->n_positions && step->op == OP_attention; key++) {
        bool visible = key <= p && (window == 0 || key + window > p);
        bool seen = bug->seen == SEEN_WHOLE_PROMPT    ? (decode ? visible : key < prompt)
                    : bug->seen == SEEN_WITHOUT_OWN   ? visible && (key != p || p == 0)
                    : bug->seen == SEEN_WITHOUT_FIRST ? visible && (key != 0 || p == 0)
                                                      : visible && (key % 2 == p % 2);
        if (seen) {
            keys[n++] = key;
        }
    }
    const struct attention_trial attention = {.keys = keys, .n_keys = n};
    if (step->op == OP_attention && bug->stage == STAGE_attn_out) {
        row.attention = &attention;
    }
    op_run(&(struct op_batch){.step = step, .n_rows = 1, .rows = &row, .y = y});
    float *to = trace_find_step(run, step)->rows + (uint64_t)p * step->width;
    for (uint32_t d = 0; d < step->width; d++) {
        to[d] = (float)y[d];
    }
}

static void test_positions_and_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(row_bugs) / sizeof(*row_bugs); i++) {
        const struct row_bug *bug = &row_bugs[i];
        struct small_model small;
        struct trace run;

        small_open(&small, bug->model, NULL);
        record_run(&run, &small.plan, &small.golden);
        uint32_t first = (uint32_t)plan_find(&small.plan, LAYER, bug->stage);
        uint32_t last = (uint32_t)plan_find(&small.plan, LAYER, STAGE_layer_out);
        for (uint32_t s = first; s <= last; s++) {
            for (uint32_t p = 0; p < run.n_positions && !stage_is_integer(small.plan.steps[s].stage); p++) {
                run_row(&small.plan, s, &run, p, bug);
            }
        }
        hide(&run, &small.plan, bug->kept);
        print_message("%s %s: ", bug->model, stage_name(bug->stage));
        expect_named(&small.plan, &run, bug->kept, bug->kind, bug->says);
        trace_free(&run);
        small_close(&small);
    }
}

static const struct {
    const char *model;
    struct bug bugs[2];
    const char *faults[2]; /* in either order; of a fault with another story, a part of its name */
} pairs[] = {
    {"tiny-gpt-oss", {{OP_rope, not_scaled}, {OP_attention, no_window}}, {"yarn-off", "window"}},
    {"tiny-gpt-oss-odd", {{OP_rope, not_scaled}, {OP_attention, no_window}}, {"yarn-off", "window"}},
    {"tiny-gemma3", {{OP_rope, theta_500000}, {OP_attention, no_window}}, {"wrong-rope-theta", "window"}},
    {"tiny-gemma2", {{OP_attention, softcap_50}, {OP_rms_norm, eps_01}}, {"softcap", "wrong-eps"}},
    {"tiny-llama", {{OP_rope, theta_500000}, {OP_rms_norm, eps_01}}, {"wrong-rope-theta", "wrong-eps"}},
};

static void test_pairs_are_solved(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        struct diagnosis found[8];
        print_message("%s: %s and %s\n", pairs[i].model, pairs[i].faults[0], pairs[i].faults[1]);
        uint32_t n = diagnose(pairs[i].model, pairs[i].bugs, STAGE_layer_out, found);
        assert_int_equal(n, 2);
        bool first = strstr(found[0].fault, pairs[i].faults[0]) && strstr(found[1].fault, pairs[i].faults[1]);
        bool second = strstr(found[0].fault, pairs[i].faults[1]) && strstr(found[1].fault, pairs[i].faults[0]);
        assert_true(first || second);
        assert_int_equal(found[0].how, HOW_REPRODUCED);
        assert_int_equal(found[1].how, HOW_REPRODUCED);
    }
}

/* Neither a number nor a pair is named for another bug, alone or beside a wrong number. */
static void test_others_are_refused(void **state)
{
    (void)state;
    static const struct bug others[][2] = {{{OP_glu, no_activation}, {OP_COUNT, NULL}},
                                           {{OP_glu, no_activation}, {OP_rope, theta_500000}}};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        struct diagnosis found[8];
        uint32_t n = diagnose("tiny-llama", others[i], STAGE_layer_out, found);
        for (uint32_t k = 0; k < n; k++) {
            assert_int_not_equal(found[k].how, HOW_REPRODUCED);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_solved), cmocka_unit_test(test_numbers_of_experts),
        cmocka_unit_test(test_weights_of_others),  cmocka_unit_test(test_positions_and_keys),
        cmocka_unit_test(test_pairs_are_solved),   cmocka_unit_test(test_others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
