/* Shared by the reference's tests: random numbers that are the same everywhere, hand-made tensors and batches, and the
 * ratio of an error to its bound. */
#ifndef LOCKSTEP_TESTS_REFERENCE_REFERENCE_CASE_H
#define LOCKSTEP_TESTS_REFERENCE_REFERENCE_CASE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/error.h"
#include "reference/reference.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* splitmix64 (Vigna) */
static inline uint64_t random_bits(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Nearly normal: the sum of 12 uniform numbers. */
static inline float random_normal(uint64_t *state)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        sum += (double)(random_bits(state) >> 11) * 0x1p-53;
    }
    return (float)sum;
}

/* Returns n random numbers of a size around an offset; the caller frees them. */
static inline float *random_floats(uint64_t *state, uint64_t n, float size, float offset)
{
    float *values = xmalloc(n * sizeof(float));
    for (uint64_t i = 0; i < n; i++) {
        values[i] = offset + size * random_normal(state);
    }
    return values;
}

static inline struct tensor tensor_of_floats(const float *values, uint64_t rows, uint64_t cols)
{
    return (struct tensor){.name = "test",
                           .dtype = DTYPE_F32,
                           .n_dims = 2,
                           .shape = {rows, cols},
                           .bytes = (const uint8_t *)values,
                           .n_bytes = rows * cols * sizeof(float)};
}

/* A step with random weights and inputs, and its rows at consecutive positions. */
#define CASE_MAX_ROWS 48
struct op_case {
    struct step step;
    struct tensor weight[OP_MAX_WEIGHTS];
    float *weights[OP_MAX_WEIGHTS]; /* owned */
    float *inputs[OP_MAX_INPUTS];   /* owned: [n_rows, width of the input]; keys and values: [positions, width] */
    uint32_t input_width[OP_MAX_INPUTS];
    struct op_row rows[CASE_MAX_ROWS];
    uint32_t n_rows;
};

static inline void case_free(struct op_case *c)
{
    for (unsigned i = 0; i < OP_MAX_WEIGHTS; i++) {
        free(c->weights[i]);
    }
    for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
        free(c->inputs[i]);
    }
}

static inline void case_rows(struct op_case *c, uint32_t n_rows, uint32_t first_position)
{
    assert_true(n_rows <= CASE_MAX_ROWS);
    c->n_rows = n_rows;
    for (uint32_t r = 0; r < n_rows; r++) {
        c->rows[r] = (struct op_row){.arith = &arith_float32, .position = first_position + r};
    }
}

static inline void case_input(struct op_case *c, unsigned input, uint64_t *seed, uint32_t width, float size,
                              float offset)
{
    c->input_width[input] = width;
    c->inputs[input] = random_floats(seed, (uint64_t)c->n_rows * width, size, offset);
    for (uint32_t r = 0; r < c->n_rows; r++) {
        c->rows[r].in[input] = c->inputs[input] + (uint64_t)r * width;
    }
}

static inline void case_weight(struct op_case *c, unsigned weight, uint64_t *seed, uint32_t rows, uint32_t cols,
                               float size)
{
    c->weights[weight] = random_floats(seed, (uint64_t)rows * cols, size, 0);
    c->weight[weight] = tensor_of_floats(c->weights[weight], rows, cols);
    c->step.weight[weight] = &c->weight[weight];
}

static inline void case_embed(struct op_case *c, uint64_t seed, uint32_t n_rows, struct embed_params p)
{
    *c = (struct op_case){.step = {.op = OP_embed, .width = p.width, .params.embed = p}};
    case_rows(c, n_rows, 0);
    case_weight(c, 0, &seed, p.vocab, p.width, 0.1f);
    for (uint32_t r = 0; r < n_rows; r++) {
        c->rows[r].token = (int32_t)(random_bits(&seed) % p.vocab);
    }
}

static inline void case_rms_norm(struct op_case *c, uint64_t seed, uint32_t n_rows, struct rms_norm_params p)
{
    *c = (struct op_case){.step = {.op = OP_rms_norm, .width = p.groups * p.dim, .params.rms_norm = p}};
    case_rows(c, n_rows, 0);
    case_weight(c, 0, &seed, 1, p.dim, 2);
    case_input(c, 0, &seed, c->step.width, 3, 0.5f);
}

