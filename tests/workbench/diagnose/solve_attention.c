/* Solvers of attention: healthy runs in which one attention is replaced by a wrong one, computed here key by key. Each
 * kind of bug has a case, a twin with other numbers in another model, and bugs of other kinds that it must refuse. */
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

/* One head of one row; what a bug may look at. */
struct head {
    const struct attention_params *p;
    uint32_t row, index, first; /* first: the first visible key */
    uint32_t n_prompt;
    double sink; /* -INFINITY: none */
};

/* A wrong attention. NULL: as it should be. Scores of small models are small: no maximum is subtracted. */
struct bug {
    double (*weight)(const struct head *head, uint32_t key, double score); /* a key's share, not yet normalised */
    double (*extra)(const struct head *head);                              /* in the denominator, besides the sink */
    double (*score)(const struct head *head, double score);
    void (*round)(float *row, uint32_t n); /* a head's key and value */
    uint32_t (*kv_head)(const struct head *head);
    bool (*is_empty)(const struct head *head, uint32_t key, bool value); /* the key or the value is zeros */
    bool values_are_keys;
    int key_shift; /* keys are rotated by so many positions more, with a theta of 10000 */
};

static bool is_visible(const struct head *head, uint32_t key)
{
    return key >= head->first && key <= head->row;
}

static double right_weight(const struct head *head, uint32_t key, double score)
{
    return is_visible(head, key) ? exp(score) : 0;
}

static void turn(float *key, uint32_t dim, int shift)
{
    for (uint32_t i = 0; i < dim / 2; i++) {
        double angle = shift * pow(10000, -2.0 * i / dim), low = key[i], high = key[i + dim / 2];
        key[i] = (float)(low * cos(angle) - high * sin(angle));
        key[i + dim / 2] = (float)(high * cos(angle) + low * sin(angle));
    }
}

static void attend(const struct head *head, const struct bug *bug, const float *q, const float *k, const float *v,
                   uint32_t n_keys, float *y)
{
    uint32_t dim = head->p->dim, kv_heads = head->p->kv_heads;
    uint32_t kv_head = bug->kv_head ? bug->kv_head(head) : head->index / (head->p->heads / kv_heads);
    double sum = exp(head->sink) + (bug->extra ? bug->extra(head) : 0), values[256] = {0};
    for (uint32_t key = 0; key < n_keys; key++) {
        float own_k[256], own_v[256];
        double score = 0;
        memcpy(own_k, k + ((uint64_t)key * kv_heads + kv_head) * dim, dim * sizeof(float));
        memcpy(own_v, v + ((uint64_t)key * kv_heads + kv_head) * dim, dim * sizeof(float));
        if (bug->values_are_keys) {
            memcpy(own_v, own_k, sizeof(own_v));
        }
        if (bug->is_empty && bug->is_empty(head, key, false)) {
            memset(own_k, 0, sizeof(own_k));
        }
        if (bug->is_empty && bug->is_empty(head, key, true)) {
            memset(own_v, 0, sizeof(own_v));
        }
        if (bug->key_shift != 0) {
            turn(own_k, dim, bug->key_shift);
        }
        if (bug->round) {
            bug->round(own_k, dim);
            bug->round(own_v, dim);
        }
        for (uint32_t i = 0; i < dim; i++) {
            score += (double)q[i] * own_k[i];
        }
        score *= head->p->scale;
        score = head->p->softcap != 0 ? head->p->softcap * tanh(score / head->p->softcap) : score;
        score = bug->score ? bug->score(head, score) : score;
        double weight = bug->weight ? bug->weight(head, key, score) : right_weight(head, key, score);
        sum += weight;
        for (uint32_t i = 0; i < dim; i++) {
            values[i] += weight * own_v[i];
        }
    }
    for (uint32_t i = 0; i < dim; i++) {
        y[i] = (float)(sum > 0 ? values[i] / sum : 0);
    }
}

