/* Inputs with errors: every op's bound must grow by what the errors do to its output. The errors are drawn as the
 * bounds assume: independent, with a standard deviation of a twelfth of their limit. The output stays within the bound
 * that knows the errors, and exceeds the bound that does not. */
#include "reference/bounds.h"
#include "tests/reference/reference_case.h"

static const struct case_row cases[] = {
    {OP_rms_norm, 8, 0, {.rms_norm = {1, 1152, 1e-6f, 1}}},
    {OP_rms_norm, 8, 0, {.rms_norm = {4, 64, 1e-5f, 0}}},
    {OP_matmul, 6, 0, {.matmul = {.n_in = 576, .n_out = 192}}},
    {OP_matmul, 3, 0, {.matmul = {.n_in = 37, .n_out = 64, .has_bias = 1}}},
    {OP_rope, 8, 100, {.rope = {9, 64, ROPE_TYPE_DEFAULT, 1e5f, 1, .scale = 1}}},
    {OP_attention, 16, 0, {.attention = {9, 3, 64, 0.125f, 0, 0, 0}}},
    {OP_attention, 4, 30, {.attention = {4, 1, 32, 0.0625f, 50, 12, 0}}},
    {OP_glu, 8, 0, {.glu = {1536, ACTIVATION_SILU}}},
    {OP_glu, 8, 0, {.glu = {1536, ACTIVATION_GELU_TANH}}},
    {OP_glu, 8, 0, {.glu = {1536, ACTIVATION_GELU_ERF}}},
    {OP_add, 8, 0, {.add = {1152}}},
    {OP_softcap, 8, 0, {.softcap = {1152, 30}}},
    {OP_topk_softmax, 16, 0, {.topk_softmax = {32, 4}}},
    {OP_expert_matmul, 4, 0, {.expert_matmul = {8, 4, 288, 48, 0, 1}}},
    {OP_swiglu, 8, 0, {.swiglu = {1024, 7, 1.702f, 256}}},
    {OP_expert_sum, 8, 0, {.expert_sum = {4, 512}}},
};

/* Number of values of input i. */
static uint64_t input_size(const struct op_case *c, unsigned i)
{
    const struct attention_params *p = &c->step.params.attention;
    if (c->step.op == OP_attention && i > 0) {
        return (uint64_t)(c->rows[c->n_rows - 1].position + 1) * p->kv_heads * p->dim;
    }
    return (uint64_t)c->n_rows * c->input_width[i];
}

/* Adds errors to every input and tells the rows their limits. Choices of experts are not numbers and stay. */
static void move_inputs(struct op_case *c, double size, uint64_t seed, double *errors[OP_MAX_INPUTS])
{
    for (unsigned i = 0; i < OP_MAX_INPUTS && c->inputs[i]; i++) {
        if (c->step.op == OP_expert_matmul && i == 1) {
            continue;
        }
        uint64_t n = input_size(c, i);
        errors[i] = xmalloc(n * sizeof(*errors[i]));
        for (uint64_t k = 0; k < n; k++) {
            errors[i][k] = size * (0.1 + fabs(c->inputs[i][k]));
            c->inputs[i][k] += (float)(errors[i][k] / BOUND_LAMBDA * random_normal(&seed));
        }
        for (uint32_t r = 0; r < c->n_rows; r++) {
            c->rows[r].error[i] = errors[i] + (c->rows[r].in[i] - c->inputs[i]);
        }
    }
}

/* Worst ratio of the moved inputs' results to the bounds around the right ones. */
static double moved_ratio(const struct result *right, const struct result *moved, const double *bound)
{
    double worst = 0;
    for (uint64_t i = 0; i < right->n; i++) {
        worst = fmax(worst, error_ratio(moved->y[i], right->y[i], bound[i]));
    }
    return worst;
}

static void test_errors_are_passed_on(void **state)
{
    (void)state;
    static const double sizes[] = {1e-3, 1e-2};
    for (unsigned index = 0; index < COUNT(cases); index++) {
        for (size_t s = 0; s < COUNT(sizes); s++) {
            struct op_case c, other;
            double *errors[OP_MAX_INPUTS] = {NULL};
            case_make(&c, 7 + index, &cases[index]);
            case_make(&other, 7 + index, &cases[index]);
            struct result right = case_run(&other);
            move_inputs(&c, sizes[s], 99, errors);
            struct result moved = case_run(&c);
            double told = moved_ratio(&right, &moved, moved.bound), untold = moved_ratio(&right, &moved, right.bound);
            print_message("case %u, errors of %g: %.3f of the bound, %.3g of the one without them\n", index, sizes[s],
                          told, untold);
            assert_true(told <= 1);
            assert_true(untold > 1); /* the twin: the same outputs, judged without the errors */
            for (uint64_t i = 0; i < right.n; i++) {
                assert_true(moved.bound[i] > right.bound[i] * 0.5 && isfinite(moved.bound[i]));
            }
            for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
                free(errors[i]);
            }
            result_free(&right);
            result_free(&moved);
            case_free(&c);
            case_free(&other);
        }
    }
}

/* A choice of experts from inexact scores is certain where the scores are far apart, unknown where they are not. A
 * recorded choice is judged by what the scores may be. */
static void test_choices(void **state)
{
    (void)state;
    static const float scores[] = {1, 5, 3, 2.9f};
    static const float first[] = {1, 2}, second[] = {1, 3}, wrong[] = {1, 0};
    double near[4] = {0.1, 0.1, 0.1, 0.1}, far[4] = {0.01, 0.01, 0.01, 0.01};
    struct step step = {.op = OP_topk, .width = 2, .params.topk = {4, 2}};
    struct op_row row = {.arith = &arith_float32, .in = {scores}, .error = {near}};
    struct result result = run_rows(&step, &row, 1, DTYPE_F32);
    assert_true(result.bound[0] == 0 && isinf(result.bound[1]));
    result_free(&result);
    row.error[0] = far;
    result = run_rows(&step, &row, 1, DTYPE_F32);
    assert_true(result.bound[0] == 0 && result.bound[1] == 0 && result.y[1] == 2);
    result_free(&result);
    for (int i = 0; i < 3; i++) {
        row.error[0] = near;
        row.recorded = i == 0 ? first : i == 1 ? second : wrong;
        result = run_rows(&step, &row, 1, DTYPE_F32);
        assert_true((result.y[1] == (double)row.recorded[1]) == (i < 2));
        result_free(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_passed_on),
        cmocka_unit_test(test_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
