/* Attention in every arithmetic of the closed list, written here once more in plain loops: a healthy run is parity with
 * that arithmetic inferred, and the softmax's scale times 1.01 under it, in all layers or in one, diverges. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/workbench/audit/compute_step.h"
#include "workbench/session/comparison.h"

enum { F32 = DTYPE_F32, F16 = DTYPE_F16, BF16 = DTYPE_BF16 };

/* How an engine computes attention. Types are F32, F16 or BF16. */
static const struct kernel {
    const char *name;
    uint32_t q, kv, scores, probs, acc, storage;
    bool unnormalised, sum_rounded;
    uint32_t tile; /* keys that share a running maximum; 0: one maximum */
    bool by_tile;  /* the accumulator is rounded once a tile */
} kernels[] = {
    {"f16 cache, bf16 probabilities", F32, F16, F32, BF16, F32, F32, false, false, 0, false},
    {"f16 accumulator and probabilities", F32, F32, F32, F16, F16, F32, true, false, 1, false},
    {"all f16, sum of rounded", F16, F16, F32, F16, F16, F32, true, true, 1, false},
    {"exponentials in f16", F16, F16, F32, F16, F32, F32, true, false, 0, false},
    {"exponentials in bf16, sum of rounded", F32, BF16, F32, BF16, F32, F32, true, true, 0, false},
    {"bf16 storage", F32, F32, F32, F32, F32, BF16, false, false, 0, false},
    {"bf16 storage, scores and probabilities", F32, F32, BF16, BF16, F32, BF16, false, false, 0, false},
    {"f16 queries, bf16 cache", F16, BF16, F32, F32, F32, F32, false, false, 0, false},
    {"bf16 queries, f16 cache and probabilities", BF16, F16, F32, F16, F32, F32, false, false, 0, false},
    {"tiles of 64", F16, F16, F32, F16, F16, F32, true, false, 64, true},
    {"tiles of 32, f32 accumulator", F32, BF16, F32, BF16, F32, F32, true, false, 32, true},
};
#define N_KERNELS (sizeof(kernels) / sizeof(kernels[0]))
#define N_SHORT (N_KERNELS - 2) /* the last two need more positions than a tile */

/* The keys and values that one head sees. */
struct head {
    const struct attention_params *p;
    const float *k, *v; /* of position 0 */
    uint32_t stride, first, n;
    float sink;
};

static void fill_scores(const struct head *head, const struct kernel *kernel, const float *q, float *s)
{
    for (uint32_t j = 0; j < head->n; j++) {
        const float *k = head->k + (uint64_t)(head->first + j) * head->stride;
        float sum = 0;
        for (uint32_t i = 0; i < head->p->dim; i++) {
            sum += round_to_dtype(q[i], kernel->q) * round_to_dtype(k[i], kernel->kv);
        }
        s[j] = round_to_dtype(round_to_dtype(sum, kernel->scores) * head->p->scale, kernel->scores);
    }
}

static void run_head(const struct head *head, const struct kernel *kernel, const float *q, float *y)
{
    uint32_t n = head->n, tile = kernel->tile ? kernel->tile : n, dim = head->p->dim;
    float *s = xmalloc(n * sizeof(*s)), *part = xmalloc(dim * sizeof(*part)), sum = 0, normal = 1;
    float max = kernel->tile == 0 ? head->sink : -INFINITY;
    fill_scores(head, kernel, q, s);
    memset(y, 0, dim * sizeof(*y));
    for (uint32_t j = 0; j < n && !kernel->unnormalised; j++) {
        max = fmaxf(max, s[j]);
    }
    if (!kernel->unnormalised) {
        normal = expf(head->sink - max);
        for (uint32_t j = 0; j < n; j++) {
            normal += expf(s[j] - max);
        }
    }
    for (uint32_t first = 0; first < n; first += tile) {
        uint32_t end = first + tile < n ? first + tile : n;
        float old = max;
        for (uint32_t j = first; j < end; j++) {
            max = fmaxf(max, s[j]);
        }
        float factor = expf(old - max);
        sum *= factor;
        memset(part, 0, dim * sizeof(*part));
        for (uint32_t i = 0; i < dim; i++) {
            y[i] = round_to_dtype(y[i] * factor, kernel->acc);
        }
        for (uint32_t j = first; j < end; j++) {
            const float *v = head->v + (uint64_t)(head->first + j) * head->stride;
            float exact = expf(s[j] - max) / normal, p = round_to_dtype(exact, kernel->probs);
            sum += kernel->sum_rounded ? p : exact;
            for (uint32_t i = 0; i < dim; i++) {
                float term = p * round_to_dtype(v[i], kernel->kv);
                kernel->by_tile ? (part[i] += term) : (y[i] = round_to_dtype(y[i] + term, kernel->acc));
            }
        }
        for (uint32_t i = 0; i < dim && kernel->by_tile; i++) {
            y[i] = round_to_dtype(y[i] + part[i], kernel->acc);
        }
    }
    float sink = expf(head->sink - max);
    sum += kernel->sum_rounded ? round_to_dtype(sink, kernel->probs) : sink;
    for (uint32_t i = 0; i < dim && kernel->unnormalised; i++) {
        y[i] /= sum;
    }
    free(part);
    free(s);
}

