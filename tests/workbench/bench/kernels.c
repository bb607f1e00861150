/* Kernels of bench --kernels in small sizes, with the programs that a GPU would run and under the validation layers:
 * each is right, its copies give the same bits, and it can be timed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/internal.h"
#include "workbench/bench/kernels/kernel_build.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define Q8_0 (1u << DTYPE_Q8_0)

static const struct kernel_model small = {
    .hidden = 64,
    .ffn = 96,
    .vocab = 160,
    .attention = {.heads = 4, .kv_heads = 2, .dim = 32, .scale = 0.18f, .softcap = 50, .window = 9},
    .norms_after = true,
    .norms_heads = true,
    .activation = ACTIVATION_GELU_TANH,
    .final_softcap = 30,
    .theta = 10000,
};
static const struct kernel_model plain = {
    .hidden = 64,
    .ffn = 96,
    .vocab = 160,
    .attention = {.heads = 4, .kv_heads = 2, .dim = 32, .scale = 0.18f},
    .activation = ACTIVATION_SILU,
    .theta = 10000,
};

static const struct kernel_case rows[] = {
    {"matmul", build_matmul, {.matmul = {64, 96, 0}}, NULL, Q8_0, 0, 0},
    {"rms_norm", build_rms_norm, {.rms_norm = {2, 32, 1e-6f, 1}}, NULL, 0, 0, 0},
    {"rope", build_rope, {.rope = {2, 32, ROPE_TYPE_DEFAULT, 10000, 1, 0, 0, 0, 0, 1}}, NULL, 0, 0, 20},
    {"attention", build_attention, {.attention = {4, 2, 32, 0.18f, 0, 0, 1}}, NULL, 0, 0, 20},
    {"embed", build_embed, {.embed = {64, 100, 8}}, NULL, Q8_0, 0, 0},
    {"glu", build_glu, {.glu = {96, ACTIVATION_SILU}}, NULL, 0, 0, 0},
    {"add", build_add, {.add = {96}}, NULL, 0, 0, 0},
    {"softcap", build_softcap, {.softcap = {96, 30}}, NULL, 0, 0, 0},
    {"topk", build_topk, {.topk = {32, 4}}, NULL, 0, 0, 0},
    {"topk_softmax", build_topk_softmax, {.topk_softmax = {32, 4}}, NULL, 0, 0, 0},
    {"expert_matmul", build_expert_matmul, {.expert_matmul = {8, 2, 64, 48, 1, 1}}, NULL, Q8_0, 0, 0},
    {"swiglu", build_swiglu, {.swiglu = {96, 7, 1.702f, 48}}, NULL, 0, 0, 0},
    {"expert_sum", build_expert_sum, {.expert_sum = {2, 48}}, NULL, 0, 0, 0},
    {"qkv group", build_qkv_group, {{0}}, &small, Q8_0, 0, 0},
    {"qkv group, plain", build_qkv_group, {{0}}, &plain, Q8_0, 0, 0},
    {"attention group", build_attention_group, {{0}}, &small, Q8_0, 0, 20},
    {"attention group, plain", build_attention_group, {{0}}, &plain, Q8_0, 0, 20},
    {"ffn group", build_ffn_group, {{0}}, &small, Q8_0, 0, 0},
    {"head group", build_head_group, {{0}}, &small, Q8_0, 0, 0},
};

static void must(enum status status, const struct error *err, const char *what)
{
    if (status != STATUS_OK) {
        fail_msg("%s: status %d: %s", what, (int)status, err->text);
    }
}

static void check(struct kernel *kernel, struct backend *engine, double *ratio, bool *same)
{
    struct error err;
    must(kernel_check(kernel, engine, ratio, same, &err), &err, kernel->name);
}

static void is_right_and_timed(struct kernel *kernel, struct backend *engine)
{
    struct error err;
    double ratio, ns = 0;
    bool same;
    check(kernel, engine, &ratio, &same);
    if (!(ratio <= 1) || !same) {
        fail_msg("%s: ratio %g, copies %s", kernel->name, ratio, same ? "agree" : "differ");
    }
    assert_true(kernel->bytes > 0);
    for (int waits = 0; waits < 2; waits++) {
        struct engine_repeat repeat = {
            kernel->first, kernel->n_steps, kernel->n_copies, kernel->stride, kernel->n_copies * (waits ? 3 : 1),
            waits};
        must(engine_time_repeat(engine, &repeat, &ns, &err), &err, kernel->name);
        assert_true(ns > 0);
    }
    struct engine_program programs[16];
    struct engine_programs list = {.programs = programs, .most = COUNT(programs)};
    must(engine_list_programs(engine, kernel->first, kernel->first + kernel->n_steps, &list, &err), &err, kernel->name);
    assert_true(list.n >= 1 && list.n <= COUNT(programs) && programs[0].lanes > 0 && programs[0].groups > 0);
}

/* The twin: the reference is told another input than the engine had. */
static void is_found_wrong(struct kernel *kernel, struct backend *engine)
{
    double ratio;
    bool same;
    struct step *step = &kernel->plan.steps[kernel->first];
    int32_t input = step->input[0];
    if (input < 0) {
        return;
    }
    float *x = &kernel->rows[input][(uint64_t)(kernel->n_positions - kernel->n_rows) * kernel->plan.steps[input].width];
    *x += 100; /* the largest, for topk */
    check(kernel, engine, &ratio, &same);
    if (!(ratio > 1)) {
        fail_msg("%s: ratio %g of another input", kernel->name, ratio);
    }
    assert_true(same);
}

