/* Solvers of rope: healthy runs in which one rope is replaced by a wrong one, computed here pair by pair. Each kind of
 * bug has a case, a twin with other numbers in another model, and bugs of other kinds that it must refuse. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/program.h"
#include "tests/support/recording.h"
#include "workbench/diagnose/diagnose.h"

/* A wrong rope. NULL: as it should be. n_prompt: positions of the prompt. */
struct bug {
    double (*position)(uint32_t position, uint32_t n_prompt);
    double (*frequency)(const struct rope_params *p, uint32_t pair);
    double (*table)(double value);
    double scale; /* 0: the right one */
};

static double plain(const struct rope_params *p, uint32_t pair)
{
    return pow(p->theta, -2.0 * pair / p->dim);
}

/* Replaces a rope without scaling, or with bug->frequency. */
static void plant(struct small_model *small, uint32_t step_index, const struct bug *bug)
{
    const struct step *step = &small->plan.steps[step_index], *from = &small->plan.steps[step->input[0]];
    const struct rope_params *p = &step->params.rope;
    struct trace *trace = &small->golden;
    struct trace_stage *out = stage_at(trace, step->layer, step->stage);
    const struct trace_stage *in = stage_at(trace, from->layer, from->stage);
    uint32_t n_prompt = 0, half = p->dim / 2;
    double scale = bug->scale != 0 ? bug->scale : p->scale;
    while (trace->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    for (uint32_t row = 0; row < trace->n_positions; row++) {
        for (uint32_t i = 0; i < half; i++) {
            double position = bug->position ? bug->position(row, n_prompt) : row;
            double angle = position * (bug->frequency ? bug->frequency(p, i) : plain(p, i));
            double cosine = scale * cos(angle), sine = scale * sin(angle);
            cosine = bug->table ? bug->table(cosine) : cosine;
            sine = bug->table ? bug->table(sine) : sine;
            for (uint32_t h = 0; h < p->heads; h++) {
                uint64_t at = (uint64_t)row * out->width + (uint64_t)h * p->dim + i;
                double a = in->rows[at], b = in->rows[at + half];
                out->rows[at] = (float)(a * cosine - b * sine);
                out->rows[at + half] = (float)(b * cosine + a * sine);
            }
        }
    }
}

static double chunk_twice(uint32_t position, uint32_t n_prompt)
{
    return position >= 6 && position < n_prompt ? position + 6.0 : position;
}

static double three_pads(uint32_t position, uint32_t n_prompt)
{
    (void)n_prompt;
    return position + 3.0;
}

static double restarts(uint32_t position, uint32_t n_prompt)
{
    (void)n_prompt;
    return position % 128;
}

static double stands(uint32_t position, uint32_t n_prompt)
{
    return position < n_prompt ? position : n_prompt;
}

static double to_bf16(double value)
{
    return round_to_dtype((float)value, DTYPE_BF16);
}

static double to_f16(double value)
{
    return round_to_dtype((float)value, DTYPE_F16);
}

static double position_bf16(uint32_t position, uint32_t n_prompt)
{
    (void)n_prompt;
    return to_bf16(position);
}

static double frequency_bf16(const struct rope_params *p, uint32_t pair)
{
    return to_bf16(plain(p, pair));
}

/* Other theta, and positions divided by 8. */
static double other_theta(const struct rope_params *p, uint32_t pair)
{
    return pow(5000, -2.0 * pair / p->dim) / 8;
}

/* A factor for each pair. */
static double long_factors(const struct rope_params *p, uint32_t pair)
{
    return plain(p, pair) / (1 + 0.07 * pair * pair);
}

/* The model's YaRN, with its correction range rounded outwards to whole dims. */
static double yarn_truncated(const struct rope_params *p, uint32_t pair)
{
    double low = floor(p->dim * log(p->original / (p->high * 2 * M_PI)) / (2 * log(p->theta)));
    double high = ceil(p->dim * log(p->original / (p->low * 2 * M_PI)) / (2 * log(p->theta)));
    double ramp = fmin(fmax((pair - fmax(low, 0)) / (fmin(high, p->dim - 1.0) - fmax(low, 0)), 0), 1);
    return plain(p, pair) * (ramp / p->factor + 1 - ramp);
}

/* The model's llama3 scaling with its upper limit at 8 in place of 4. */
static double llama3_other_limit(const struct rope_params *p, uint32_t pair)
{
    double waves = p->original * plain(p, pair) / (2 * M_PI);
    double smooth = fmin(fmax((waves - p->low) / (8 - p->low), 0), 1);
    return plain(p, pair) * ((1 - smooth) / p->factor + smooth);
}

static const struct {
    const char *model;
    int32_t layer;
    enum stage stage;
    struct bug bug;
    enum fault_kind kind;
    const char *text;
} bugs[] = {
    {"tiny-llama", 1, STAGE_q_rope, {.position = chunk_twice}, KIND_POSITIONS, "6 too large, as where a chunk's"},
    {"tiny-gemma3", 2, STAGE_k_rope, {.position = chunk_twice}, KIND_POSITIONS, "6 too large, as where a chunk's"},
    {"tiny-gemma2", 0, STAGE_q_rope, {.position = three_pads}, KIND_POSITIONS, "positions are 3 too large"},
    {"tiny-llama-long", 0, STAGE_q_rope, {.position = restarts}, KIND_POSITIONS, "Row 128 is rotated as 0"},
    {"tiny-llama", 3, STAGE_q_rope, {.position = stands}, KIND_POSITIONS, "all have the position 10"},
    {"tiny-llama-long", 0, STAGE_k_rope, {.position = position_bf16}, KIND_PRECISION, "rounded to bfloat16"},
    {"tiny-llama", 0, STAGE_q_rope, {.table = to_bf16}, KIND_PRECISION, "cos and sin are rounded to bfloat16"},
    {"tiny-gemma2", 3, STAGE_k_rope, {.table = to_f16}, KIND_PRECISION, "cos and sin are rounded to float16"},
    {"tiny-gemma3", 0, STAGE_q_rope, {.frequency = frequency_bf16}, KIND_PRECISION, "frequencies are rounded"},
    {"tiny-llama", 2, STAGE_q_rope, {.frequency = other_theta}, KIND_PARAMETER, "rope_theta is 5000 and"},
    {"tiny-gemma3", 2, STAGE_k_rope, {.frequency = other_theta}, KIND_PARAMETER, "rope_theta is 5000 and"},
    {"tiny-llama", 1, STAGE_q_rope, {.frequency = long_factors, .scale = 1.19}, KIND_PARAMETER, "multiplied by 1.19"},
    {"tiny-gemma2", 1, STAGE_k_rope, {.frequency = long_factors}, KIND_PARAMETER, "pairs 1-11 of 12"},
    {"tiny-gpt-oss", 1, STAGE_q_rope, {.frequency = yarn_truncated}, KIND_PARAMETER, "rounded to whole dims"},
    {"tiny-llama-105", 1, STAGE_q_rope, {.frequency = llama3_other_limit}, KIND_PARAMETER, "pairs 1-1 of 7"},
};

static uint32_t rope_of(const struct small_model *small, int32_t layer, enum stage stage)
{
    int32_t step = plan_find(&small->plan, layer, stage);
    assert_true(step >= 0);
    return (uint32_t)step;
}

static void bugs_are_solved(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bugs) / sizeof(*bugs); i++) {
        struct small_model small;
        struct diagnosis found[8];
        small_open(&small, bugs[i].model, NULL);
        uint32_t step = rope_of(&small, bugs[i].layer, bugs[i].stage);
        plant(&small, step, &bugs[i].bug);
        uint32_t n = diagnose_step(&small.plan, step, &small.golden, found, 8);
        print_message("%s: %s\n", bugs[i].model, n > 0 ? found[0].text : "nothing");
        assert_true(n > 0);
        assert_int_equal(found[0].how, HOW_REPRODUCED);
        assert_int_equal(found[0].kind, bugs[i].kind);
        expect_text(found[0].text, bugs[i].text);
        small_close(&small);
    }
}

