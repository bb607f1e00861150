/* Small errors and healthy engines. A weight row that is off by a factor of 1.0001 is found at its layer, stage and
 * row, and attributed to the weights. An engine that adds products one after another in f32, or that declares to store
 * bf16, passes. Needs neither a device nor torch. */
#include <stdio.h>

#include "tests/reference/reference_simulate.h"
#include "tests/support/recording.h"
#include "workbench/audit/verdict.h"

#define SMOLLM2 ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

/* Replaces a step's matrix by a copy in f32 with one row times a factor. The caller frees the values. */
static float *scale_row(struct step *step, struct tensor *tensor, uint64_t row, float factor)
{
    uint64_t n_rows = tensor_rows(step->weight[0]), n = tensor_row_elems(step->weight[0]);
    float *values = xmalloc(n_rows * n * sizeof(*values));
    for (uint64_t r = 0; r < n_rows; r++) {
        weights_decode(step->weight[0], r, 0, n, values + r * n);
    }
    for (uint64_t i = 0; i < n; i++) {
        values[row * n + i] *= factor;
    }
    *tensor = tensor_of_floats(values, n_rows, n);
    step->weight[0] = tensor;
    return values;
}

/* The model's row is scaled: the reference runs with it, the golden was made without it. */
static void expect_row_found(const struct plan *plan, const struct trace *golden, int32_t layer, enum stage stage,
                             uint32_t row, float factor, bool found)
{
    struct plan changed;
    struct tensor tensor;
    struct trace run;
    struct audit audit;
    struct verdict verdict;
    static const enum source sources[] = {SOURCE_REFERENCE, SOURCE_GOLDEN};
    plan_copy(&changed, plan);
    int32_t s = plan_find(plan, layer, stage);
    float *values = scale_row(&changed.steps[s], &tensor, row, factor);
    record_run(&run, &changed, golden);
    const struct trace *traces[] = {&run, golden};
    audit_run(&audit, &changed, traces, 2, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, false);
    const struct finding *finding = audit_finding(&audit, (uint32_t)s, 1);
    print_message("layer %d %s row %u times %.6f: %.2f of the bound\n", layer, stage_name(stage), row, (double)factor,
                  finding->max_ratio);
    assert_int_equal(verdict.outlier, found ? OUTLIER_GOLDEN_OR_WEIGHTS : OUTLIER_NONE);
    assert_int_equal(verdict.n_introduced, found ? 1 : 0);
    if (found) {
        assert_int_equal(verdict.introduced[0].step, s);
        assert_int_equal(finding->dim, row);
        assert_int_equal(finding->worst_dim, row);
    }
    verdict_free(&verdict);
    audit_free(&audit);
    trace_free(&run);
    plan_free(&changed);
    free(values);
}

static void test_rows_of_tiny_gemma3(void **state)
{
    (void)state;
    static const enum stage stages[] = {STAGE_q_proj,   STAGE_k_proj, STAGE_v_proj,  STAGE_o_proj,
                                        STAGE_ffn_gate, STAGE_ffn_up, STAGE_ffn_down};
    struct small_model small;
    small_open(&small, "tiny-gemma3", NULL);
    for (size_t i = 0; i < COUNT(stages); i++) {
        int32_t layer = (int32_t)i % 6;
        uint32_t row = small.plan.steps[plan_find(&small.plan, layer, stages[i])].width / 3;
        expect_row_found(&small.plan, &small.golden, layer, stages[i], row, 1.0001f, true);
        expect_row_found(&small.plan, &small.golden, layer, stages[i], row, 1, false); /* the twin */
    }
    small_close(&small);
}

static void test_rows_of_smollm2(void **state)
{
    (void)state;
    struct model model;
    struct plan plan;
    struct trace golden;
    if (model_open(&model, SMOLLM2, NULL) != STATUS_OK) {
        print_message("skipped: %s is not there (./demo fetches it)\n", SMOLLM2);
        skip();
    }
    assert_int_equal(plan_build(&plan, &model, NULL), STATUS_OK);
    assert_int_equal(trace_read(&golden, "golden/smollm2-color-of-the-sky.h5", NULL), STATUS_OK);
    expect_row_found(&plan, &golden, 11, STAGE_o_proj, 192, 1.0001f, true);
    expect_row_found(&plan, &golden, 20, STAGE_ffn_down, 333, 1.0001f, true);
    trace_free(&golden);
    plan_free(&plan);
    model_close(&model);
}