/* Runs each case for one row and for five, on one engine. */
static void every_kernel(void **state)
{
    (void)state;
    struct backend engine = {0};
    struct error err;
    struct kernel *kernels[2 * COUNT(rows)]; /* the engine uses a kernel's plan until it gets the next one's */
    unsigned n = 0;
    for (unsigned i = 0; i < COUNT(rows); i++) {
        for (unsigned many = 0; many < 2; many++, n++) {
            kernels[n] = xmalloc(sizeof(struct kernel));
            /* Copies of an attention that do not wait for each other would share the memory for its partial results. */
            uint64_t cold_bytes = strstr(rows[i].name, "attention") ? 0 : 7000;
            kernel_open(kernels[n], &rows[i], rows[i].formats ? DTYPE_Q8_0 : DTYPE_F32, many ? 5 : 1, cold_bytes);
            struct engine_options options = {.max_positions = kernels[n]->n_positions, .validation = true};
            enum status status =
                n ? engine_replan(&engine, &kernels[n]->plan, &options, &err)
                  : backend_open(&engine, &kernels[n]->plan, &options, &(struct engine_limits){.matvec = true}, &err);
            must(status, &err, kernels[n]->name);
            must(kernel_begin_batch(kernels[n], &engine, &err), &err, kernels[n]->name);
            is_right_and_timed(kernels[n], &engine);
            is_found_wrong(kernels[n], &engine);
        }
    }
    engine.ops->close(&engine);
    while (n-- > 0) {
        kernel_close(kernels[n]);
        free(kernels[n]);
    }
}

/* The twin of "copies agree". */
static void other_weights_of_a_copy_are_found(void **state)
{
    (void)state;
    struct kernel *kernel = xmalloc(sizeof(*kernel));
    struct backend engine;
    struct error err;
    double ratio;
    bool same;
    kernel_open(kernel, &rows[0], DTYPE_Q8_0, 1, 22000);
    assert_int_equal(kernel->n_copies, 4); /* 96 x 2 x 34 bytes of weights and 96 x 4 of output each */
    struct step *last = &kernel->plan.steps[kernel->first + 3 * kernel->stride];
    struct tensor other = *last->weight[0];
    uint8_t *bytes = xmalloc(other.n_bytes);
    memcpy(bytes, other.bytes, other.n_bytes);
    bytes[20] ^= 1;
    other.bytes = bytes;
    last->weight[0] = &other;
    must(engine_open(&engine, &kernel->plan, &(struct engine_options){.max_positions = 1}, &err), &err, "open");
    must(kernel_begin_batch(kernel, &engine, &err), &err, "begin");
    check(kernel, &engine, &ratio, &same);
    assert_true(ratio <= 1);
    assert_false(same);
    engine.ops->close(&engine);
    free(bytes);
    kernel_close(kernel);
    free(kernel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel),
        cmocka_unit_test(other_weights_of_a_copy_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
