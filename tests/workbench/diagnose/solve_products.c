/* Solvers of products and sums: terms that are missing, added vectors, wrong wiring, experts' shares. Each bug is made
 * here by its own loops. It is solved in two models with two numbers; a bug of another kind is not taken for it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/solving.h"

/* A product without inputs i with first <= i mod period < last; decode: at decoded positions alone. */
static void leave_out(struct solving *solving, uint32_t period, uint32_t first, uint32_t last, bool decode_alone)
{
    uint32_t n_in = solving->in_width[0];
    uint64_t n = (uint64_t)solving->n * n_in;
    float *w = solving_weights(solving->step->weight[0]), *x = xmalloc(n * sizeof(*x));
    float *b = solving->step->weight[1] ? solving_weights(solving->step->weight[1]) : NULL;
    for (uint64_t at = 0; at < n; at++) {
        uint32_t i = (uint32_t)(at % n_in);
        bool spared = decode_alone && solving->small.golden.phase[at / n_in] == PHASE_PREFILL;
        x[at] = !spared && i % period >= first && i % period < last ? 0 : solving->in[0][at];
    }
    solving_product(solving, w, x, b);
    free(b);
    free(x);
    free(w);
}

static void terms_are_missing(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        enum stage stage;
        uint32_t period, first, last;
        bool decode_alone;
        const char *says;
    } cases[] = {
        {"tiny-llama-105", 0, STAGE_q_proj, 1000, 96, 105, false, "inputs 96 to 104 (the last 9 of 105)"},
        {"tiny-gemma3", 2, STAGE_ffn_down, 1000, 0, 32, false, "(the first 32 of"},
        {"tiny-gemma2", 1, STAGE_o_proj, 1000, 32, 64, true, "of decode"},
        {"tiny-llama", 1, STAGE_ffn_up, 16, 8, 16, false, "of each 16 inputs, those from 8 to 15"},
        {"tiny-gpt-oss", 2, STAGE_k_proj, 1000, 40, 64, false, "inputs 40 to 63"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
        leave_out(&solving, cases[i].period, cases[i].first, cases[i].last, cases[i].decode_alone);
        solving_expect(&solving, KIND_MISSING_TERMS, cases[i].says, NAN);
        solving_close(&solving);
    }
}

/* The twin: terms that differ by row are no missing range. */
static void other_terms_are_not(void **state)
{
    (void)state;
    struct solving solving;
    solving_open(&solving, "tiny-llama", 1, STAGE_q_proj);
    uint32_t n_in = solving.in_width[0];
    float *w = solving_weights(solving.step->weight[0]), *x = xmalloc((uint64_t)solving.n * n_in * sizeof(*x));
    for (uint64_t at = 0; at < (uint64_t)solving.n * n_in; at++) {
        x[at] = solving.in[0][at] * (1 + 0.3f * (float)((at * 2654435761u >> 8) % 7));
    }
    solving_product(&solving, w, x, NULL);
    solving_refuse(&solving, KIND_MISSING_TERMS);
    free(x);
    free(w);
    solving_close(&solving);
}

static void add_bias(const char *model, int32_t layer, enum stage stage, double times, bool reversed, const char *says,
                     double solved)
{
    struct solving solving;
    solving_open(&solving, model, layer, stage);
    float *b = solving_weights(solving.step->weight[1]);
    for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
        uint32_t d = (uint32_t)(at % solving.width);
        solving.rows[at] = (float)(solving.rows[at] - (double)b[d] + times * b[reversed ? solving.width - 1 - d : d]);
    }
    solving_expect(&solving, KIND_ADDITIVE, says, solved);
    free(b);
    solving_close(&solving);
}

