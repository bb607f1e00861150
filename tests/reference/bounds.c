/* The bounds: an honest float32, bf16 or f16 kernel stays within them, and a small error does not. */
#include "tests/reference/reference_simulate.h"

/* Cases of every op at realistic sizes. */
static const struct case_row cases[] = {
    {OP_embed, 8, 0, {.embed = {.width = 1152, .vocab = 50, .scale = 33.94f}}},
    {OP_rms_norm, 8, 0, {.rms_norm = {1, 1152, 1e-6f, 1}}},
    {OP_rms_norm, 8, 0, {.rms_norm = {4, 64, 1e-5f, 0}}},
    {OP_matmul, 6, 0, {.matmul = {.n_in = 576, .n_out = 192}}},
    {OP_matmul, 3, 0, {.matmul = {.n_in = 6912, .n_out = 64, .has_bias = 1}}},
    {OP_rope, 8, 0, {.rope = {9, 64, ROPE_TYPE_DEFAULT, 1e5f, 1, .scale = 1}}},
    {OP_rope, 8, 30000, {.rope = {2, 256, ROPE_TYPE_LINEAR, 1e6f, 8, .scale = 1}}},
    {OP_attention, 16, 0, {.attention = {9, 3, 64, 0.125f, 0, 0, 0}}},
    {OP_attention, 4, 300, {.attention = {4, 1, 256, 0.0625f, 50, 128, 0}}},
    {OP_glu, 8, 0, {.glu = {1536, ACTIVATION_SILU}}},
    {OP_glu, 8, 0, {.glu = {1536, ACTIVATION_GELU_TANH}}},
    {OP_add, 8, 0, {.add = {1152}}},
    {OP_softcap, 8, 0, {.softcap = {1152, 30}}},
    {OP_softcap, 8, 0, {.softcap = {1152, 0}}},
    {OP_topk_softmax, 16, 0, {.topk_softmax = {32, 4}}},
    {OP_expert_matmul, 4, 0, {.expert_matmul = {8, 4, 288, 48, 1, 1}}},
    {OP_expert_matmul, 4, 0, {.expert_matmul = {8, 4, 288, 48, 0, 1}}},
    {OP_swiglu, 8, 0, {.swiglu = {1440, 7, 1.702f, 720}}},
    {OP_expert_sum, 8, 0, {.expert_sum = {4, 1440}}},
    {OP_rope, 8, 30000, {.rope = {4, 64, ROPE_TYPE_YARN, 150000, 32, 1, 32, 4096, 0, 1.3465736f}}},
    {OP_topk, 16, 0, {.topk = {32, 4}}},
};

/* Rounds the case to a dtype, as a model of that dtype has it, and declares it in the trace. */
static void store_case(struct op_case *c, uint32_t storage, const struct arith *arith)
{
    for (unsigned w = 0; w < OP_MAX_WEIGHTS && c->step.weight[w]; w++) {
        for (uint64_t i = 0; i < c->weight[w].n_bytes / sizeof(float); i++) {
            c->weights[w][i] = stored(c->weights[w][i], storage);
        }
    }
    for (unsigned in = 0; in < OP_MAX_INPUTS && c->inputs[in]; in++) {
        uint64_t rows = c->n_rows, width = c->step.width;
        if (c->input_width[in]) {
            width = c->input_width[in];
        }
        if (c->step.op == OP_attention && in > 0) {
            rows += c->rows[0].position;
            width = c->step.params.attention.kv_heads * c->step.params.attention.dim;
        }
        for (uint64_t i = 0; i < rows * width; i++) {
            c->inputs[in][i] = stored(c->inputs[in][i], storage);
        }
    }
    for (uint32_t r = 0; r < c->n_rows; r++) {
        c->rows[r].arith = arith;
    }
}

static double worst_of(uint32_t storage, const struct arith *arith, unsigned index)
{
    double worst = 0;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct op_case c;
        case_make(&c, seed * 100 + index, &cases[index]);
        store_case(&c, storage, arith);
        float *simulated = simulate(&c, storage);
        struct result result = run_rows(&c.step, c.rows, c.n_rows, storage);
        worst = fmax(worst, worst_ratio(simulated, &result));
        result_free(&result);
        free(simulated);
        case_free(&c);
    }
    return worst;
}

static void check_honest(uint32_t storage, const char *type)
{
    struct arith arith = arith_float32;
    assert_true(float_type(type, &arith.u_storage, &arith.eta));
    for (unsigned index = 0; index < COUNT(cases); index++) {
        double worst = worst_of(storage, &arith, index);
        struct op_case c;
        case_make(&c, 1, &cases[index]);
        bool exact = c.step.op == OP_topk || (c.step.op == OP_softcap && c.step.params.softcap.cap == 0);
        print_message("%-9s %-10s worst ratio %.3f\n", type, op_info(c.step.op)->name, worst);
        case_free(&c);
        assert_true(worst <= 1);
        /* The bound is not loose either: except for copies and choices, honest rounding reaches a hundredth of it. */
        assert_true(worst > 0.01 || exact);
    }
}

static void honest_kernels_stay_within(void **state)
{
    (void)state;
    check_honest(DTYPE_F32, "float32");
    check_honest(DTYPE_BF16, "bfloat16");
    check_honest(DTYPE_F16, "float16");
}

/* The twins: small errors exceed the bound, in float32. */
static double ratio_of_edit(unsigned index, void (*edit)(struct op_case *c))
{
    struct op_case c;
    case_make(&c, 7, &cases[index]);
    struct result right = case_run(&c);
    edit(&c);
    float *wrong = simulate(&c, DTYPE_F32);
    double worst = worst_ratio(wrong, &right);
    result_free(&right);
    free(wrong);
    case_free(&c);
    return worst;
}