/* Replaces an attention of a golden. Keys of decode rows end with their own. */
static void plant(struct small_model *small, uint32_t step_index, const struct bug *bug)
{
    const struct step *step = &small->plan.steps[step_index];
    struct trace *trace = &small->golden;
    const struct attention_params *p = &step->params.attention;
    struct trace_stage *out = stage_at(trace, step->layer, STAGE_attn_out);
    const struct trace_stage *q = stage_at(trace, step->layer, STAGE_q_rope);
    const struct trace_stage *k = stage_at(trace, step->layer, STAGE_k_rope);
    const struct trace_stage *v = stage_at(trace, step->layer, STAGE_v_proj);
    float sinks[64];
    uint32_t n_prompt = 0;
    while (trace->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    if (p->has_sinks) {
        weights_decode(step->weight[0], 0, 0, p->heads, sinks);
    }
    for (uint32_t row = 0; row < trace->n_positions; row++) {
        for (uint32_t h = 0; h < p->heads; h++) {
            struct head head = {.p = p, .row = row, .index = h, .n_prompt = n_prompt};
            head.first = p->window && row + 1 > p->window ? row + 1 - p->window : 0;
            head.sink = p->has_sinks ? sinks[h] : -INFINITY;
            uint64_t at = (uint64_t)row * out->width + (uint64_t)h * p->dim;
            attend(&head, bug, q->rows + at, k->rows, v->rows, row < n_prompt ? n_prompt : row + 1, out->rows + at);
        }
    }
}

static bool sees_prompt(const struct head *head, uint32_t key)
{
    return key <= head->row || head->row < head->n_prompt;
}

static double weight_unmasked(const struct head *head, uint32_t key, double score)
{
    return sees_prompt(head, key) ? exp(score) : 0;
}

static double weight_chunk_of_4(const struct head *head, uint32_t key, double score)
{
    return is_visible(head, key) && key / 4 == head->row / 4 ? exp(score) : 0;
}

static double weight_tiles_of_4(const struct head *head, uint32_t key, double score)
{
    uint32_t end = head->row + 1;
    return key >= head->first && key < (end < 4 ? end : end / 4 * 4) ? exp(score) : 0;
}

/* From row 8 on the keys 4 to 7 are lost. */
static double weight_lost_tail(const struct head *head, uint32_t key, double score)
{
    return is_visible(head, key) && !(head->row >= 8 && key >= 4 && key < 8) ? exp(score) : 0;
}

/* The first two keys are lost. */
static double weight_first_lost(const struct head *head, uint32_t key, double score)
{
    return is_visible(head, key) && !(head->row >= 2 && key < 2) ? exp(score) : 0;
}

/* A ring that kept the key before the window in place of the newest but one. */
static double weight_old_key(const struct head *head, uint32_t key, double score)
{
    bool old = head->first > 0 && (key == head->first - 1 || is_visible(head, key)) && key != head->row - 1;
    return head->first > 0 ? (old ? exp(score) : 0) : right_weight(head, key, score);
}

/* A block of the cache in another's place: keys 0 to 3 count twice, 4 to 7 never. */
static double weight_block_twice(const struct head *head, uint32_t key, double score)
{
    double right = right_weight(head, key, score);
    return head->row < 8 || key >= 8 ? right : key < 4 ? 2 * right : 0;
}

/* A running maximum, renewed at each key, to which the sums so far are not rescaled. */
static double weight_not_rescaled(const struct head *head, uint32_t key, double score)
{
    static double running;
    if (!is_visible(head, key)) {
        return 0;
    }
    running = key == head->first ? score : fmax(running, score);
    return exp(score - running);
}

static double weight_masked_minus_cap(const struct head *head, uint32_t key, double score)
{
    return is_visible(head, key) ? exp(score) : exp(-head->p->softcap);
}

static double weight_masked_minus_7(const struct head *head, uint32_t key, double score)
{
    return is_visible(head, key) ? exp(score) : exp(-7);
}

static double extra_tile_of_8(const struct head *head)
{
    return head->row >= head->n_prompt ? 7 - head->row % 8 : 0;
}

static double extra_to_64(const struct head *head)
{
    return 63 - head->row;
}

static double extra_sink(const struct head *head)
{
    return head->row >= head->n_prompt ? exp(head->sink) : 0;
}

static double extra_two_sinks(const struct head *head)
{
    return 2 * exp(head->sink);
}

/* Another factor for each head, which no rule gives. */
static double extra_by_head(const struct head *head)
{
    return 0.37 + 0.21 * head->index * head->index + 0.011 * head->row;
}

static double score_tanh_alone(const struct head *head, double score)
{
    return score / head->p->softcap;
}

static double score_halved_in_decode(const struct head *head, double score)
{
    return head->row >= head->n_prompt ? score / 2 : score;
}

static bool empty_in_decode(const struct head *head, uint32_t key, bool value)
{
    (void)value;
    return head->row >= head->n_prompt && key != head->row;
}

static bool empty_value_of_5(const struct head *head, uint32_t key, bool value)
{
    (void)head;
    return value && key == 5;
}

static bool empty_at_3(const struct head *head, uint32_t key, bool value)
{
    (void)head;
    (void)value;
    return key == 3;
}

static uint32_t head_0(const struct head *head)
{
    (void)head;
    return 0;
}

static uint32_t heads_backwards(const struct head *head)
{
    return head->p->kv_heads - 1 - head->index / (head->p->heads / head->p->kv_heads);
}

static void to_q8_0(float *row, uint32_t n)
{
    for (uint32_t first = 0; first < n; first += 32) {
        uint32_t count = n - first < 32 ? n - first : 32;
        float most = 0;
        for (uint32_t i = 0; i < count; i++) {
            most = fmaxf(most, fabsf(row[first + i]));
        }
        float d = most / 127, stored = round_to_dtype(d, DTYPE_F16);
        for (uint32_t i = 0; i < count && d > 0; i++) {
            row[first + i] = roundf(row[first + i] * (1 / d)) * stored;
        }
    }
}

static void to_q4_0(float *row, uint32_t n)
{
    for (uint32_t first = 0; first < n; first += 32) {
        uint32_t count = n - first < 32 ? n - first : 32;
        float most = 0;
        for (uint32_t i = 0; i < count; i++) {
            most = fabsf(row[first + i]) > fabsf(most) ? row[first + i] : most;
        }
        float d = most / -8, stored = round_to_dtype(d, DTYPE_F16);
        for (uint32_t i = 0; i < count && most != 0; i++) {
            float q = floorf(row[first + i] * (1 / d) + 8.5f);
            row[first + i] = ((q > 15 ? 15 : q) - 8) * stored;
        }
    }
}

/* fp8 e4m3: 3 bits after the first; small models hold no value that is subnormal and none above 448 that matters. */
static void to_e4m3(float *row, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int exponent;
        (void)frexpf(row[i], &exponent);
        int unit = exponent - 4 < -9 ? -9 : exponent - 4;
        row[i] = ldexpf(nearbyintf(ldexpf(row[i], -unit)), unit);
    }
}