static void vectors_are_added(void **state)
{
    (void)state;
    add_bias("tiny-gpt-oss", 0, STAGE_o_proj, 2, false, "is added 2 times", 2);
    add_bias("tiny-gpt-oss-105", 1, STAGE_v_proj, 3, false, "is added 3 times", 3);
    add_bias("tiny-gpt-oss", 2, STAGE_router_logits, 0.5, false, "is added 0.5 times", 0.5);
    add_bias("tiny-gpt-oss", 1, STAGE_q_proj, 1, true, "in another order", NAN);
    struct solving solving;
    solving_open(&solving, "tiny-gemma3", 2, STAGE_ffn_up);
    for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
        solving.rows[at] += (float)sin((double)(at % solving.width));
    }
    solving_expect(&solving, KIND_ADDITIVE, "none of this model's biases", NAN);
    solving_close(&solving);
    /* The twin: another vector in each row. */
    solving_open(&solving, "tiny-gemma3", 2, STAGE_ffn_up);
    for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
        solving.rows[at] += (float)sin((double)(at * at % 1013));
    }
    solving_refuse(&solving, KIND_ADDITIVE);
    solving_close(&solving);
}

static void experts_bias_is_added_again(void **state)
{
    (void)state;
    struct solving solving;
    solving_open(&solving, "tiny-gpt-oss", 1, STAGE_moe_down);
    const struct expert_matmul_params *params = &solving.step->params.expert_matmul;
    float *b = solving_weights(solving.step->weight[1]);
    for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
        uint64_t p = at / solving.width, d = at % solving.width;
        uint64_t expert = (uint64_t)solving.in[1][p * params->k + d / params->n_out];
        solving.rows[at] += b[expert * params->n_out + d % params->n_out];
    }
    solving_expect(&solving, KIND_ADDITIVE, "is added 2 times", 2);
    free(b);
    solving_close(&solving);
}

/* moe_gate_up or moe_down with each expert's input multiplied by `times` of its share. */
static void multiply_expert_inputs(struct solving *solving, float (*times)(float share, uint32_t j))
{
    const struct expert_matmul_params *p = &solving->step->params.expert_matmul;
    const float *shares = stage_at(&solving->small.golden, solving->step->layer, STAGE_router_weights)->rows;
    float *w = solving_weights(solving->step->weight[0]), *b = solving_weights(solving->step->weight[1]);
    for (uint64_t at = 0; at < (uint64_t)solving->n * solving->width; at++) {
        uint64_t row = at / solving->width, d = at % solving->width, j = d / p->n_out, o = d % p->n_out;
        uint64_t expert = (uint64_t)solving->in[1][row * p->k + j];
        const float *x = solving->in[0] + row * solving->in_width[0] + (p->shared_x ? 0 : j * p->n_in);
        double sum = 0;
        for (uint32_t i = 0; i < p->n_in; i++) {
            sum += (double)w[(expert * p->n_out + o) * p->n_in + i] * x[i];
        }
        solving->rows[at] =
            (float)((double)times(shares[row * p->k + j], (uint32_t)j) * sum + b[expert * p->n_out + o]);
    }
    free(b);
    free(w);
}

static float by_share(float share, uint32_t j)
{
    (void)j;
    return share;
}

static float by_slot(float share, uint32_t j)
{
    (void)share;
    return 0.3F + 0.4F * (float)j;
}

static void router_weight_is_on_the_input(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        enum stage stage;
    } cases[] = {{"tiny-gpt-oss", 1, STAGE_moe_gate_up}, {"tiny-gpt-oss-odd", 0, STAGE_moe_down}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
        multiply_expert_inputs(&solving, by_share);
        solving_expect(&solving, KIND_WIRING, "router's weight multiplies the input", NAN);
        multiply_expert_inputs(&solving, by_slot); /* the twin: not by the share */
        solving_refuse(&solving, KIND_WIRING);
        solving_close(&solving);
    }
}

static double silu(double gate)
{
    return gate / (1 + exp(-gate));
}

static double gelu(double gate)
{
    return gate / 2 * (1 + tanh(sqrt(2 / M_PI) * (gate + 0.044715 * gate * gate * gate)));
}