static inline void case_matmul(struct op_case *c, uint64_t seed, uint32_t n_rows, struct matmul_params p)
{
    *c = (struct op_case){.step = {.op = OP_matmul, .width = p.n_out, .params.matmul = p}};
    case_rows(c, n_rows, 0);
    case_weight(c, 0, &seed, p.n_out, p.n_in, 0.05f);
    if (p.has_bias) {
        case_weight(c, 1, &seed, 1, p.n_out, 2);
    }
    case_input(c, 0, &seed, p.n_in, 1, 0.1f);
}

static inline void case_rope(struct op_case *c, uint64_t seed, uint32_t n_rows, uint32_t first, struct rope_params p)
{
    *c = (struct op_case){.step = {.op = OP_rope, .width = p.heads * p.dim, .params.rope = p}};
    case_rows(c, n_rows, first);
    case_input(c, 0, &seed, c->step.width, 2, 0);
}

/* An attention: queries at positions first, first + 1, …, keys and values of all positions from 0 on. */
static inline void case_attention(struct op_case *c, uint64_t seed, uint32_t n_rows, uint32_t first,
                                  struct attention_params p)
{
    *c = (struct op_case){.step = {.op = OP_attention, .width = p.heads * p.dim, .params.attention = p}};
    case_rows(c, n_rows, first);
    case_input(c, 0, &seed, c->step.width, 1.5f, 0.2f);
    for (unsigned i = 1; i < 3; i++) {
        c->inputs[i] = random_floats(&seed, (uint64_t)(first + n_rows) * p.kv_heads * p.dim, 1.5f, 0.2f);
        for (uint32_t r = 0; r < n_rows; r++) {
            c->rows[r].in[i] = c->inputs[i];
        }
    }
}

static inline void case_glu(struct op_case *c, uint64_t seed, uint32_t n_rows, struct glu_params p)
{
    *c = (struct op_case){.step = {.op = OP_glu, .width = p.width, .params.glu = p}};
    case_rows(c, n_rows, 0);
    case_input(c, 0, &seed, p.width, 4, 0);
    case_input(c, 1, &seed, p.width, 1, 0);
}

static inline void case_add(struct op_case *c, uint64_t seed, uint32_t n_rows, struct add_params p)
{
    *c = (struct op_case){.step = {.op = OP_add, .width = p.width, .params.add = p}};
    case_rows(c, n_rows, 0);
    case_input(c, 0, &seed, p.width, 30, 0);
    case_input(c, 1, &seed, p.width, 1, 0);
}

static inline void case_softcap(struct op_case *c, uint64_t seed, uint32_t n_rows, struct softcap_params p)
{
    *c = (struct op_case){.step = {.op = OP_softcap, .width = p.width, .params.softcap = p}};
    case_rows(c, n_rows, 0);
    case_input(c, 0, &seed, p.width, 20, 0);
}

static inline void case_topk_softmax(struct op_case *c, uint64_t seed, uint32_t n_rows, struct topk_softmax_params p)
{
    *c = (struct op_case){.step = {.op = OP_topk_softmax, .width = p.k, .params.topk_softmax = p}};
    case_rows(c, n_rows, 0);
    case_input(c, 0, &seed, p.n, 3, 0);
}

static inline void case_topk(struct op_case *c, uint64_t seed, uint32_t n_rows, struct topk_params p)
{
    *c = (struct op_case){.step = {.op = OP_topk, .width = p.k, .params.topk = p}};
    case_rows(c, n_rows, 0);
    case_input(c, 0, &seed, p.n, 3, 0);
}

