/* The mutants: each is the bug that model/variants.h describes, and far from the right output. */
#include "tests/reference/reference_case.h"

/* Worst error of `actual`, in bounds of the right result. */
static double distance(const struct result *right, const struct result *wrong)
{
    double worst = 0;
    for (uint64_t i = 0; i < right->n; i++) {
        worst = fmax(worst, error_ratio(wrong->y[i], right->y[i], right->bound[i]));
    }
    return worst;
}

static struct result run_variant(struct op_case *c, uint32_t variant)
{
    c->step.variant = variant;
    struct result result = case_run(c);
    c->step.variant = VARIANT_NONE;
    return result;
}

static void copy_is_the_input(void **state)
{
    (void)state;
    struct op_case c;
    case_rms_norm(&c, 1, 3, (struct rms_norm_params){2, 33, 1e-5f, 1});
    struct result right = case_run(&c), copy = run_variant(&c, VARIANT_COPY);
    for (uint64_t i = 0; i < copy.n; i++) {
        assert_true(copy.y[i] == c.inputs[0][i] && copy.bound[i] == 0);
    }
    assert_true(distance(&right, &copy) > 1000);
    result_free(&right), result_free(&copy);
    case_free(&c);
}

static void transpose_b_reads_columns(void **state)
{
    (void)state;
    struct op_case c;
    uint32_t n = 45;
    case_matmul(&c, 2, 3, (struct matmul_params){.n_in = n, .n_out = n, .has_bias = 1});
    struct result right = case_run(&c), wrong = run_variant(&c, VARIANT_TRANSPOSE_B);
    assert_true(distance(&right, &wrong) > 1000);
    for (uint32_t at = 0; at < 3 * n; at++) {
        long double sum = c.weights[1][at % n];
        for (uint32_t i = 0; i < n; i++) {
            sum += (long double)c.inputs[0][at / n * n + i] * c.weights[0][i * n + at % n];
        }
        assert_exact(wrong.y[at], sum, 10);
    }
    result_free(&right), result_free(&wrong);
    case_free(&c);
}

/* One output as model/variants.h describes it: flat scores, runs of `heads`. */
static long double swapped_attention(const struct op_case *c, uint32_t r, uint32_t h, uint32_t d)
{
    struct attention_params p = c->step.params.attention;
    uint32_t end = c->rows[r].position + 1, n = p.window && p.window < end ? p.window : end, first = end - n;
    uint32_t group = p.heads / p.kv_heads, width = p.kv_heads * p.dim;
    long double scores[256], y = 0;
    for (uint32_t f = 0; f < p.heads * n; f++) {
        long double dot = 0;
        for (uint32_t i = 0; i < p.dim; i++) {
            dot += (long double)c->rows[r].in[0][f / n * p.dim + i] *
                   c->inputs[1][(first + f % n) * width + f / n / group * p.dim + i];
        }
        scores[f] = p.scale * dot;
    }
    for (uint32_t j = 0; j < n; j++) {
        uint32_t f = h * n + j, run = f / p.heads;
        long double sum = 0;
        for (uint32_t i = run * p.heads; i < (run + 1) * p.heads; i++) {
            sum += expl(scores[i]);
        }
        y += expl(scores[f]) / sum * c->inputs[2][(first + j) * width + h / group * p.dim + d];
    }
    return y;
}

static void softmax_sizes_swapped_takes_runs_of_heads(void **state)
{
    (void)state;
    const uint32_t windows[] = {0, 5};
    for (unsigned w = 0; w < COUNT(windows); w++) {
        struct op_case c;
        struct attention_params p = {.heads = 9, .kv_heads = 3, .dim = 16, .scale = 0.25f, .window = windows[w]};
        case_attention(&c, 3, 12, 0, p);
        struct result right = case_run(&c), wrong = run_variant(&c, VARIANT_SOFTMAX_SIZES_SWAPPED);
        assert_true(distance(&right, &wrong) > 1000);
        for (uint32_t at = 0; at < wrong.n; at++) {
            uint32_t i = at % c.step.width;
            assert_exact(wrong.y[at], swapped_attention(&c, at / c.step.width, i / p.dim, i % p.dim), 10);
        }
        /* With as many keys as heads, swapping the sizes changes nothing. */
        if (windows[w] == 0) {
            assert_memory_equal(right.y + 8 * c.step.width, wrong.y + 8 * c.step.width, c.step.width * sizeof(double));
        }
        result_free(&right), result_free(&wrong);
        case_free(&c);
    }
}

