/* A result depends on its own row alone, bit for bit: not on the number of threads, other rows of the batch, the
 * machine's vector width, or whether a bound was asked for. */
#include <omp.h>

#include "reference/dot.h"
#include "tests/reference/reference_case.h"

static const struct case_row cases[] = {
    {OP_embed, 9, 0, {.embed = {.width = 131, .vocab = 17, .scale = 3.7f}}},
    {OP_rms_norm, 9, 0, {.rms_norm = {3, 37, 1e-5f, 1}}},
    {OP_matmul, 9, 0, {.matmul = {.n_in = 203, .n_out = 67, .has_bias = 1}}},
    {OP_rope, 9, 50, {.rope = {3, 22, ROPE_TYPE_DEFAULT, 1e4f, 1, .scale = 1}}},
    {OP_attention, 9, 20, {.attention = {6, 2, 19, 0.3f, 20, 11, 0}}},
    {OP_glu, 9, 0, {.glu = {101, ACTIVATION_GELU_TANH}}},
    {OP_add, 9, 0, {.add = {101}}},
    {OP_softcap, 9, 0, {.softcap = {101, 30}}},
    {OP_topk_softmax, 9, 0, {.topk_softmax = {37, 4}}},
    {OP_expert_matmul, 9, 0, {.expert_matmul = {8, 4, 203, 67, 1, 1}}},
    {OP_swiglu, 9, 0, {.swiglu = {404, 7, 1.702f, 101}}},
    {OP_expert_sum, 9, 0, {.expert_sum = {4, 101}}},
};

static void assert_same(const struct result *a, const double *y, const double *bound, uint64_t from, uint64_t n)
{
    assert_memory_equal(a->y + from, y, n * sizeof(double));
    if (bound) {
        assert_memory_equal(a->bound + from, bound, n * sizeof(double));
    }
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    for (unsigned index = 0; index < COUNT(cases); index++) {
        struct op_case c;
        case_make(&c, index + 1, &cases[index]);
        omp_set_num_threads(1);
        struct result one = case_run(&c);
        for (int threads = 2; threads <= 7; threads += 5) {
            omp_set_num_threads(threads);
            struct result many = case_run(&c);
            assert_same(&one, many.y, many.bound, 0, one.n);
            result_free(&many);
        }
        result_free(&one);
        case_free(&c);
    }
}

static void the_batch_does_not_matter(void **state)
{
    (void)state;
    for (unsigned index = 0; index < COUNT(cases); index++) {
        struct op_case c;
        case_make(&c, index + 1, &cases[index]);
        struct result all = case_run(&c);
        for (uint32_t first = 0; first < c.n_rows; first += 4) {
            uint32_t n = c.n_rows - first < 4 ? c.n_rows - first : 4;
            struct result part = run_rows(&c.step, c.rows + first, n, DTYPE_F32);
            assert_same(&all, part.y, part.bound, (uint64_t)first * c.step.width, part.n);
            result_free(&part);
        }
        result_free(&all);
        case_free(&c);
    }
}

static void the_bound_does_not_matter(void **state)
{
    (void)state;
    for (unsigned index = 0; index < COUNT(cases); index++) {
        struct op_case c;
        case_make(&c, index + 1, &cases[index]);
        struct result with = case_run(&c);
        double *y = xcalloc(with.n, sizeof(double));
        op_run(&(struct op_batch){.step = &c.step, .n_rows = c.n_rows, .rows = c.rows, .y = y});
        assert_same(&with, y, NULL, 0, with.n);
        free(y);
        result_free(&with);
        case_free(&c);
    }
}

/* The twin: these comparisons do tell different rows apart. */
static void other_rows_differ(void **state)
{
    (void)state;
    for (unsigned index = 0; index < COUNT(cases); index++) {
        struct op_case c;
        case_make(&c, index + 1, &cases[index]);
        struct result result = case_run(&c);
        assert_memory_not_equal(result.y, result.y + c.step.width, c.step.width * sizeof(double));
        result_free(&result);
        case_free(&c);
    }
}

/* The sum that dot.h promises, one addition at a time. volatile prevents vectorising and contracting. */
static double sum_in_lanes(const float *a, const float *b, uint64_t n, bool square)
{
    volatile double lanes[DOT_LANES] = {0};
    for (uint64_t i = 0; i < n; i++) {
        volatile double product = (double)a[i] * b[i];
        volatile double term = square ? product * product : product;
        lanes[i % DOT_LANES] = lanes[i % DOT_LANES] + term;
    }
    for (unsigned half = DOT_LANES / 2; half > 0; half /= 2) {
        for (unsigned l = 0; l < half; l++) {
            lanes[l] = lanes[l] + lanes[l + half];
        }
    }
    return lanes[0];
}

static void dot_sums_in_the_order_it_says(void **state)
{
    (void)state;
    uint64_t seed = 9;
    float *a = random_floats(&seed, 1000, 1, 0), *b = random_floats(&seed, 1000, 1000, 0);
    double *wide = xmalloc(1000 * sizeof(*wide));
    dot_widen(b, 1000, wide);
    for (uint64_t n = 0; n <= 1000; n += n < 70 ? 1 : 93) {
        struct dot sum = dot_sum(a, wide, n), both = dot_sum_squares(a, wide, n);
        assert_true(sum.sum == sum_in_lanes(a, b, n, false));
        assert_true(both.sum == sum.sum);
        assert_true(both.squares == sum_in_lanes(a, b, n, true));
    }
    /* The twin: shifted by one, every element has another lane, and the sum has other bits. */
    double shifted = dot_sum_squares(a + 1, wide + 1, 999).squares;
    assert_true(shifted != sum_in_lanes(a, b, 1000, true) - (double)a[0] * b[0] * ((double)a[0] * b[0]));
    free(wide);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_matter),         cmocka_unit_test(the_batch_does_not_matter),
        cmocka_unit_test(the_bound_does_not_matter),     cmocka_unit_test(other_rows_differ),
        cmocka_unit_test(dot_sums_in_the_order_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
