/* Solvers of formulas: norms, activations, the experts' activation, the softcap; and roundings of single parts. Each
 * bug is made here by its own loops, in two models. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/solving.h"

/* 1 / root of what the group x[n] of the row has; row: [width]. */
typedef double inverse_function(const float *row, uint32_t width, const float *x, uint32_t n, double eps);

static double squares(const float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)x[i] * x[i];
    }
    return sum;
}

static double right(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    (void)row;
    (void)width;
    return 1 / sqrt(squares(x, n) / n + eps);
}

static double whole_row(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    (void)x;
    (void)n;
    return 1 / sqrt(squares(row, width) / width + eps);
}

static double eps_outside(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    (void)row;
    (void)width;
    return 1 / (sqrt(squares(x, n) / n) + eps);
}

static double no_root(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    (void)row;
    (void)width;
    return 1 / (squares(x, n) / n + eps);
}

static double without_tail(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    (void)row;
    (void)width;
    return 1 / sqrt(squares(x, n - 5) / n + eps);
}

static double second_half(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    (void)row;
    (void)width;
    return 1 / sqrt(squares(x + n / 2, n - n / 2) / (n - n / 2) + eps);
}

static double in_f16(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    return round_to_dtype((float)right(row, width, x, n, eps), DTYPE_F16);
}

static double noisy(const float *row, uint32_t width, const float *x, uint32_t n, double eps)
{
    return right(row, width, x, n, eps) * (1.5 + sin(1000 * (double)x[0]));
}

static void make_norm(struct solving *solving, inverse_function *inverse, double offset)
{
    const struct rms_norm_params *params = &solving->step->params.rms_norm;
    float *w = solving_weights(solving->step->weight[0]);
    for (uint32_t p = 0; p < solving->n; p++) {
        const float *row = solving->in[0] + (uint64_t)p * solving->width;
        for (uint32_t d = 0; d < solving->width; d++) {
            const float *x = row + d / params->dim * params->dim;
            double r = inverse(row, solving->width, x, params->dim, params->eps);
            solving->rows[(uint64_t)p * solving->width + d] = (float)(row[d] * r * (offset + w[d % params->dim]));
        }
    }
    free(w);
}

static void norms_have_another_formula(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        enum stage stage;
        inverse_function *inverse;
        enum fault_kind kind;
        const char *says;
    } cases[] = {
        {"tiny-gemma3", 0, STAGE_q_norm, whole_row, KIND_FORMULA, "all 128 values at once"},
        {"tiny-gemma3-105", 1, STAGE_q_norm, whole_row, KIND_FORMULA, "at once"},
        {"tiny-llama", 1, STAGE_ffn_norm, eps_outside, KIND_FORMULA, "added to the root"},
        {"tiny-gemma2", 2, STAGE_attn_norm, no_root, KIND_FORMULA, "root of the mean square is not taken"},
        {"tiny-llama", 2, STAGE_attn_norm, without_tail, KIND_MISSING_TERMS, "from 0 to 58"},
        {"tiny-gemma3", 1, STAGE_k_norm, second_half, KIND_MISSING_TERMS, "divided by 16"},
        {"tiny-llama-105", 1, STAGE_ffn_norm, in_f16, KIND_PRECISION, "rounded to f16"},
    };
    struct solving solving;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
        make_norm(&solving, cases[i].inverse, solving.step->params.rms_norm.offset);
        solving_expect(&solving, cases[i].kind, cases[i].says, NAN);
        solving_close(&solving);
    }
    solving_open(&solving, "tiny-gemma3", 2, STAGE_ffn_norm);
    make_norm(&solving, right, 0.5);
    solving_expect(&solving, KIND_PARAMETER, "0.5 + w where this family has 1 + w", 0.5);
    make_norm(&solving, noisy, 1); /* the twin: rows are multiples, but of no formula */
    solving_refuse(&solving, KIND_FORMULA);
    solving_refuse(&solving, KIND_MISSING_TERMS);
    solving_close(&solving);
}

