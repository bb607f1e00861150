/* Compares each op with an independent naive computation in long double at odd sizes, and with small cases done by
 * hand. */
#include "tests/reference/reference_case.h"

static void embed_gathers_and_scales(void **state)
{
    (void)state;
    struct op_case c;
    case_embed(&c, 1, 5, (struct embed_params){.width = 37, .vocab = 11, .scale = 6.0625f});
    struct result result = case_run(&c);
    for (uint32_t r = 0; r < c.n_rows; r++) {
        for (uint32_t i = 0; i < 37; i++) {
            assert_true(result.y[r * 37 + i] == 6.0625 * c.weights[0][c.rows[r].token * 37 + (int32_t)i]);
        }
    }
    result_free(&result);
    case_free(&c);
}

static void rms_norm_is_its_formula(void **state)
{
    (void)state;
    struct op_case c;
    struct rms_norm_params p = {.groups = 3, .dim = 13, .eps = 0.01f, .offset = 1};
    case_rms_norm(&c, 2, 4, p);
    struct result result = case_run(&c);
    for (uint32_t at = 0; at < 4 * 3 * 13; at++) {
        const float *x = c.inputs[0] + at / 13 * 13;
        long double mean = 0;
        for (uint32_t i = 0; i < 13; i++) {
            mean += (long double)x[i] * x[i] / 13;
        }
        float multiplier = 1.0f + c.weights[0][at % 13];
        assert_exact(result.y[at], x[at % 13] / sqrtl(mean + 0.01f) * multiplier, 0);
    }
    result_free(&result);
    case_free(&c);

    /* By hand: the mean of (3, -4, 0, 5)^2 is 12.5; with eps 3.5 the root is 4. */
    const float x[] = {3, -4, 0, 5}, w[] = {1, 0, 7, -3};
    struct tensor tensor = tensor_of_floats(w, 1, 4);
    struct step step = {.op = OP_rms_norm, .width = 4, .weight = {&tensor}, .params.rms_norm = {1, 4, 3.5f, 1}};
    result = run_rows(&step, &(struct op_row){.arith = &arith_float32, .in = {x}}, 1, DTYPE_F32);
    assert_true(result.y[0] == 1.5 && result.y[1] == -1 && result.y[2] == 0 && result.y[3] == -2.5);
    result_free(&result);
}

/* 1 + w is rounded to float32: a w that is too small does not change it. */
static void rms_norm_rounds_the_offset_weight(void **state)
{
    (void)state;
    const float x[] = {2}, w[] = {0x1p-25f};
    struct tensor tensor = tensor_of_floats(w, 1, 1);
    struct step step = {.op = OP_rms_norm, .width = 1, .weight = {&tensor}, .params.rms_norm = {1, 1, 0, 1}};
    struct result result = run_rows(&step, &(struct op_row){.arith = &arith_float32, .in = {x}}, 1, DTYPE_F32);
    assert_true(result.y[0] == 1);
    result_free(&result);
}

static void check_matmul(uint32_t n_rows, uint32_t n_in, uint32_t n_out, bool bias)
{
    struct op_case c;
    case_matmul(&c, n_in, n_rows, (struct matmul_params){.n_in = n_in, .n_out = n_out, .has_bias = bias});
    struct result result = case_run(&c);
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t o = 0; o < n_out; o++) {
            long double sum = bias ? c.weights[1][o] : 0, size = 0;
            for (uint32_t i = 0; i < n_in; i++) {
                long double product = (long double)c.weights[0][o * n_in + i] * c.inputs[0][r * n_in + i];
                sum += product, size += fabsl(product);
            }
            assert_exact(result.y[r * n_out + o], sum, size);
        }
    }
    result_free(&result);
    case_free(&c);
}

static void matmul_is_its_formula(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1, 7, 31, 32, 33, 100, 577};
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        check_matmul(1, sizes[i], 5, false);
        check_matmul(3, sizes[i], sizes[COUNT(sizes) - 1 - i], true);
    }
}

/* The frequency of pair i, computed as in transformers' modeling_rope_utils.py. */
static long double naive_frequency(const struct rope_params *p, uint32_t i)
{
    long double plain = 1 / powl(p->theta, 2.0L * i / p->dim), two_pi = 8 * atanl(1), wavelength = two_pi / plain;
    long double low = 0, high = 0;
    switch (p->type) {
    case ROPE_TYPE_LLAMA3:
        if (wavelength < p->original / p->high) {
            return plain;
        }
        if (wavelength > p->original / p->low) {
            return plain / p->factor;
        }
        low = (p->original / wavelength - p->low) / (p->high - p->low);
        return (1 - low) * plain / p->factor + low * plain;
    case ROPE_TYPE_YARN:
        low = p->dim * logl(p->original / (p->high * two_pi)) / (2 * logl(p->theta));
        high = p->dim * logl(p->original / (p->low * two_pi)) / (2 * logl(p->theta));
        low = p->truncate ? floorl(low) : low;
        high = p->truncate ? ceill(high) : high;
        low = fmaxl(low, 0);
        high = (i - low) / (fminl(high, p->dim - 1) - low);
        high = high < 0 ? 0 : high > 1 ? 1 : high;
        return plain / p->factor * high + plain * (1 - high);
    default:
        return plain / p->factor;
    }
}