/* ffn_down of one full-size layer of Gemma 3 1B, k = 6912. Its input, distributed as gelu(gate) * up, replaces the
 * embedding. The engine adds one product after another in f32. */
static void test_full_size_ffn_down(void **state)
{
    (void)state;
    enum { K = 6912, N = 1152, ROWS = 4, ROW = 700 };
    static const int32_t tokens[ROWS] = {0, 1, 2, 3};
    static const uint8_t phase[ROWS] = {0, 0, 0, 1};
    static const enum source sources[] = {SOURCE_GOLDEN};
    for (int changed = 0; changed < 2; changed++) {
        struct op_case glu, c;
        struct audit audit;
        struct verdict verdict;
        struct trace trace;
        case_glu(&glu, 11, ROWS, (struct glu_params){K, ACTIVATION_GELU_TANH});
        float *act = simulate(&glu, DTYPE_F32);
        case_matmul(&c, 12, ROWS, (struct matmul_params){.n_in = K, .n_out = N});
        for (uint32_t r = 0; r < ROWS; r++) {
            c.rows[r].in[0] = act + (uint64_t)r * K;
        }
        float *down = simulate(&c, DTYPE_F32);
        struct tensor embedding = tensor_of_floats(act, ROWS, K), tensor;
        struct step steps[] = {
            {.op = OP_embed, .layer = LAYER_NONE, .stage = STAGE_embed, .width = K, .input = {-1, -1, -1}},
            {.op = OP_matmul, .layer = 0, .stage = STAGE_ffn_down, .width = N, .input = {0, -1, -1}}};
        steps[0].weight[0] = &embedding;
        steps[0].params.embed = (struct embed_params){K, ROWS, 1};
        steps[1].weight[0] = &c.weight[0];
        steps[1].params.matmul = (struct matmul_params){.n_in = K, .n_out = N};
        float *values = changed ? scale_row(&steps[1], &tensor, ROW, 1.0001f) : NULL;
        struct plan plan = {.n_layers = 1, .n_steps = 2, .steps = steps};
        trace_init(&trace, "golden", "gemma3", 1, ROWS, tokens, phase);
        for (uint32_t r = 0; r < ROWS; r++) {
            trace_set_row(&trace, trace_add(&trace, LAYER_NONE, STAGE_embed, K), r, act + (uint64_t)r * K);
            trace_set_row(&trace, trace_add(&trace, 0, STAGE_ffn_down, N), r, down + (uint64_t)r * N);
        }
        const struct trace *traces[] = {&trace};
        audit_run(&audit, &plan, traces, 1, NULL, NULL);
        verdict_reach(&verdict, &audit, traces, sources, false);
        const struct finding *finding = audit_finding(&audit, 1, 0);
        print_message("k = 6912, row %s: %.2f of the bound\n", changed ? "times 1.0001" : "as it is",
                      finding->max_ratio);
        assert_int_equal(finding->rows_judged, ROWS);
        assert_int_equal(verdict.outlier, changed ? OUTLIER_GOLDEN_OR_WEIGHTS : OUTLIER_NONE);
        if (changed) {
            assert_int_equal(finding->dim, ROW);
        }
        verdict_free(&verdict);
        audit_free(&audit);
        trace_free(&trace);
        free(values);
        free(act);
        free(down);
        case_free(&glu);
        case_free(&c);
    }
}

