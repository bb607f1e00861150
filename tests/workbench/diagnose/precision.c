/* Precision as a diagnosis: rounded inputs or a rounded cache are named, and told apart from bugs. The rounded results
 * are computed here by the formats' definitions and put into a healthy run. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/diagnose/diagnose.h"

/* A model, and the reference's run of it in which one stage is replaced. */
struct bench {
    struct model model;
    struct plan plan;
    struct trace golden, run;
};

static void open_bench(struct bench *bench, const char *model, const char *golden)
{
    char path[512];
    struct error err;
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/%s", model);
    assert_int_equal(model_open(&bench->model, path, &err), STATUS_OK);
    assert_int_equal(plan_build(&bench->plan, &bench->model, &err), STATUS_OK);
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/%s.h5", golden);
    assert_int_equal(trace_read(&bench->golden, path, &err), STATUS_OK);
    record_run(&bench->run, &bench->plan, &bench->golden);
}

static void close_bench(struct bench *bench)
{
    trace_free(&bench->run);
    trace_free(&bench->golden);
    plan_free(&bench->plan);
    model_close(&bench->model);
}

static uint32_t step_of(const struct bench *bench, int32_t layer, enum stage stage)
{
    int32_t step = plan_find(&bench->plan, layer, stage);
    assert_true(step >= 0);
    return (uint32_t)step;
}

/* Rounds a row [n] in place. */
typedef void rounding(float *row, uint32_t n);

static void no_rounding(float *row, uint32_t n)
{
    (void)row;
    (void)n;
}

static void to_bf16(float *row, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], 4);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&row[i], &bits, 4);
    }
}

static float half(float x)
{
    return round_to_dtype(x, DTYPE_F16);
}

static void to_f16(float *row, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        row[i] = half(row[i]);
    }
}

/* Quantises a block of up to 32 values to q[i] and an unrounded scale. Returns the sum of q. */
static int quantise(const float *x, uint32_t n, int *q, float *d)
{
    float most = 0;
    int sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    *d = most / 127;
    for (uint32_t i = 0; i < n; i++) {
        sum += q[i] = *d > 0 ? (int)roundf(x[i] * (1 / *d)) : 0;
    }
    return sum;
}

static void by_blocks(float *row, uint32_t n, uint32_t length, bool half_scale)
{
    for (uint32_t first = 0; first < n; first += length) {
        int q[64];
        float d;
        uint32_t count = n - first < length ? n - first : length;
        (void)quantise(row + first, count, q, &d);
        for (uint32_t i = 0; i < count; i++) {
            row[first + i] = (float)q[i] * (half_scale ? half(d) : d);
        }
    }
}

static void to_q8_0(float *row, uint32_t n)
{
    by_blocks(row, n, 32, true);
}

static void to_q8_1_with_f32(float *row, uint32_t n)
{
    by_blocks(row, n, 32, false);
}

static void to_blocks_of_16(float *row, uint32_t n)
{
    by_blocks(row, n, 16, true);
}

/* Recomputes a stage of the run from rounded inputs. `inputs` has a bit for each. */
static void remake(struct bench *bench, uint32_t step_index, rounding *round, unsigned inputs)
{
    const struct step *step = &bench->plan.steps[step_index];
    struct trace copy; /* whose inputs are rounded */
    trace_copy(&copy, &bench->run);
    for (unsigned k = 0; k < OP_MAX_INPUTS && step->input[k] >= 0; k++) {
        const struct step *from = &bench->plan.steps[step->input[k]];
        struct trace_stage *stage = stage_at(&copy, from->layer, from->stage);
        for (uint32_t p = 0; p < copy.n_positions && (inputs & 1u << k); p++) {
            round(stage->rows + (uint64_t)p * stage->width, stage->width);
        }
    }
    struct rows rows;
    rows_gather(&rows, &bench->plan, step_index, &copy, NULL);
    assert_int_equal(rows.n, copy.n_positions);
    double *y = xcalloc((uint64_t)rows.n * step->width, sizeof(*y));
    op_run(&(struct op_batch){.step = step, .n_rows = rows.n, .rows = rows.rows, .y = y});
    struct trace_stage *stage = stage_at(&bench->run, step->layer, step->stage);
    for (uint64_t i = 0; i < (uint64_t)rows.n * step->width; i++) {
        stage->rows[i] = (float)y[i];
    }
    free(y);
    rows_free(&rows);
    trace_free(&copy);
}