/* A file may hold the 1 that a family adds: the same bug is then one less than what the file says. */
static void norms_lack_the_familys_1(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        enum stage stage;
        double offset;
        const char *says; /* NULL: no story is told */
    } cases[] = {
        {"same/gemma3-bf16.gguf", STAGE_attn_norm, -1, "this family multiplies by 1 + w"},
        {"same/gemma2-bf16.gguf", STAGE_post_ffn_norm, -1, "this family multiplies by 1 + w"},
        {"tiny-gemma2", STAGE_ffn_norm, 0, "this family multiplies by 1 + w"},
        {"tiny-llama", STAGE_attn_norm, -1, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, 0, cases[i].stage);
        make_norm(&solving, right, cases[i].offset);
        solving_expect(&solving, KIND_PARAMETER, cases[i].says ? cases[i].says : "-1 + w where this family has 0 + w",
                       NAN);
        solving_close(&solving);
    }
}

static double relu(double gate)
{
    return fmax(gate, 0);
}

static double quick_gelu(double gate)
{
    return gate / (1 + exp(-1.702 * gate));
}

static double silu_of_twice(double gate)
{
    return 2 * gate / (1 + exp(-2 * gate));
}

static double gelu_of_half(double gate)
{
    double half = gate / 2;
    return half / 2 * (1 + tanh(sqrt(2 / M_PI) * (half + 0.044715 * half * half * half)));
}

static double steeper_sigmoid(double gate)
{
    return gate / (1 + exp(-0.7 * gate));
}

static double gelu_with_004(double gate)
{
    return gate / 2 * (1 + tanh(sqrt(2 / M_PI) * (gate + 0.04 * gate * gate * gate)));
}

static double gelu_with_05(double gate)
{
    return gate / 2 * (1 + tanh(0.9 * (gate + 0.5 * gate * gate * gate)));
}

static double unknown_activation(double gate)
{
    return gate / pow(1 + exp(-gate), 1.3);
}

static void activations_are_others(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        double (*act)(double);
        const char *says; /* NULL: no formula is named */
    } cases[] = {{"tiny-llama", relu, "ReLU"},
                 {"tiny-gemma2", quick_gelu, "1.702"},
                 {"tiny-gemma3", relu, "ReLU"},
                 {"tiny-llama", silu_of_twice, "SiLU of another input: gate is multiplied by 2."},
                 {"tiny-gemma3-odd", gelu_of_half, "gate is multiplied by 0.5."},
                 {"tiny-llama-odd", steeper_sigmoid, "gate is multiplied by 0.7, and the result by 1.42857"},
                 {"tiny-gemma2-105", gelu_with_004, "GELU's tanh form with other numbers: tanh(0.797885 (gate + 0.04 "},
                 {"tiny-llama", gelu_with_05, "tanh(0.9 (gate + 0.5 gate^3))"},
                 {"tiny-llama", unknown_activation, NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, 1, STAGE_ffn_act);
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            solving.rows[at] = (float)(cases[i].act(solving.in[0][at]) * solving.in[1][at]);
        }
        if (cases[i].says) {
            solving_expect(&solving, KIND_FORMULA, cases[i].says, NAN);
        } else {
            solving_refuse(&solving, KIND_FORMULA);
        }
        solving_close(&solving);
    }
}

static void experts_activation_has_other_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        double added, gate_low, gate_high, up_low, up_high, power; /* power: of the sigmoid, 1 in all forms */
        enum fault_kind kind;
        double solved;
    } cases[] = {
        {"tiny-gpt-oss", 1, -INFINITY, 0, 0, 0, 1, KIND_PARAMETER, 0},
        {"tiny-gpt-oss-105", 1, -INFINITY, 1.25, -1.25, 1.25, 1, KIND_PARAMETER, 1.25},
        {"tiny-gpt-oss", 0, -INFINITY, 7, -7, 7, 1, KIND_FORMULA, 0},
        {"tiny-gpt-oss-105", 2, -INFINITY, 7, -7, 7, 1, KIND_FORMULA, 2},
        {"tiny-gpt-oss", 1, -0.5, 0.5, -0.5, 0.5, 1, KIND_FORMULA, NAN},
        {"tiny-gpt-oss", 1, -INFINITY, 7, -7, 7, 1.3, KIND_NONE, NAN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, 1, STAGE_moe_act);
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            double gate = fmin(fmax(solving.in[0][2 * at], cases[i].gate_low), cases[i].gate_high);
            double up = fmin(fmax(solving.in[0][2 * at + 1], cases[i].up_low), cases[i].up_high);
            double sigmoid = pow(1 / (1 + exp(-(double)1.702f * gate)), cases[i].power);
            solving.rows[at] = (float)((up + cases[i].added) * gate * sigmoid);
        }
        if (cases[i].kind == KIND_NONE) {
            solving_refuse(&solving, KIND_FORMULA);
            solving_refuse(&solving, KIND_PARAMETER);
        } else {
            solving_expect(&solving, cases[i].kind, "", cases[i].solved);
        }
        solving_close(&solving);
    }
}