/* Makes a case of a step: its weights decoded, its inputs from the steps before. */
static void case_of_step(struct op_case *c, const struct plan *plan, uint32_t s, const struct trace *trace)
{
    *c = (struct op_case){.step = plan->steps[s]};
    case_rows(c, trace->n_positions, 0);
    for (unsigned w = 0; w < OP_MAX_WEIGHTS && c->step.weight[w]; w++) {
        uint64_t n_rows = tensor_rows(c->step.weight[w]), n = tensor_row_elems(c->step.weight[w]);
        c->weights[w] = xmalloc(n_rows * n * sizeof(*c->weights[w]));
        for (uint64_t r = 0; r < n_rows; r++) {
            weights_decode(c->step.weight[w], r, 0, n, c->weights[w] + r * n);
        }
    }
    for (unsigned i = 0; i < OP_MAX_INPUTS && c->step.input[i] >= 0; i++) {
        const struct step *from = &plan->steps[c->step.input[i]];
        const struct trace_stage *stage = stage_at(trace, from->layer, from->stage);
        uint64_t size = (uint64_t)trace->n_positions * from->width * sizeof(float);
        c->inputs[i] = xmalloc(size);
        memcpy(c->inputs[i], stage->rows, size);
        for (uint32_t r = 0; r < c->n_rows; r++) {
            c->rows[r].in[i] = c->inputs[i] + (uint64_t)r * from->width;
        }
    }
    for (uint32_t r = 0; r < c->n_rows; r++) {
        c->rows[r].token = trace->tokens[r];
    }
}

/* Runs the whole plan by plain loops, and rounds stored values to a type. */
static void run_plainly(struct trace *trace, const struct plan *plan, const struct trace *golden, uint32_t storage)
{
    trace_init(trace, "plain", "tiny", plan->n_layers, golden->n_positions, golden->tokens, golden->phase);
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        struct op_case c;
        case_of_step(&c, plan, s, trace);
        float *y = simulate(&c, storage);
        struct trace_stage *stage = trace_add(trace, c.step.layer, c.step.stage, c.step.width);
        for (uint32_t r = 0; r < c.n_rows; r++) {
            trace_set_row(trace, stage, r, y + (uint64_t)r * c.step.width);
        }
        free(y);
        case_free(&c);
    }
}

static uint32_t n_introduced(const struct plan *plan, const struct trace *trace, double *worst)
{
    struct audit audit;
    struct verdict verdict;
    static const enum source sources[] = {SOURCE_TRACE};
    const struct trace *traces[] = {trace};
    audit_run(&audit, plan, traces, 1, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, false);
    *worst = 0;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        assert_int_equal(audit_finding(&audit, s, 0)->rows_judged, trace->n_positions);
        *worst = fmax(*worst, audit_finding(&audit, s, 0)->max_ratio);
    }
    uint32_t n = verdict.n_introduced;
    verdict_free(&verdict);
    audit_free(&audit);
    return n;
}

/* The plain loops store scores and probabilities, too, which are no stages. */
static void declare_bf16(struct trace *trace)
{
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        trace->stages[i].arith.roundings.scores = trace->stages[i].arith.roundings.probs = ROUNDING_BF16;
        assert_true(float_type("bfloat16", &trace->stages[i].arith.u_storage, &trace->stages[i].arith.eta));
    }
}

/* Healthy engines pass: f32 in plain loops, and bf16 that is declared. The twin: bf16 that is not declared is found. */
static void test_honest_engines_pass(void **state)
{
    (void)state;
    static const char *const names[] = {"tiny-llama", "tiny-gemma2", "tiny-gemma3"}; /* the plain loops have no sinks */
    for (size_t m = 0; m < COUNT(names); m++) {
        struct small_model small;
        struct trace plain, bf16;
        double of_plain, declared, silent;
        small_open(&small, names[m], NULL);
        run_plainly(&plain, &small.plan, &small.golden, DTYPE_F32);
        run_plainly(&bf16, &small.plan, &small.golden, DTYPE_BF16);
        uint32_t n_plain = n_introduced(&small.plan, &plain, &of_plain);
        uint32_t n_silent = n_introduced(&small.plan, &bf16, &silent);
        declare_bf16(&bf16);
        uint32_t n_declared = n_introduced(&small.plan, &bf16, &declared);
        print_message("%s: f32 %.2f of the bound, bf16 that says so %.2f, bf16 that does not %.3g\n", names[m],
                      of_plain, declared, silent);
        assert_int_equal(n_plain, 0);
        assert_int_equal(n_declared, 0);
        assert_true(n_silent > small.plan.n_layers * 4);
        trace_free(&plain);
        trace_free(&bf16);
        small_close(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_tiny_gemma3),
        cmocka_unit_test(test_rows_of_smollm2),
        cmocka_unit_test(test_full_size_ffn_down),
        cmocka_unit_test(test_honest_engines_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