/* The first diagnosis of a step must have this name ("": there is none) and say this. */
static void expect_named(const struct bench *bench, uint32_t step, const char *name, const char *says)
{
    struct diagnosis found[8];
    char label[64];
    uint32_t n = diagnose_step(&bench->plan, step, &bench->run, found, 8);
    print_message("    %s: %s\n", step_label(&bench->plan.steps[step], label), n ? found[0].fault : "nothing");
    assert_string_equal(n ? found[0].fault : "", name);
    if (!*name) {
        return;
    }
    assert_int_equal(found[0].how, HOW_REPRODUCED);
    assert_non_null(strstr(found[0].text, "Precision, not a bug"));
    assert_non_null(strstr(found[0].text, says));
}

static void rounded_inputs_are_named(void **state)
{
    (void)state;
    static const struct {
        rounding *round;
        const char *name, *says;
    } cases[] = {
        {to_bf16, "inputs-bf16", "rounded to bf16"},
        {to_f16, "inputs-f16", "rounded to f16"},
        {to_q8_0, "inputs-q8_0", "f16 scale"},
        {to_q8_1_with_f32, "inputs-q8_1", "f32 scale"},
        {no_rounding, "", ""},
    };
    struct bench bench;
    open_bench(&bench, "tiny-gemma3", "tiny-gemma3");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        static const enum stage stages[] = {STAGE_q_proj, STAGE_ffn_down, STAGE_attn_out};
        for (size_t s = 0; s < 3; s++) {
            uint32_t step = step_of(&bench, 3, stages[s]);
            remake(&bench, step, cases[i].round, 7);
            expect_named(&bench, step, cases[i].name, cases[i].says);
            remake(&bench, step, no_rounding, 7);
        }
    }
    close_bench(&bench);
}

/* Blocks of another length are no known format, and not called precision. */
static void unknown_blocks_are_not_named(void **state)
{
    (void)state;
    struct bench bench;
    struct diagnosis found[8];
    open_bench(&bench, "tiny-gemma3", "tiny-gemma3");
    uint32_t step = step_of(&bench, 3, STAGE_ffn_down);
    remake(&bench, step, to_blocks_of_16, 7);
    uint32_t n = diagnose_step(&bench.plan, step, &bench.run, found, 8);
    for (uint32_t i = 0; i < n; i++) {
        assert_null(strstr(found[i].text, "precision"));
    }
    close_bench(&bench);
}

static void rounded_cache_is_named(void **state)
{
    (void)state;
    static const struct {
        rounding *round;
        const char *name;
    } cases[] = {{to_f16, "kv-cache-f16"}, {to_bf16, "kv-cache-bf16"}, {to_q8_0, "kv-cache-q8_0"}, {no_rounding, ""}};
    static const char *const models[] = {"tiny-gemma3", "tiny-llama", "tiny-gpt-oss"};
    for (size_t m = 0; m < 3; m++) {
        struct bench bench;
        open_bench(&bench, models[m], models[m]);
        for (size_t i = 0; i < 4; i++) {
            uint32_t step = step_of(&bench, 2, STAGE_attn_out);
            remake(&bench, step, cases[i].round, 6);
            expect_named(&bench, step, cases[i].name, "KV cache");
        }
        close_bench(&bench);
    }
}