static const struct {
    const char *model;
    int32_t layer;
    struct bug bug;
    enum fault_kind kind;
    const char *text;
    double solved; /* NAN: no number */
} bugs[] = {
    {"tiny-llama", 1, {.weight = weight_unmasked}, KIND_VISIBLE_KEYS, "no causal mask", NAN},
    {"tiny-gpt-oss", 1, {.weight = weight_unmasked}, KIND_VISIBLE_KEYS, "no causal mask", NAN},
    {"tiny-llama-odd", 0, {.weight = weight_chunk_of_4}, KIND_VISIBLE_KEYS, "own chunk of 4", 4},
    {"tiny-gemma2", 1, {.weight = weight_chunk_of_4}, KIND_VISIBLE_KEYS, "own chunk of 4", 4},
    {"tiny-llama", 0, {.weight = weight_tiles_of_4}, KIND_VISIBLE_KEYS, "multiple of 4", 4},
    {"tiny-gemma3", 2, {.weight = weight_tiles_of_4}, KIND_VISIBLE_KEYS, "multiple of 4", 4},
    {"tiny-llama", 2, {.weight = weight_lost_tail}, KIND_VISIBLE_KEYS, "Row 8 sees the keys 0-3, 8 where 0-8", NAN},
    {"tiny-gpt-oss", 3, {.weight = weight_lost_tail}, KIND_VISIBLE_KEYS, "before position 8 are lost", NAN},
    {"tiny-gemma3-loud", 0, {.weight = weight_first_lost}, KIND_VISIBLE_KEYS, "", NAN}, /* the rest weighs e^-100 */
    {"tiny-gpt-oss", 1, {.weight = weight_first_lost}, KIND_VISIBLE_KEYS, "from position 2 on alone", 2},
    {"tiny-gemma3", 0, {.weight = weight_old_key}, KIND_VISIBLE_KEYS, "old ones are still in the cache", NAN},
    {"tiny-gpt-oss", 0, {.weight = weight_old_key}, KIND_VISIBLE_KEYS, "old ones are still in the cache", NAN},
    {"tiny-llama", 3, {.weight = weight_block_twice}, KIND_VISIBLE_KEYS, "some keys count twice", NAN},
    {"tiny-gemma2", 3, {.weight = weight_block_twice}, KIND_VISIBLE_KEYS, "some keys count twice", NAN},
    {"tiny-gemma2", 1, {.weight = weight_masked_minus_cap}, KIND_SOFTMAX_DENOMINATOR, "which is -softcap", -5},
    {"tiny-llama", 1, {.weight = weight_masked_minus_7}, KIND_SOFTMAX_DENOMINATOR, "a score of -7", -7},
    {"tiny-llama", 2, {.extra = extra_tile_of_8}, KIND_SOFTMAX_DENOMINATOR, "fill up 16 positions, 5 in row 10", 5},
    {"tiny-gemma2", 2, {.extra = extra_to_64}, KIND_SOFTMAX_DENOMINATOR, "fill up 64 positions", 63},
    {"tiny-gpt-oss", 0, {.extra = extra_sink}, KIND_SOFTMAX_DENOMINATOR, "the sink not once", 2},
    {"tiny-gpt-oss", 3, {.extra = extra_two_sinks}, KIND_SOFTMAX_DENOMINATOR, "the sink not once", 3},
    {"tiny-gemma2", 0, {.score = score_tanh_alone}, KIND_FORMULA, "not multiplied by the softcap", NAN},
    {"tiny-gemma3", 2, {.score = score_halved_in_decode}, KIND_PARAMETER, "Only decode rows are wrong", 128},
    {"tiny-llama", 1, {.kv_head = head_0}, KIND_LAYOUT, "heads 0 0 0 0, where 0 0 1 1", NAN},
    {"tiny-gemma2", 2, {.kv_head = heads_backwards}, KIND_LAYOUT, "heads 1 1 0 0, where 0 0 1 1", NAN},
    {"tiny-llama-105", 0, {.values_are_keys = true}, KIND_WIRING, "its values are", NAN},
    {"tiny-gemma3-odd", 1, {.values_are_keys = true}, KIND_WIRING, "its values are", NAN},
    {"tiny-llama-odd", 0, {.is_empty = empty_in_decode}, KIND_UNTOUCHED, "nothing was written to it", NAN},
    {"tiny-gpt-oss", 1, {.is_empty = empty_in_decode}, KIND_UNTOUCHED, "nothing was written to it", NAN},
    {"tiny-gemma2",
     1,
     {.is_empty = empty_value_of_5},
     KIND_UNTOUCHED,
     "Values of the cache are zeros at position 5",
     NAN},
    {"tiny-llama",
     2,
     {.is_empty = empty_at_3},
     KIND_UNTOUCHED,
     "Keys and values of the cache are zeros at position 3",
     NAN},
    {"tiny-llama", 0, {.round = to_q8_0}, KIND_PRECISION, "q8_0", NAN},
    {"tiny-gemma3", 1, {.round = to_q8_0}, KIND_PRECISION, "q8_0", NAN},
    {"tiny-llama", 1, {.round = to_q4_0}, KIND_PRECISION, "q4_0", NAN},
    {"tiny-gemma3", 2, {.round = to_q4_0}, KIND_PRECISION, "q4_0", NAN},
    {"tiny-llama", 1, {.weight = weight_not_rescaled}, KIND_FORMULA, "neither sum is", NAN},
    {"tiny-gemma2", 0, {.weight = weight_not_rescaled}, KIND_FORMULA, "neither sum is", NAN},
    {"tiny-llama", 1, {.key_shift = 5}, KIND_POSITIONS, "5", NAN},
    {"tiny-gemma2", 1, {.key_shift = -2}, KIND_POSITIONS, "2", NAN},
    {"tiny-gpt-oss", 1, {.round = to_e4m3}, KIND_PRECISION, "fp8 (e4m3)", NAN},
};