static void softcap_is_applied_otherwise(void **state)
{
    (void)state;
    struct solving solving;
    solving_open(&solving, "tiny-gemma2", LAYER_NONE, STAGE_logits_final);
    double cap = solving.step->params.softcap.cap;
    uint64_t n = (uint64_t)solving.n * solving.width;
    for (uint64_t at = 0; at < n; at++) {
        solving.rows[at] = (float)(cap * tanh(cap * tanh(solving.in[0][at] / cap) / cap));
    }
    solving_expect(&solving, KIND_FORMULA, "twice", NAN);
    for (uint64_t at = 0; at < n; at++) {
        solving.rows[at] = (float)(cap * tanh(solving.in[0][at]));
    }
    solving_expect(&solving, KIND_FORMULA, "left out", cap);
    for (uint64_t at = 0; at < n; at++) { /* the twin */
        double x = solving.in[0][at] / cap;
        solving.rows[at] = (float)(cap * x / sqrt(1 + x * x));
    }
    solving_refuse(&solving, KIND_FORMULA);
    solving_close(&solving);
}

static void rounded_weights_are_precision(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        enum stage stage;
        uint32_t dtype;
        const char *says;
    } cases[] = {{"tiny-llama", LAYER_NONE, STAGE_logits, DTYPE_BF16, "its weights are rounded to bf16"},
                 {"tiny-gemma3", 2, STAGE_ffn_gate, DTYPE_F16, "its weights are rounded to f16"}};
    for (size_t i = 0; i < 2; i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
        float *w = solving_weights(solving.step->weight[0]);
        uint64_t n = (uint64_t)solving.width * solving.in_width[0];
        for (uint64_t at = 0; at < n; at++) {
            w[at] = round_to_dtype(w[at], cases[i].dtype);
        }
        solving_product(&solving, w, solving.in[0], NULL);
        solving_expect(&solving, KIND_PRECISION, cases[i].says, NAN);
        for (uint64_t at = 0; at < n; at++) { /* the twin: errors that no rounding leaves */
            w[at] *= 1 + 0.05f * (float)(at % 3);
        }
        solving_product(&solving, w, solving.in[0], NULL);
        solving_refuse(&solving, KIND_PRECISION);
        free(w);
        solving_close(&solving);
    }
}

/* A sum that is kept in bf16: no known rounding reproduces it, but its errors are of that size. */
/* Groups of other sizes than the formats of files have. */
static void grouped_integers_are_precision(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        enum stage stage;
        uint32_t group;
        int most;
        const char *says; /* NULL: nothing is named */
    } cases[] = {{"tiny-llama-odd", 1, STAGE_ffn_down, 30, 7, "4-bit integers with one scale for 30 of them"},
                 {"tiny-gemma3", 2, STAGE_ffn_down, 22, 7, "4-bit integers with one scale for 22 of them"},
                 {"tiny-gemma2-105", 0, STAGE_ffn_down, 35, 127, "8-bit integers with one scale for 35 of them"},
                 {"tiny-llama", 0, STAGE_ffn_down, 20, 5, NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
        float *w = solving_weights(solving.step->weight[0]);
        float *b = solving.step->weight[1] ? solving_weights(solving.step->weight[1]) : NULL;
        uint64_t n = (uint64_t)solving.width * solving.in_width[0];
        assert_true(solving.in_width[0] % cases[i].group == 0);
        for (uint64_t first = 0; first < n; first += cases[i].group) {
            double most = 0;
            for (uint32_t k = 0; k < cases[i].group; k++) {
                most = fmax(most, fabs((double)w[first + k]));
            }
            for (uint32_t k = 0; k < cases[i].group && most > 0; k++) {
                w[first + k] = (float)(rint(w[first + k] / (most / cases[i].most)) * (most / cases[i].most));
            }
        }
        solving_product(&solving, w, solving.in[0], b);
        if (cases[i].says) {
            solving_expect(&solving, KIND_PRECISION, cases[i].says, NAN);
        } else {
            solving_refuse(&solving, KIND_PRECISION);
        }
        free(b);
        free(w);
        solving_close(&solving);
    }
}