static void inputs_are_miswired(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        double (*act)(double);
    } models[] = {{"tiny-llama", silu}, {"tiny-gemma3", gelu}};
    struct solving solving;
    for (size_t m = 0; m < 2; m++) {
        solving_open(&solving, models[m].model, 1, STAGE_ffn_act);
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            solving.rows[at] = (float)(models[m].act(solving.in[1][at]) * solving.in[0][at]);
        }
        solving_expect(&solving, KIND_WIRING, "exchanged", NAN);
        solving_close(&solving);
        solving_open(&solving, models[m].model, 2, STAGE_attn_resid);
        const float *normed = stage_at(&solving.small.golden, 2, STAGE_attn_norm)->rows;
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            solving.rows[at] = normed[at] + solving.in[1][at];
        }
        solving_expect(&solving, KIND_WIRING, "attn_norm", NAN);
        solving_close(&solving);
    }
    solving_open(&solving, "tiny-llama", LAYER_NONE, STAGE_logits);
    float *w = solving_weights(solving.step->weight[0]);
    solving_product(&solving, w, stage_at(&solving.small.golden, 3, STAGE_layer_out)->rows, NULL);
    solving_expect(&solving, KIND_WIRING, "computed from layer 3 layer_out", NAN);
    free(w);
    solving_close(&solving);
}

static void weights_are_miswired(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        enum stage stage, of;
        int32_t layer, of_layer;
    } cases[] = {{"tiny-gemma3", STAGE_o_proj, STAGE_o_proj, 1, 3}, {"tiny-llama", STAGE_q_proj, STAGE_q_proj, 0, 2}};
    for (size_t i = 0; i < 2; i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, cases[i].layer, cases[i].stage);
        int32_t other = plan_find(&solving.small.plan, cases[i].of_layer, cases[i].of);
        float *w = solving_weights(solving.small.plan.steps[other].weight[0]);
        solving_product(&solving, w, solving.in[0], NULL);
        solving_expect(&solving, KIND_WIRING, "another step's", NAN);
        free(w);
        solving_close(&solving);
    }
}

/* moe_out with other shares. */
typedef float shares_function(const float *right, const float *experts, uint32_t j, uint32_t k);

static float without_high_experts(const float *right, const float *experts, uint32_t j, uint32_t k)
{
    (void)k;
    return experts[j] >= 4 ? 0 : right[j];
}

static float without_last(const float *right, const float *experts, uint32_t j, uint32_t k)
{
    (void)experts;
    return j == k - 1 ? 0 : right[j];
}

static float reversed(const float *right, const float *experts, uint32_t j, uint32_t k)
{
    (void)experts;
    return right[k - 1 - j];
}

static float ones(const float *right, const float *experts, uint32_t j, uint32_t k)
{
    (void)right;
    (void)experts;
    (void)j;
    (void)k;
    return 1;
}

static void shares_are_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t layer;
        shares_function *shares;
        enum fault_kind kind;
    } cases[] = {{"tiny-gpt-oss", 1, without_high_experts, KIND_MISSING_TERMS},
                 {"tiny-gpt-oss", 2, without_last, KIND_MISSING_TERMS},
                 {"tiny-gpt-oss", 0, reversed, KIND_LAYOUT},
                 {"tiny-gpt-oss", 3, ones, KIND_FORMULA}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, cases[i].layer, STAGE_moe_out);
        const float *experts = stage_at(&solving.small.golden, cases[i].layer, STAGE_router_indices)->rows;
        uint32_t k = solving.step->params.expert_sum.k;
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            uint64_t p = at / solving.width, d = at % solving.width;
            double sum = 0;
            for (uint32_t j = 0; j < k; j++) {
                sum += (double)cases[i].shares(solving.in[1] + p * k, experts + p * k, j, k) *
                       solving.in[0][(p * k + j) * solving.width + d];
            }
            solving.rows[at] = (float)sum;
        }
        solving_expect(&solving, cases[i].kind, "", NAN);
        solving_close(&solving);
    }
}