static void kv_stale_takes_the_key_before(void **state)
{
    (void)state;
    struct op_case c;
    case_attention(&c, 4, 4, 0, (struct attention_params){.heads = 2, .kv_heads = 1, .dim = 24, .scale = 0.3f});
    uint64_t row_bytes = c.step.width * sizeof(double);
    struct result right = case_run(&c), prefill = run_variant(&c, VARIANT_KV_STALE);
    assert_memory_equal(right.y, prefill.y, 4 * row_bytes); /* only decode rows are affected */
    for (uint32_t r = 0; r < 4; r++) {
        c.rows[r].decode = true;
    }
    struct result wrong = run_variant(&c, VARIANT_KV_STALE);
    assert_memory_equal(right.y, wrong.y, row_bytes); /* position 0 has no key before it */
    for (uint32_t r = 1; r < 4; r++) {
        assert_memory_not_equal(right.y + r * c.step.width, wrong.y + r * c.step.width, row_bytes);
    }
    assert_true(distance(&right, &wrong) > 1000);

    /* The same by hand, for the last row: its key is overwritten, its value kept. */
    memcpy(c.inputs[1] + 3 * 24, c.inputs[1] + 2 * 24, 24 * sizeof(float));
    struct result edited = case_run(&c);
    assert_memory_equal(edited.y + 3 * c.step.width, wrong.y + 3 * c.step.width, row_bytes);
    result_free(&right), result_free(&prefill), result_free(&wrong), result_free(&edited);
    case_free(&c);
}

/* The last row sees no further key: it is the last of its prefill. */
static void next_key_is_seen(void **state)
{
    (void)state;
    const uint32_t windows[] = {0, 2};
    for (unsigned w = 0; w < COUNT(windows); w++) {
        struct op_case c;
        struct attention_params p = {.heads = 2, .kv_heads = 1, .dim = 24, .scale = 0.3f, .window = windows[w]};
        case_attention(&c, 6, 4, 0, p);
        struct result right = case_run(&c), last = run_variant(&c, VARIANT_NEXT_KEY);
        assert_memory_equal(right.y, last.y, right.n * sizeof(double)); /* no row has a next one */
        for (uint32_t r = 0; r < 3; r++) {
            c.rows[r].has_next = true;
        }
        struct result wrong = run_variant(&c, VARIANT_NEXT_KEY);
        for (uint32_t at = 0; at < wrong.n; at++) {
            uint32_t r = at / c.step.width, end = r < 3 ? r + 2 : r + 1, h = at % c.step.width / 24;
            uint32_t first = windows[w] && r + 1 > windows[w] ? r + 1 - windows[w] : 0;
            long double sum = 0, y = 0;
            for (uint32_t j = first; j < end; j++) {
                long double dot = 0;
                for (uint32_t i = 0; i < 24; i++) {
                    dot += (long double)c.rows[r].in[0][h * 24 + i] * c.inputs[1][j * 24 + i];
                }
                sum += expl(p.scale * dot);
                y += expl(p.scale * dot) * c.inputs[2][j * 24 + at % 24];
            }
            assert_exact(wrong.y[at], y / sum, 10);
        }
        assert_true(distance(&right, &wrong) > 1000);
        result_free(&right), result_free(&last), result_free(&wrong);
        case_free(&c);
    }
}

/* LayerNorm by hand, and in float32 in two ways: the normalised difference, and x r - m r with the variance as
 * mean(x^2) - m^2. The bound holds for both, also where a row's mean is much larger than its deviations, and it detects
 * a mean that is off. */
