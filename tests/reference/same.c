/* One model in several file formats is one model: every stage is equal, bit for bit, on the reference.
 * golden/make_same.py wrote the files: bf16 as safetensors, as GGUF (norms that include Gemma's +1, permuted q and k of
 * Llama, a table for llama3's rope scaling, GPT-OSS's experts as gate and up in MXFP4 of another order) and as RDRR
 * (tensors across shards); Q4_K as RDRR in each layout, and as gguf's dequantiser makes it. */
#include "model/model.h"
#include "tests/reference/reference_case.h"
#include "tests/support/expect.h"
#include "tests/support/scratch.h"

#include <stdio.h>

#define SAME LOCKSTEP_SOURCE_DIR "/golden/same/"

enum { N_PROMPT = 7, N_TOKENS = 9 };
static const int32_t tokens[N_TOKENS] = {1, 5, 9, 33, 2, 7, 8, 3, 66};

/* All stages of a run, one after another. */
struct run {
    float *values;
    uint64_t n;
    uint32_t n_steps;
};

static void run_batch(struct backend *backend, uint32_t first, uint32_t n_rows, float *values, uint64_t *n)
{
    struct error err;
    struct batch batch = {first, n_rows, tokens + first, first >= N_PROMPT};
    const struct plan *plan = backend->plan;
    assert_int_equal(backend->ops->begin(backend, &batch, &err), STATUS_OK);
    assert_int_equal(backend->ops->run(backend, 0, plan->n_steps, &err), STATUS_OK);
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        assert_int_equal(backend->ops->read(backend, i, values + *n, &err), STATUS_OK);
        *n += (uint64_t)n_rows * plan->steps[i].width;
    }
}

static struct run run_model(const char *path)
{
    struct run run = {0};
    struct model model;
    struct plan plan;
    struct backend backend;
    struct error err;
    expect_opens(&model, path, path);
    assert_int_equal(plan_build(&plan, &model, &err), STATUS_OK);
    assert_int_equal(reference_open(&backend, &plan, N_TOKENS, &err), STATUS_OK);
    uint64_t width = 0;
    for (uint32_t i = 0; i < plan.n_steps; i++) {
        width += plan.steps[i].width;
    }
    run.n_steps = plan.n_steps;
    run.values = xcalloc(N_TOKENS * width, sizeof(float));
    run_batch(&backend, 0, N_PROMPT, run.values, &run.n);
    for (uint32_t i = N_PROMPT; i < N_TOKENS; i++) {
        run_batch(&backend, i, 1, run.values, &run.n);
    }
    backend.ops->close(&backend);
    plan_free(&plan);
    model_close(&model);
    return run;
}

static void assert_same(const char *a, const char *b)
{
    struct run x = run_model(a), y = run_model(b);
    assert_int_equal(x.n_steps, y.n_steps);
    assert_int_equal(x.n, y.n);
    for (uint64_t i = 0; i < x.n; i++) {
        if (memcmp(&x.values[i], &y.values[i], sizeof(float)) != 0) {
            fail_msg("%s and %s: value %llu is %g and %g", a, b, (unsigned long long)i, (double)x.values[i],
                     (double)y.values[i]);
        }
    }
    free(x.values);
    free(y.values);
}

static void one_model_in_three_files(void **state)
{
    (void)state;
    assert_same(SAME "gemma3-bf16", SAME "gemma3-bf16.gguf");
    assert_same(SAME "gemma3-bf16", SAME "gemma3-rdrr");
    assert_same(SAME "gemma2-bf16", SAME "gemma2-bf16.gguf");
    assert_same(SAME "gemma2-bf16", SAME "gemma2-rdrr");
    assert_same(SAME "llama-bf16", SAME "llama-bf16.gguf");
    assert_same(SAME "llama-bf16", SAME "llama-rdrr");
    assert_same(SAME "llama3-rope-bf16", SAME "llama3-rope-bf16.gguf");
    assert_same(SAME "gpt-oss-bf16", SAME "gpt-oss-bf16.gguf");
    assert_same(SAME "gpt-oss-bf16", SAME "gpt-oss-rdrr");
}

static void q4_k_in_every_layout(void **state)
{
    (void)state;
    assert_same(SAME "llama-q4_k-rdrr", SAME "llama-q4_k-f32");
    struct model model;
    uint32_t seen[3] = {0};
    expect_opens(&model, SAME "llama-q4_k-rdrr", "q4_k");
    for (uint32_t i = 0; i < model.n_tensors; i++) {
        seen[model.tensors[i].layout] += model.tensors[i].dtype == DTYPE_Q4_K;
    }
    assert_true(seen[LAYOUT_ROWS] && seen[LAYOUT_PACKED] && seen[LAYOUT_COLUMNS]);
    model_close(&model);
}

/* The twin: a copy of the GGUF with one bit of a weight changed. */
static void one_bit_shows(void **state)
{
    (void)state;
    char folder[256], path[512];
    struct model model;
    expect_opens(&model, SAME "gemma3-bf16.gguf", "gguf");
    uint64_t at = model_tensor(&model, "model.layers.6.mlp.up_proj.weight")->offset + 101;
    model_close(&model);
    static uint8_t bytes[1 << 20];
    size_t n = scratch_read(SAME "gemma3-bf16.gguf", bytes, sizeof(bytes));
    bytes[at] ^= 1;
    scratch_make(folder);
    scratch_write(scratch_path(path, folder, "model.gguf"), bytes, n);
    struct run right = run_model(SAME "gemma3-bf16.gguf"), wrong = run_model(path);
    assert_int_equal(right.n, wrong.n);
    assert_memory_not_equal(right.values, wrong.values, right.n * sizeof(float));
    free(right.values);
    free(wrong.values);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_model_in_three_files),
        cmocka_unit_test(q4_k_in_every_layout),
        cmocka_unit_test(one_bit_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