/* Writes attn_out of every position. */
static void run_attention(const struct plan *plan, const struct step *step, const struct kernel *kernel, float scale,
                          struct trace *trace)
{
    struct attention_params params = step->params.attention;
    params.scale *= scale;
    const struct trace_stage *in[3];
    for (int i = 0; i < 3; i++) {
        in[i] = trace_find_step(trace, &plan->steps[step->input[i]]);
    }
    struct trace_stage *out = trace_find_step(trace, step);
    float *sinks = xcalloc(params.heads, sizeof(*sinks));
    if (params.has_sinks) {
        weights_decode(step->weight[0], 0, 0, params.heads, sinks);
    }
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        uint32_t n = params.window && params.window < p + 1 ? params.window : p + 1;
        for (uint32_t h = 0; h < params.heads; h++) {
            uint64_t kv = (uint64_t)h / (params.heads / params.kv_heads) * params.dim, at = (uint64_t)h * params.dim;
            struct head head = {.p = &params,
                                .k = in[1]->rows + kv,
                                .v = in[2]->rows + kv,
                                .stride = in[1]->width,
                                .first = p + 1 - n,
                                .n = n,
                                .sink = params.has_sinks ? sinks[h] : -INFINITY};
            run_head(&head, kernel, in[0]->rows + (uint64_t)p * in[0]->width + at,
                     out->rows + (uint64_t)p * out->width + at);
        }
    }
    free(sinks);
}

/* A run of a model whose attention is computed so, with the scale times 1.01 in some layers (bits). */
static void run(const struct small_model *small, const struct kernel *kernel, unsigned wrong_layers,
                struct trace *trace)
{
    trace_copy(trace, &small->golden);
    for (uint32_t s = 0; s < small->plan.n_steps; s++) {
        const struct step *step = &small->plan.steps[s];
        struct trace_stage *stage = trace_find_step(trace, step);
        if (step->op == OP_attention) {
            run_attention(&small->plan, step, kernel, wrong_layers >> step->layer & 1 ? 1.01f : 1, trace);
        } else {
            compute_step(&small->plan, s, trace, &arith_float32);
        }
        for (uint64_t i = 0; i < (uint64_t)trace->n_positions * stage->width && kernel->storage != F32; i++) {
            stage->rows[i] = round_to_dtype(stage->rows[i], kernel->storage);
        }
    }
}

/* Whether a run diverges; then it does so at the first wrong layer's attention. */
static void expect(const char *model, const struct kernel *kernel, unsigned wrong_layers)
{
    struct small_model small;
    struct trace trace;
    small_open(&small, model, NULL);
    run(&small, kernel, wrong_layers, &trace);
    struct comparison comparison = {.plan = &small.plan};
    comparison_add(&comparison, SOURCE_TRACE, &trace);
    comparison_judge(&comparison, true, NULL);
    print_message("%s, %s, wrong layers %x: %s\n", model, kernel->name, wrong_layers,
                  comparison.verdict.diverged ? "diverged" : "parity");
    assert_int_equal(comparison.verdict.diverged, wrong_layers != 0);
    if (wrong_layers != 0) {
        const struct step *first = &comparison.plan->steps[verdict_first(&comparison.verdict)->step];
        assert_int_equal(first->stage, STAGE_attn_out);
        assert_int_equal(first->layer, __builtin_ctz(wrong_layers));
    }
    comparison_free(&comparison);
    small_close(&small);
}

static void kernels_of_llama(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHORT; i++) {
        expect("tiny-llama", &kernels[i], 0);
        expect("tiny-llama", &kernels[i], 0xf);
        expect("tiny-llama", &kernels[i], 0x4);
    }
}

/* A sink takes part in the maximum and in the sum. */
static void kernels_with_sinks(void **state)
{
    (void)state;
    for (size_t i = 3; i <= 4; i++) {
        expect("tiny-gpt-oss", &kernels[i], 0);
        expect("tiny-gpt-oss", &kernels[i], 0xf);
    }
}

/* Attention is alone in its class where a model has one layer. */
static void kernels_by_tile(void **state)
{
    (void)state;
    for (size_t i = N_SHORT; i < N_KERNELS; i++) {
        expect("tiny-llama-long", &kernels[i], 0);
        expect("tiny-llama-long", &kernels[i], 1);
    }
}

/* Two layers of four are wrong: the other two say what the arithmetic is. */
static void two_wrong_layers_of_four(void **state)
{
    (void)state;
    expect("tiny-llama", &kernels[1], 0xa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_of_llama),
        cmocka_unit_test(kernels_with_sinks),
        cmocka_unit_test(kernels_by_tile),
        cmocka_unit_test(two_wrong_layers_of_four),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