/* ggml's product of a row of Q4_1 with blocks of q8_1: d_w d_x (sum of q_w q_x) + m_w s_x, with d_x and s_x in f16. */
static double q4_1_times_q8_1(const uint8_t *row, const float *x, uint32_t n_in, bool sums)
{
    double y = 0;
    for (uint32_t first = 0; first < n_in; first += 32, row += 20) {
        int q[32], product = 0;
        float d, weight[32], zero[32];
        uint8_t block[20] = {0};
        int sum = quantise(x + first, 32, q, &d);
        struct tensor one = {.dtype = DTYPE_Q4_1, .n_dims = 1, .shape = {32}, .bytes = row, .n_bytes = 20};
        weights_decode(&one, 0, 0, 32, weight);
        memcpy(block, row, 4);
        one.bytes = block;
        weights_decode(&one, 0, 0, 32, zero); /* the minimum: q = 0 everywhere */
        double from_quants = 0;
        for (uint32_t i = 0; i < 32; i++) {
            product += q[i] * (row[4 + i % 16] >> (i < 16 ? 0 : 4) & 15);
            from_quants += (double)weight[i] * q[i];
        }
        uint16_t bits;
        memcpy(&bits, row, 2);
        block[2] = block[3] = 0, block[4] = 1; /* q = 1 at the first place, no minimum: the scale */
        weights_decode(&one, 0, 0, 32, weight);
        y += sums ? (double)weight[0] * half(d) * product + (double)zero[0] * half((float)sum * d)
                  : from_quants * half(d);
    }
    return y;
}

static void q8_1_with_a_minimum_is_named(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench, "tiny-llama-q4_1.gguf", "tiny-llama-q4_1");
    static const enum stage stages[] = {STAGE_o_proj, STAGE_ffn_down, STAGE_ffn_gate};
    for (int sums = 0; sums < 2; sums++) {
        for (size_t s = 0; s < 3; s++) {
            uint32_t index = step_of(&bench, 1, stages[s]);
            const struct step *step = &bench.plan.steps[index], *from = &bench.plan.steps[step->input[0]];
            const struct tensor *matrix = step->weight[0];
            const struct trace_stage *input = stage_at(&bench.run, from->layer, from->stage);
            struct trace_stage *output = stage_at(&bench.run, step->layer, step->stage);
            assert_int_equal(matrix->dtype, DTYPE_Q4_1);
            for (uint32_t p = 0; p < bench.run.n_positions; p++) {
                for (uint32_t o = 0; o < step->width; o++) {
                    output->rows[(uint64_t)p * step->width + o] = (float)q4_1_times_q8_1(
                        matrix->bytes + o * tensor_row_bytes(matrix), trace_row(input, p), input->width, sums);
                }
            }
            expect_named(&bench, index, sums ? "inputs-q8_1" : "inputs-q8_0", sums ? "f16 sum" : "q8_0");
            remake(&bench, index, no_rounding, 7);
            expect_named(&bench, index, "", "");
        }
    }
    close_bench(&bench);
}

/* A bug is named as a bug, not as a rounding that comes near it. */
static void a_bug_is_no_precision(void **state)
{
    (void)state;
    struct bench bench;
    struct fault_request request;
    struct plan faulty;
    struct diagnosis found[8];
    int32_t planted;
    open_bench(&bench, "tiny-gemma3", "tiny-gemma3");
    plan_copy(&faulty, &bench.plan);
    assert_int_equal(fault_parse(&request, "gelu-erf@2", NULL), STATUS_OK);
    assert_int_equal(fault_plant(&request, &faulty, &planted, NULL), STATUS_OK);
    trace_free(&bench.run);
    record_run(&bench.run, &faulty, &bench.golden);
    assert_true(diagnose_step(&bench.plan, (uint32_t)planted, &bench.run, found, 8) > 0);
    assert_string_equal(found[0].fault, "gelu-erf");
    plan_free(&faulty);
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounded_inputs_are_named), cmocka_unit_test(unknown_blocks_are_not_named),
        cmocka_unit_test(rounded_cache_is_named),   cmocka_unit_test(q8_1_with_a_minimum_is_named),
        cmocka_unit_test(a_bug_is_no_precision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