static uint32_t attention_of(const struct small_model *small, int32_t layer)
{
    int32_t step = plan_find(&small->plan, layer, STAGE_attn_out);
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
        uint32_t step = attention_of(&small, bugs[i].layer);
        plant(&small, step, &bugs[i].bug);
        uint32_t n = diagnose_step(&small.plan, step, &small.golden, found, 8);
        print_message("%s: %s\n", bugs[i].model, n > 0 ? found[0].text : "nothing");
        assert_true(n > 0);
        assert_int_equal(found[0].how, HOW_REPRODUCED);
        assert_int_equal(found[0].kind, bugs[i].kind);
        expect_text(found[0].text, bugs[i].text);
        if (!isnan(bugs[i].solved)) {
            assert_true(found[0].solved.found == bugs[i].solved);
        }
        small_close(&small);
    }
}

/* The twins: the right attention gives nothing; a bug of another kind is not named as one of these. */
static void right_rows_are_left_alone(void **state)
{
    (void)state;
    static const char *const models[] = {"tiny-llama", "tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss"};
    for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++) {
        struct small_model small;
        struct diagnosis found[8];
        small_open(&small, models[i], NULL);
        uint32_t step = attention_of(&small, 1);
        plant(&small, step, &(struct bug){0});
        assert_int_equal(diagnose_step(&small.plan, step, &small.golden, found, 8), 0);
        small_close(&small);
    }
}