static void rope_is_its_formula(void **state)
{
    (void)state;
    const struct rope_params types[] = {
        {.heads = 3, .dim = 10, .type = ROPE_TYPE_DEFAULT, .theta = 10000, .factor = 1, .scale = 1},
        {.heads = 2, .dim = 6, .type = ROPE_TYPE_LINEAR, .theta = 1e6f, .factor = 8, .scale = 1},
        {2, 32, ROPE_TYPE_LLAMA3, 5e5f, 8, 1, 4, 64, 0, 1},
        {2, 16, ROPE_TYPE_YARN, 150000, 4, 1, 32, 64, 0, 1.1386294f},
        {2, 64, ROPE_TYPE_YARN, 150000, 32, 1, 32, 4096, 1, 1.3465736f},
    };
    for (unsigned t = 0; t < COUNT(types); t++) {
        struct rope_params p = types[t];
        struct op_case c;
        case_rope(&c, 3 + t, 4, 997, p);
        struct result result = case_run(&c);
        for (uint32_t at = 0; at < 4 * p.heads * p.dim; at++) {
            uint32_t r = at / (p.heads * p.dim), in_head = at % p.dim, i = in_head % (p.dim / 2);
            long double angle = (997 + r) * naive_frequency(&p, i);
            long double other = in_head < p.dim / 2 ? -c.inputs[0][at + p.dim / 2] : c.inputs[0][at - p.dim / 2];
            assert_exact(result.y[at], p.scale * (c.inputs[0][at] * cosl(angle) + other * sinl(angle)), 10);
        }
        result_free(&result);
        case_free(&c);
    }

    /* By hand: position 0 rotates nothing; at position 1 pair 0 rotates by one radian. */
    const float x[] = {1, 10, 0, 100};
    struct step step = {.op = OP_rope, .width = 4, .params.rope = {1, 4, ROPE_TYPE_DEFAULT, 100, 1, .scale = 1}};
    const struct op_row rows[] = {{.arith = &arith_float32, .in = {x}, .position = 0},
                                  {.arith = &arith_float32, .in = {x}, .position = 1}};
    struct result result = run_rows(&step, rows, 2, DTYPE_F32);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(result.y[i] == x[i]);
    }
    assert_exact(result.y[4], 0.5403023058681398L, 1);
    assert_exact(result.y[6], 0.8414709848078965L, 1);
    assert_exact(result.y[5], 10 * cosl(0.1L) - 100 * sinl(0.1L), 100);
    result_free(&result);
}

/* Attention of one head and one dim at a time; nothing is shared. */
static long double naive_attention(const struct op_case *c, uint32_t r, uint32_t h, uint32_t d)
{
    struct attention_params p = c->step.params.attention;
    uint32_t position = c->rows[r].position, kv = h / (p.heads / p.kv_heads), width = p.kv_heads * p.dim;
    long double scores[64], sum = 0, y = 0;
    for (uint32_t j = 0; j <= position; j++) {
        long double dot = 0;
        for (uint32_t i = 0; i < p.dim; i++) {
            dot += (long double)c->rows[r].in[0][h * p.dim + i] * c->inputs[1][j * width + kv * p.dim + i];
        }
        scores[j] = p.scale * dot;
        if (p.softcap != 0) {
            scores[j] = p.softcap * tanhl(scores[j] / p.softcap);
        }
        if (p.window != 0 && position - j >= p.window) {
            scores[j] = -INFINITY;
        }
        sum += expl(scores[j]);
    }
    for (uint32_t j = 0; j <= position; j++) {
        y += expl(scores[j]) / sum * c->inputs[2][j * width + kv * p.dim + d];
    }
    return y;
}