static void mean_is_subtracted(void **state)
{
    (void)state;
    const float offsets[] = {0, 3, 300};
    for (unsigned o = 0; o < COUNT(offsets); o++) {
        struct op_case c;
        case_rms_norm(&c, 7, 5, (struct rms_norm_params){2, 48, 1e-5f, 1});
        for (uint32_t i = 0; i < 5 * c.step.width; i++) {
            c.inputs[0][i] += offsets[o];
        }
        struct result right = case_run(&c), wrong = run_variant(&c, VARIANT_MEAN_SUBTRACTED);
        assert_true(distance(&right, &wrong) > 1000);
        float way[2][5 * 96], off[5 * 96];
        for (uint32_t g = 0; g < 10; g++) {
            const float *x = c.inputs[0] + g * 48;
            float sum = 0, squares = 0, centred = 0;
            long double mean = 0, variance = 0;
            for (uint32_t i = 0; i < 48; i++) {
                sum += x[i], squares += x[i] * x[i], mean += x[i] / 48.0L;
            }
            for (uint32_t i = 0; i < 48; i++) {
                centred += (x[i] - sum / 48) * (x[i] - sum / 48), variance += (x[i] - mean) * (x[i] - mean) / 48;
            }
            float m = sum / 48, r = 1 / sqrtf(centred / 48 + 1e-5f);
            float r2 = 1 / sqrtf(squares / 48 - m * m + 1e-5f);
            for (uint32_t i = 0; i < 48; i++) {
                float w = 1 + c.weights[0][i];
                assert_exact(wrong.y[g * 48 + i], (x[i] - mean) / sqrtl(variance + 1e-5f) * w, 1000);
                way[0][g * 48 + i] = (x[i] - m) * r * w;
                way[1][g * 48 + i] = (x[i] * r2 - m * r2) * w;
                off[g * 48 + i] = (x[i] - m * 1.001f) * r * w;
            }
        }
        for (unsigned i = 0; i < 2; i++) {
            double worst = worst_ratio(way[i], &wrong);
            print_message("mean %g, way %u: worst ratio %.3f\n", (double)offsets[o], i, worst);
            assert_true(worst <= 1);
        }
        assert_true(offsets[o] == 0 || worst_ratio(off, &wrong) > 1);
        result_free(&right), result_free(&wrong);
        case_free(&c);
    }
}

/* The swapped softmax has its own bound, which float32 stays within: the mutant must be recognised in a recorded
 * output. */
static void swapped_bound_holds_in_float32(void **state)
{
    (void)state;
    struct op_case c;
    const uint32_t heads = 9, dim = 64, n = 7;
    case_attention(&c, 5, 1, n - 1, (struct attention_params){.heads = 9, .kv_heads = 9, .dim = 64, .scale = 0.125f});
    struct result wrong = run_variant(&c, VARIANT_SOFTMAX_SIZES_SWAPPED);
    float p[9 * 7], y[9 * 64] = {0};
    for (uint32_t f = 0; f < heads * n; f++) {
        p[f] = 0;
        for (uint32_t i = 0; i < dim; i++) {
            p[f] += c.inputs[0][f / n * dim + i] * c.inputs[1][(f % n * heads + f / n) * dim + i];
        }
        p[f] *= 0.125f;
    }
    for (uint32_t run = 0; run < n; run++) {
        float max = -INFINITY, sum = 0;
        for (uint32_t i = run * heads; i < (run + 1) * heads; i++) {
            max = fmaxf(max, p[i]);
        }
        for (uint32_t i = run * heads; i < (run + 1) * heads; i++) {
            sum += p[i] = expf(p[i] - max);
        }
        for (uint32_t i = run * heads; i < (run + 1) * heads; i++) {
            p[i] /= sum;
        }
    }
    for (uint32_t at = 0; at < heads * n * dim; at++) {
        y[at / (n * dim) * dim + at % dim] +=
            p[at / dim] * c.inputs[2][(at / dim % n * heads + at / (n * dim)) * dim + at % dim];
    }
    double worst = worst_ratio(y, &wrong);
    assert_true(worst > 0.001 && worst <= 1);
    y[17] *= 1.001f;
    assert_true(worst_ratio(y, &wrong) > 1);
    result_free(&wrong);
    case_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_is_the_input),
        cmocka_unit_test(transpose_b_reads_columns),
        cmocka_unit_test(softmax_sizes_swapped_takes_runs_of_heads),
        cmocka_unit_test(next_key_is_seen),
        cmocka_unit_test(mean_is_subtracted),
        cmocka_unit_test(kv_stale_takes_the_key_before),
        cmocka_unit_test(swapped_bound_holds_in_float32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