/* Ways to spoil a row that no change of attention makes. */
static void add_to_all(float *row, uint32_t width, uint32_t position)
{
    for (uint32_t i = 0; i < width; i++) {
        row[i] += 0.003f * sinf((float)(i * i + 3 * position));
    }
}

static void scale_all(float *row, uint32_t width, uint32_t position)
{
    (void)position;
    for (uint32_t i = 0; i < width; i++) {
        row[i] *= 0.9f;
    }
}

static void spoil_row_9(float *row, uint32_t width, uint32_t position)
{
    for (uint32_t i = 0; i < width && position == 9; i++) {
        row[i] += 0.1f * cosf((float)(i * i));
    }
}

static void expect_not_solved(const struct small_model *small, uint32_t step)
{
    struct diagnosis found[8];
    uint32_t n = diagnose_step(&small->plan, step, &small->golden, found, 8);
    for (uint32_t k = 0; k < n; k++) {
        assert_int_not_equal(found[k].how, HOW_REPRODUCED);
    }
}

static void other_bugs_are_refused(void **state)
{
    (void)state;
    static void (*const spoils[])(float *row, uint32_t width, uint32_t position) = {add_to_all, scale_all, spoil_row_9};
    static const struct bug whole[] = {{0}, {.weight = weight_unmasked}, {.extra = extra_to_64}};
    for (size_t i = 0; i < sizeof(spoils) / sizeof(*spoils) * sizeof(whole) / sizeof(*whole); i++) {
        struct small_model small;
        small_open(&small, i % 2 ? "tiny-gemma2" : "tiny-gpt-oss", NULL);
        uint32_t step = attention_of(&small, 1);
        plant(&small, step, &whole[i / 3]); /* a bug that would be solved, and another one on top */
        struct trace_stage *out = stage_at(&small.golden, 1, STAGE_attn_out);
        for (uint32_t row = 0; row < small.golden.n_positions; row++) {
            spoils[i % 3](out->rows + (uint64_t)row * out->width, out->width, row);
        }
        expect_not_solved(&small, step);
        small_close(&small);
    }
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    uint32_t step = attention_of(&small, 1);
    plant(&small, step, &(struct bug){.extra = extra_by_head});
    expect_not_solved(&small, step);
    small_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bugs_are_solved),
        cmocka_unit_test(right_rows_are_left_alone),
        cmocka_unit_test(other_bugs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