static void sums_have_factors(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        float residual, branch;
        enum fault_kind kind;
        double solved;
    } cases[] = {{"tiny-llama", 1, 0.5f, KIND_CONSTANT_MULTIPLE, 0.5},
                 {"tiny-gemma2", 1.25f, 1, KIND_CONSTANT_MULTIPLE, 1.25}};
    for (size_t i = 0; i < 2; i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, 1, STAGE_layer_out);
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            solving.rows[at] = cases[i].residual * solving.in[0][at] + cases[i].branch * solving.in[1][at];
        }
        solving_expect(&solving, cases[i].kind, "times the residual", cases[i].solved);
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) { /* the twin: a factor of each value */
            solving.rows[at] = solving.in[0][at] + solving.in[1][at] * (1 + (float)(at % 3));
        }
        solving_refuse(&solving, KIND_CONSTANT_MULTIPLE);
        solving_close(&solving);
    }
}

static void heads_are_read_in_another_order(void **state)
{
    (void)state;
    static const char *const models[] = {"tiny-llama", "tiny-gpt-oss"};
    for (size_t m = 0; m < 2; m++) {
        struct solving solving;
        solving_open(&solving, models[m], 1, STAGE_o_proj);
        const struct step *from = &solving.small.plan.steps[solving.step->input[0]];
        uint32_t heads = from->params.attention.heads, width = from->width;
        float *x = xmalloc((uint64_t)solving.n * width * sizeof(*x)), *w = solving_weights(solving.step->weight[0]);
        float *b = solving.step->weight[1] ? solving_weights(solving.step->weight[1]) : NULL;
        for (uint64_t at = 0; at < (uint64_t)solving.n * width; at++) {
            uint64_t i = at % width;
            x[at] = solving.in[0][at - i + i % heads * (width / heads) + i / heads];
        }
        solving_product(&solving, w, x, b);
        solving_expect(&solving, KIND_LAYOUT, "as if it were [dim, heads]", NAN);
        free(b);
        free(w);
        free(x);
        solving_close(&solving);
    }
}

/* A product's rows with another input, matrix or sum than their own. */
enum other { INPUT_OF_ROW_BEFORE, ROWS_OF_W_ROLLED, VECTOR_ADDED, NOISE_ADDED };

static void make_other(struct solving *solving, enum other other, uint32_t by)
{
    uint32_t n_in = solving->in_width[0];
    float *w = solving_weights(solving->step->weight[0]), *x = xmalloc((uint64_t)solving->n * n_in * sizeof(*x));
    float *b = solving->step->weight[1] ? solving_weights(solving->step->weight[1]) : NULL;
    float *rolled = xmalloc((uint64_t)solving->width * n_in * sizeof(*rolled));
    for (uint32_t p = 0; p < solving->n; p++) {
        uint32_t from = other == INPUT_OF_ROW_BEFORE && p >= by ? p - by : p;
        memcpy(x + (uint64_t)p * n_in, solving->in[0] + (uint64_t)from * n_in, n_in * sizeof(*x));
    }
    for (uint32_t o = 0; o < solving->width; o++) {
        uint32_t from = other == ROWS_OF_W_ROLLED ? (o + by) % solving->width : o;
        memcpy(rolled + (uint64_t)o * n_in, w + (uint64_t)from * n_in, n_in * sizeof(*w));
    }
    solving_product(solving, rolled, x, b);
    for (uint64_t at = 0; at < (uint64_t)solving->n * solving->width && other >= VECTOR_ADDED; at++) {
        uint64_t seed = other == VECTOR_ADDED ? at % solving->width : at;
        solving->rows[at] += (float)(0.1 * by * sin(3.7 * (double)seed + 0.3));
    }
    free(rolled);
    free(b);
    free(x);
    free(w);
}