static void scale_weight_row(struct op_case *c)
{
    uint64_t cols = c->weight[0].shape[1];
    for (uint64_t i = 0; i < cols; i++) {
        c->weights[0][cols * (c->weight[0].shape[0] > 3 ? 3 : 0) + i] *= 1.0001f;
    }
    for (uint32_t r = 0; r < c->n_rows; r++) {
        c->rows[r].token = 3;
    }
}

static void scale_inputs(struct op_case *c)
{
    for (unsigned in = 0; in < OP_MAX_INPUTS && c->inputs[in]; in++) {
        for (uint32_t i = 0; i < c->step.width / 3; i++) {
            c->inputs[in][i] *= 1.0001f;
        }
    }
}

static void theta_off(struct op_case *c)
{
    c->step.params.rope.theta *= 1.0001f;
}

static void scale_off(struct op_case *c)
{
    c->step.params.attention.scale *= 1.001f;
}

static void cap_off(struct op_case *c)
{
    c->step.params.softcap.cap *= 1.0001f;
}

static void one_ulp(struct op_case *c)
{
    c->inputs[0][5] = nextafterf(c->inputs[0][5], INFINITY);
}

static void embed_row(struct op_case *c)
{
    for (uint32_t i = 0; i < c->weight[0].shape[1] * c->weight[0].shape[0]; i++) {
        c->weights[0][i] *= 1.0001f;
    }
}

static void small_errors_leave_it(void **state)
{
    (void)state;
    static const struct {
        unsigned index;
        void (*edit)(struct op_case *c);
    } edits[] = {
        {0, embed_row},    {1, scale_weight_row}, {2, scale_weight_row}, {3, scale_weight_row}, {4, scale_weight_row},
        {5, theta_off},    {6, theta_off},        {7, scale_off},        {8, scale_off},        {7, scale_inputs},
        {9, scale_inputs}, {10, scale_inputs},    {11, scale_inputs},    {12, cap_off},         {13, one_ulp},
    };
    for (unsigned i = 0; i < COUNT(edits); i++) {
        double ratio = ratio_of_edit(edits[i].index, edits[i].edit);
        print_message("edit %u of case %u: ratio %.3g\n", i, edits[i].index, ratio);
        assert_true(ratio > 1);
    }
}

/* In bf16 a matmul whose output is zeroed must fail; the textbook bound let it pass. */
static void zeroed_bf16_output_leaves_it(void **state)
{
    (void)state;
    struct arith bf16 = {.u_sum = 0x1p-24, .u_storage = 0x1p-8, .eta = 0x1p-126};
    struct op_case c;
    case_make(&c, 1, &cases[3]);
    store_case(&c, DTYPE_BF16, &bf16);
    struct result result = case_run(&c);
    unsigned passed = 0;
    for (uint64_t i = 0; i < result.n; i++) {
        passed += error_ratio(0, result.y[i], result.bound[i]) <= 1;
    }
    assert_true(passed < result.n / 1000 + 1);
    result_free(&result);
    case_free(&c);
}

/* A copy of a value that the storage type holds is exact; any other value rounds once. */
static void copies_are_exact_where_they_can_be(void **state)
{
    (void)state;
    struct arith f16 = {.u_sum = 0x1p-24, .u_storage = 0x1p-11, .eta = 0x1p-14};
    const float x[] = {1, 1 + 0x1p-10f, 1 + 0x1p-11f, 0, 0x1p-24f, 0x3p-25f, -65504};
    const double bounds[] = {0, 0, 0x1p-11, 0, 0, 0x1p-25, 0};
    struct step step = {.op = OP_softcap, .width = COUNT(x), .params.softcap = {COUNT(x), 0}};
    struct result result = run_rows(&step, &(struct op_row){.arith = &f16, .in = {x}}, 1, DTYPE_F32);
    for (unsigned i = 0; i < COUNT(x); i++) {
        assert_true(result.bound[i] == bounds[i]);
    }
    result_free(&result);
}

static void rounded_operands_are_simulated(void **state)
{
    (void)state;
    struct arith tensor_core = arith_float32;
    tensor_core.roundings = (struct roundings){.operands = ROUNDING_F16, .weights = ROUNDING_F16};
    struct op_case c;
    case_make(&c, 1, &cases[3]);
    struct result exact = case_run(&c);
    store_case(&c, DTYPE_F16, &tensor_core); /* operands in f16, sums and stores in f32 */
    float *simulated = simulate(&c, DTYPE_F32);
    for (uint32_t r = 0; r < c.n_rows; r++) {
        c.rows[r].arith = &arith_float32;
    }
    assert_true(worst_ratio(simulated, &exact) > 1); /* not declared */
    case_free(&c);
    case_make(&c, 1, &cases[3]);
    for (uint32_t r = 0; r < c.n_rows; r++) {
        c.rows[r].arith = &tensor_core;
    }
    struct result declared = case_run(&c);
    assert_true(worst_ratio(simulated, &declared) <= 1);
    result_free(&exact), result_free(&declared);
    free(simulated);
    case_free(&c);
}

static void float_types_are_known(void **state)
{
    (void)state;
    double u, eta;
    assert_true(float_type("float64", &u, &eta) && u == 0x1p-53);
    assert_true(float_type("bfloat16", &u, &eta) && u == 0x1p-8 && eta == 0x1p-126);
    assert_false(float_type("float8", &u, &eta));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(honest_kernels_stay_within),     cmocka_unit_test(small_errors_leave_it),
        cmocka_unit_test(zeroed_bf16_output_leaves_it),   cmocka_unit_test(copies_are_exact_where_they_can_be),
        cmocka_unit_test(rounded_operands_are_simulated), cmocka_unit_test(float_types_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