static void attention_is_its_formula(void **state)
{
    (void)state;
    const struct attention_params shapes[] = {
        {.heads = 6, .kv_heads = 2, .dim = 5, .scale = 0.4f},
        {.heads = 3, .kv_heads = 3, .dim = 33, .scale = 0.2f, .window = 4},
        {.heads = 4, .kv_heads = 1, .dim = 7, .scale = 2, .softcap = 5, .window = 1},
        {.heads = 1, .kv_heads = 1, .dim = 64, .scale = 1, .softcap = 50, .window = 100},
    };
    for (unsigned s = 0; s < COUNT(shapes); s++) {
        struct op_case c;
        case_attention(&c, 10 + s, 3, s * 8, shapes[s]);
        struct result result = case_run(&c);
        for (uint32_t at = 0; at < result.n; at++) {
            uint32_t r = at / c.step.width, i = at % c.step.width;
            assert_exact(result.y[at], naive_attention(&c, r, i / shapes[s].dim, i % shapes[s].dim), 10);
        }
        result_free(&result);
        case_free(&c);
    }
}

/* Two keys with scores 0 and ln 3: weights 1/4 and 3/4. Scores of 1000 must not overflow. */
static void attention_by_hand(void **state)
{
    (void)state;
    const float q[] = {1}, v[] = {8, 16}, near[] = {0, logf(3)}, far[] = {1000, 1000};
    struct step step = {.op = OP_attention, .width = 1, .params.attention = {1, 1, 1, 1, 0, 0, false}};
    struct op_row row = {.arith = &arith_float32, .in = {q, near, v}, .position = 1};
    struct result result = run_rows(&step, &row, 1, DTYPE_F32);
    assert_true(fabs(result.y[0] - 14) < 1e-6);
    result_free(&result);
    row.in[1] = far;
    result = run_rows(&step, &row, 1, DTYPE_F32);
    assert_true(result.y[0] == 12);
    result_free(&result);
}

static void glu_is_its_formula(void **state)
{
    (void)state;
    for (uint32_t activation = ACTIVATION_SILU; activation <= ACTIVATION_GELU_TANH; activation++) {
        struct op_case c;
        case_glu(&c, 20, 3, (struct glu_params){.width = 101, .activation = activation});
        struct result result = case_run(&c);
        for (uint64_t i = 0; i < result.n; i++) {
            long double g = c.inputs[0][i], up = c.inputs[1][i];
            long double z = sqrtl(2 / acosl(-1)) * (g + 0.044715L * g * g * g);
            long double silu = g / (1 + expl(-g)), gelu = g / 2 * (1 + tanhl(z));
            assert_exact(result.y[i], (activation == ACTIVATION_SILU ? silu : gelu) * up, fabsl(g * up));
        }
        result_free(&result);
        case_free(&c);
    }
}

/* Large gates saturate and do not become NaN. */
static void glu_saturates(void **state)
{
    (void)state;
    const float gate[] = {-1000, 1000, 0}, up[] = {2, 2, 2};
    for (uint32_t activation = ACTIVATION_SILU; activation <= ACTIVATION_GELU_TANH; activation++) {
        struct step step = {.op = OP_glu, .width = 3, .params.glu = {3, activation}};
        struct result result =
            run_rows(&step, &(struct op_row){.arith = &arith_float32, .in = {gate, up}}, 1, DTYPE_F32);
        assert_true(result.y[0] == 0 && result.y[1] == 2000 && result.y[2] == 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_true(isfinite(result.bound[i]) && result.bound[i] > 0);
        }
        result_free(&result);
    }
}

static void add_and_softcap_are_their_formulas(void **state)
{
    (void)state;
    struct op_case add, cap, copy;
    case_add(&add, 30, 3, (struct add_params){.width = 19});
    case_softcap(&cap, 31, 3, (struct softcap_params){.width = 19, .cap = 30});
    case_softcap(&copy, 31, 3, (struct softcap_params){.width = 19, .cap = 0});
    struct result sum = case_run(&add), capped = case_run(&cap), copied = case_run(&copy);
    for (uint64_t i = 0; i < sum.n; i++) {
        assert_true(sum.y[i] == (double)add.inputs[0][i] + add.inputs[1][i]);
        assert_exact(capped.y[i], 30 * tanhl(cap.inputs[0][i] / 30.0L), 0);
        assert_true(copied.y[i] == copy.inputs[0][i] && copied.bound[i] == 0);
    }
    result_free(&sum), result_free(&capped), result_free(&copied);
    case_free(&add), case_free(&cap), case_free(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embed_gathers_and_scales),
        cmocka_unit_test(rms_norm_is_its_formula),
        cmocka_unit_test(rms_norm_rounds_the_offset_weight),
        cmocka_unit_test(matmul_is_its_formula),
        cmocka_unit_test(rope_is_its_formula),
        cmocka_unit_test(attention_is_its_formula),
        cmocka_unit_test(attention_by_hand),
        cmocka_unit_test(glu_is_its_formula),
        cmocka_unit_test(glu_saturates),
        cmocka_unit_test(add_and_softcap_are_their_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