static void products_of_others_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        enum stage stage;
        enum other other;
        uint32_t by;
        enum fault_kind kind;
        const char *says; /* NULL: nothing is named */
    } cases[] = {
        {"tiny-llama", STAGE_o_proj, INPUT_OF_ROW_BEFORE, 2, KIND_WIRING, "the position 2 before it"},
        {"tiny-gemma2-odd", STAGE_ffn_up, INPUT_OF_ROW_BEFORE, 3, KIND_WIRING, "the position 3 before it"},
        {"tiny-llama-105", STAGE_o_proj, ROWS_OF_W_ROLLED, 3, KIND_LAYOUT, "row r is its row r + 3"},
        {"tiny-gemma3", STAGE_ffn_down, ROWS_OF_W_ROLLED, 8, KIND_LAYOUT, "row r is its row r + 8"},
        {"tiny-llama", STAGE_ffn_down, VECTOR_ADDED, 1, KIND_ADDITIVE, "none of this model's biases"},
        {"tiny-gpt-oss-odd", STAGE_q_proj, VECTOR_ADDED, 4, KIND_ADDITIVE, "none of this model's biases"},
        {"tiny-llama", STAGE_ffn_down, NOISE_ADDED, 1, KIND_ADDITIVE, NULL},
        {"tiny-llama", STAGE_o_proj, NOISE_ADDED, 2, KIND_WIRING, NULL},
        {"tiny-gemma3", STAGE_ffn_gate, NOISE_ADDED, 3, KIND_LAYOUT, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, 1, cases[i].stage);
        make_other(&solving, cases[i].other, cases[i].by);
        if (cases[i].says) {
            solving_expect(&solving, cases[i].kind, cases[i].says, NAN);
        } else {
            solving_refuse(&solving, cases[i].kind);
        }
        solving_close(&solving);
    }
}

/* Rows of the embedding are those of the ids a few behind their own; the twin: each is of two tokens. */
static void tokens_are_others(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int32_t shift;
    } cases[] = {{"tiny-llama", 3}, {"tiny-gemma2", -2}, {"tiny-gpt-oss", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct solving solving;
        solving_open(&solving, cases[i].model, LAYER_NONE, STAGE_embed);
        const struct embed_params *p = &solving.step->params.embed;
        float *w = solving_weights(solving.step->weight[0]);
        bool can = true;
        for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
            int32_t own = solving.small.golden.tokens[at / solving.width], id = own + cases[i].shift;
            can &= id >= 0 && (uint32_t)id < p->vocab;
            float second = cases[i].shift == 0 ? w[((uint64_t)(own + 1) % p->vocab) * p->width + at % p->width] : 0;
            solving.rows[at] =
                can ? p->scale * (w[(uint64_t)id * p->width + at % p->width] + second) : solving.rows[at];
        }
        assert_true(can);
        if (cases[i].shift != 0) {
            solving_expect(&solving, KIND_WIRING, "Every token has the embedding of id", cases[i].shift);
        } else {
            solving_refuse(&solving, KIND_WIRING);
        }
        free(w);
        solving_close(&solving);
    }
}

static void values_are_clipped(void **state)
{
    (void)state;
    struct solving solving;
    solving_open(&solving, "tiny-llama", 1, STAGE_ffn_gate);
    for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
        solving.rows[at] = fminf(0.75f, solving.rows[at]);
    }
    solving_expect(&solving, KIND_SATURATION, "clipped", 0.75);
    solving_close(&solving);
    solving_open(&solving, "tiny-gemma3", 2, STAGE_ffn_up);
    for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) {
        solving.rows[at] = fmaxf(-0.25f, fminf(0.5f, solving.rows[at]));
    }
    solving_expect(&solving, KIND_SATURATION, "[-0.25, 0.5]", NAN);
    for (uint64_t at = 0; at < (uint64_t)solving.n * solving.width; at++) { /* the twin: one is beyond */
        solving.rows[at] = at == 5 ? 9 : solving.rows[at];
    }
    solving_refuse(&solving, KIND_SATURATION);
    solving_close(&solving);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_are_missing),
        cmocka_unit_test(other_terms_are_not),
        cmocka_unit_test(vectors_are_added),
        cmocka_unit_test(experts_bias_is_added_again),
        cmocka_unit_test(router_weight_is_on_the_input),
        cmocka_unit_test(inputs_are_miswired),
        cmocka_unit_test(weights_are_miswired),
        cmocka_unit_test(shares_are_wrong),
        cmocka_unit_test(sums_have_factors),
        cmocka_unit_test(heads_are_read_in_another_order),
        cmocka_unit_test(products_of_others_are_told),
        cmocka_unit_test(tokens_are_others),
        cmocka_unit_test(values_are_clipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