/* Weights of the chosen experts, of the model's own places. */
static void routers_weigh_otherwise(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        double times;
        enum { OF_CHOSEN, OF_ALL, OF_SQUARES, OF_NOISE } by; /* what exponentials are divided by */
        const char *says;                                    /* NULL: no formula is named */
    } cases[] = {{"tiny-gpt-oss", 2, OF_CHOSEN, "multiplied by 2 before the softmax over the chosen ones"},
                 {"tiny-gpt-oss-odd", 0.3, OF_ALL, "multiplied by 0.3 before the softmax over all experts"},
                 {"tiny-gpt-oss", 1, OF_SQUARES, "the root of their squares' sum"},
                 {"tiny-gpt-oss-105", 1, OF_SQUARES, "the root of their squares' sum"},
                 {"tiny-gpt-oss", 1, OF_NOISE, NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, 1, STAGE_router_weights);
        const float *places = stage_at(&solving.small.golden, 1, STAGE_router_indices)->rows;
        uint32_t n = solving.in_width[0], k = solving.width;
        for (uint32_t p = 0; p < solving.n; p++) {
            const float *logits = solving.in[0] + (uint64_t)p * n;
            double sum = 0;
            for (uint32_t j = 0; j < (cases[i].by == OF_ALL ? n : k); j++) {
                uint32_t at = cases[i].by == OF_ALL ? j : (uint32_t)places[(uint64_t)p * k + j];
                double weight = exp(cases[i].times * logits[at]);
                sum += cases[i].by == OF_SQUARES ? weight * weight : weight;
            }
            for (uint32_t j = 0; j < k; j++) {
                double weight = exp(cases[i].times * logits[(uint32_t)places[(uint64_t)p * k + j]]);
                double noise = cases[i].by == OF_NOISE ? 1 + 0.3 * sin(17.0 * p + 5.0 * j) : 1;
                solving.rows[(uint64_t)p * k + j] =
                    (float)(noise * weight / (cases[i].by == OF_SQUARES ? sqrt(sum) : sum));
            }
        }
        if (cases[i].says) {
            solving_expect(&solving, KIND_FORMULA, cases[i].says, NAN);
        } else {
            solving_refuse(&solving, KIND_FORMULA);
        }
        solving_close(&solving);
    }
}

static void sums_in_bf16_are_precision(void **state)
{
    (void)state;
    static const char *const models[] = {"tiny-gemma2", "tiny-llama"};
    for (size_t m = 0; m < 2; m++) {
        struct solving solving;
        solving_open(&solving, models[m], 1, STAGE_q_proj);
        float *w = solving_weights(solving.step->weight[0]);
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            uint64_t p = at / solving.width, o = at % solving.width, n_in = solving.in_width[0];
            float sum = 0;
            for (uint64_t i = 0; i < n_in; i++) {
                sum = round_to_dtype(sum + w[o * n_in + i] * solving.in[0][p * n_in + i], DTYPE_BF16);
            }
            solving.rows[at] = sum;
        }
        solving_expect_symptom(&solving, KIND_PRECISION, "roundings to bf16 inside");
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) { /* the twin: errors of 20 % */
            solving.rows[at] *= 1 + 0.1f * (float)(at * 2654435761u >> 7 & 3);
        }
        solving_refuse(&solving, KIND_PRECISION);
        free(w);
        solving_close(&solving);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_have_another_formula),     cmocka_unit_test(norms_lack_the_familys_1),
        cmocka_unit_test(activations_are_others),         cmocka_unit_test(experts_activation_has_other_numbers),
        cmocka_unit_test(softcap_is_applied_otherwise),   cmocka_unit_test(rounded_weights_are_precision),
        cmocka_unit_test(grouped_integers_are_precision), cmocka_unit_test(routers_weigh_otherwise),
        cmocka_unit_test(sums_in_bf16_are_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