/* The twins: the right rope gives nothing; a bug on top, or one of another kind, is not named as one of these. */
static void other_bugs_are_refused(void **state)
{
    (void)state;
    static const struct bug whole[] = {{0}, {.position = chunk_twice}, {.table = to_bf16}, {.frequency = other_theta}};
    for (size_t i = 0; i < 2 * sizeof(whole) / sizeof(*whole); i++) {
        struct small_model small;
        struct diagnosis found[8];
        small_open(&small, "tiny-llama", NULL);
        uint32_t step = rope_of(&small, 1, STAGE_q_rope);
        plant(&small, step, &whole[i / 2]);
        struct trace_stage *out = stage_at(&small.golden, 1, STAGE_q_rope);
        if (i == 0) {
            assert_int_equal(diagnose_step(&small.plan, step, &small.golden, found, 8), 0);
        }
        for (uint32_t k = 0; k < out->width; k++) { /* a row of another token, or small errors in all rows */
            if (i % 2) {
                out->rows[9 * out->width + k] = out->rows[4 * out->width + (k * 7) % out->width];
            } else {
                for (uint32_t row = 0; row < small.golden.n_positions; row++) {
                    out->rows[row * out->width + k] += 0.002f * sinf((float)(k * k + row));
                }
            }
        }
        uint32_t n = diagnose_step(&small.plan, step, &small.golden, found, 8);
        for (uint32_t k = 0; k < n; k++) {
            assert_int_not_equal(found[k].how, HOW_REPRODUCED);
        }
        small_close(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bugs_are_solved),
        cmocka_unit_test(other_bugs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