static inline void case_expert_matmul(struct op_case *c, uint64_t seed, uint32_t n_rows, struct expert_matmul_params p)
{
    *c = (struct op_case){.step = {.op = OP_expert_matmul, .width = p.k * p.n_out, .params.expert_matmul = p}};
    case_rows(c, n_rows, 0);
    case_weight(c, 0, &seed, p.n_experts * p.n_out, p.n_in, 0.05f);
    case_weight(c, 1, &seed, p.n_experts, p.n_out, 2);
    case_input(c, 0, &seed, p.shared_x ? p.n_in : p.k * p.n_in, 1, 0.1f);
    case_input(c, 1, &seed, p.k, 1, 0);
    for (uint32_t i = 0; i < n_rows * p.k; i++) {
        c->inputs[1][i] = (float)(random_bits(&seed) % p.n_experts);
    }
}

static inline void case_swiglu(struct op_case *c, uint64_t seed, uint32_t n_rows, struct swiglu_params p)
{
    *c = (struct op_case){.step = {.op = OP_swiglu, .width = p.width, .params.swiglu = p}};
    case_rows(c, n_rows, 0);
    case_input(c, 0, &seed, 2 * p.width, 4, 0);
}

static inline void case_expert_sum(struct op_case *c, uint64_t seed, uint32_t n_rows, struct expert_sum_params p)
{
    *c = (struct op_case){.step = {.op = OP_expert_sum, .width = p.width, .params.expert_sum = p}};
    case_rows(c, n_rows, 0);
    case_input(c, 0, &seed, p.k * p.width, 4, 0);
    case_input(c, 1, &seed, p.k, 0.2f, 0.25f);
}

/* A case as a row of a test's table. first: position of row 0, for ops that use it. */
struct case_row {
    enum op op;
    uint32_t n_rows, first;
    union step_params params;
};

static inline void case_make(struct op_case *c, uint64_t seed, const struct case_row *row)
{
    const union step_params *p = &row->params;
    switch (row->op) {
    case OP_rope:
        case_rope(c, seed, row->n_rows, row->first, p->rope);
        return;
    case OP_attention:
        case_attention(c, seed, row->n_rows, row->first, p->attention);
        return;
#define CASE(name)                                  \
    case OP_##name:                                 \
        case_##name(c, seed, row->n_rows, p->name); \
        return;
        CASE(embed)
        CASE(rms_norm)
        CASE(matmul)
        CASE(glu)
        CASE(add)
        CASE(softcap)
        CASE(topk)
        CASE(topk_softmax)
        CASE(expert_matmul)
        CASE(swiglu)
        CASE(expert_sum)
#undef CASE
    default:
        fail_msg("%s has no case", op_info(row->op)->name);
    }
}

/* Result of an op on some rows. */
struct result {
    uint64_t n; /* n_rows width */
    double *y, *bound;
};

static inline struct result run_rows(const struct step *step, const struct op_row *rows, uint32_t n_rows,
                                     uint32_t weights_dtype)
{
    struct result result = {.n = (uint64_t)n_rows * step->width};
    result.y = xcalloc(result.n, sizeof(double));
    result.bound = xcalloc(result.n, sizeof(double));
    op_run(&(struct op_batch){.step = step,
                              .weights_dtype = weights_dtype,
                              .n_rows = n_rows,
                              .rows = rows,
                              .y = result.y,
                              .bound = result.bound});
    return result;
}

static inline struct result case_run(const struct op_case *c)
{
    return run_rows(&c->step, c->rows, c->n_rows, DTYPE_F32);
}

static inline void result_free(struct result *result)
{
    free(result->y);
    free(result->bound);
}

/* Error divided by its bound; 0 / 0 is 0. */
static inline double error_ratio(double actual, double y, double bound)
{
    double error = fabs(actual - y);
    return error == 0 ? 0 : error / bound;
}

static inline double worst_ratio(const float *actual, const struct result *result)
{
    double worst = 0;
    for (uint64_t i = 0; i < result->n; i++) {
        worst = fmax(worst, error_ratio(actual[i], result->y[i], result->bound[i]));
    }
    return worst;
}

/* Asserts that y is as good as exact: equal to the naive sum in long double, to 1e-13 of the size of its terms. */
static inline void assert_exact(double y, long double naive, long double size)
{
    if (fabsl(y - naive) > 1e-13L * (size + fabsl(naive))) {
        fail_msg("%.17g, expected %.17Lg", y, naive);
    }
}

#endif
