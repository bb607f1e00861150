/* Bugs of attention. */
#include <stdlib.h>
#include <string.h>

#include "workbench/audit/hypotheses.h"
#include "workbench/diagnose/kinds/plant.h"
#include "workbench/diagnose/narrow_types.h"

#define LOST 2
#define PADDING 3
#define MASKED_SCORE (-2.0)
#define TILE 4
#define SHIFT 3

static const struct attention_params *params_of(const struct plant *plant)
{
    return &plant->right->params.attention;
}

static uint32_t first_visible(const struct plant *plant, uint32_t own)
{
    uint32_t window = params_of(plant)->window;
    return window != 0 && window <= own ? own + 1 - window : 0;
}

/* The number of positions of the prompt. */
static uint32_t prompt_length(const struct plant *plant)
{
    uint32_t n = 0;
    while (n < plant->trace->n_positions && plant->trace->phase[n] == PHASE_PREFILL) {
        n++;
    }
    return n;
}

/* A trial of a row, which is edited; it sees the keys [first, end). */
static struct attention_trial *see(struct plant *plant, struct op_row *row, uint32_t first, uint32_t end)
{
    struct attention_trial *trial = arena_alloc(&plant->arena, sizeof(*trial));
    uint32_t *keys = arena_alloc(&plant->arena, (end - first + 1) * sizeof(*keys));
    for (uint32_t key = first; key < end; key++) {
        keys[key - first] = key;
    }
    *trial = (struct attention_trial){.keys = keys, .n_keys = end - first};
    row->attention = trial;
    return trial;
}

bool plant_first_keys_lost(struct plant *plant)
{
    for (uint32_t i = 0; i < plant->n; i++) {
        uint32_t own = plant->rows[i].position, first = first_visible(plant, own);
        if (own >= LOST) {
            see(plant, &plant->rows[i], first < LOST ? LOST : first, own + 1);
        }
    }
    plant->number = LOST;
    plant_compute(plant);
    return true;
}

bool plant_padding_in_denominator(struct plant *plant)
{
    uint32_t heads = params_of(plant)->heads;
    const float *stored = params_of(plant)->has_sinks ? plant_weights(plant, plant->right->weight[0], 0) : NULL;
    double *sinks = arena_alloc(&plant->arena, heads * sizeof(*sinks));
    struct attention_trial *trial = arena_alloc(&plant->arena, sizeof(*trial));
    for (uint32_t h = 0; h < heads; h++) {
        sinks[h] = log((stored ? exp(stored[h]) : 0) + PADDING);
    }
    *trial = (struct attention_trial){.sinks = sinks};
    for (uint32_t i = 0; i < plant->n; i++) {
        plant->rows[i].attention = trial;
    }
    plant->number = PADDING;
    plant_compute(plant);
    return true;
}

bool plant_masked_keys_count(struct plant *plant)
{
    uint32_t prompt = prompt_length(plant);
    for (uint32_t i = 0; i < plant->n; i++) {
        struct op_row *row = &plant->rows[i];
        uint32_t own = row->position, end = row->decode ? own + 1 : prompt, first = first_visible(plant, own);
        double *scores = arena_alloc(&plant->arena, end * sizeof(*scores));
        for (uint32_t key = 0; key < end; key++) {
            scores[key] = key >= first && key <= own ? NAN : MASKED_SCORE;
        }
        see(plant, row, 0, end)->scores = scores;
    }
    plant->number = MASKED_SCORE;
    plant_compute(plant);
    return true;
}

bool plant_score_of_tanh(struct plant *plant)
{
    struct attention_params *p = &plant->step.params.attention;
    if (p->softcap == 0) {
        return false;
    }
    p->scale /= p->softcap;
    p->softcap = 1;
    plant_compute(plant);
    return true;
}

bool plant_running_maximum(struct plant *plant)
{
    uint32_t heads = params_of(plant)->heads;
    for (uint32_t i = 0; i < plant->n; i++) {
        uint32_t own = plant->rows[i].position, first = first_visible(plant, own), n = own + 1 - first;
        struct attention_trial *trial = see(plant, &plant->rows[i], first, own + 1);
        double *scores = arena_alloc(&plant->arena, (uint64_t)heads * n * sizeof(*scores));
        double *added = arena_alloc(&plant->arena, (uint64_t)heads * n * sizeof(*added));
        row_scores(plant->right, &plant->rows[i], scores);
        for (uint32_t h = 0; h < heads; h++) {
            double *of_head = scores + (uint64_t)h * n, largest = -INFINITY, running = -INFINITY;
            for (uint32_t j = 0; j < n; j++) {
                largest = fmax(largest, of_head[j]);
            }
            for (uint32_t j = 0; j < n; j++) {
                bool begins = j == 0 || (first + j) % TILE == 0;
                for (uint32_t k = j; begins && k < n && (k == j || (first + k) % TILE != 0); k++) {
                    running = fmax(running, of_head[k]);
                }
                added[(uint64_t)h * n + j] = largest - running;
            }
        }
        trial->added = added;
    }
    plant->number = TILE;
    plant_compute(plant);
    return true;
}

bool plant_heads_reversed(struct plant *plant)
{
    const struct attention_params *p = params_of(plant);
    uint32_t *heads = arena_alloc(&plant->arena, p->heads * sizeof(*heads));
    struct attention_trial *trial = arena_alloc(&plant->arena, sizeof(*trial));
    for (uint32_t h = 0; h < p->heads; h++) {
        heads[h] = p->kv_heads - 1 - h / (p->heads / p->kv_heads);
    }
    *trial = (struct attention_trial){.heads = {heads, heads}};
    for (uint32_t i = 0; i < plant->n; i++) {
        plant->rows[i].attention = trial;
    }
    plant_compute(plant);
    return p->kv_heads > 1;
}

/* A copy of the keys (1) or values (2) of all positions. */
static float *copy_cache(struct plant *plant, unsigned input)
{
    uint32_t width = params_of(plant)->kv_heads * params_of(plant)->dim;
    uint64_t size = (uint64_t)plant->trace->n_positions * width * sizeof(float);
    float *copy = arena_alloc(&plant->arena, size);
    memcpy(copy, plant->rows[0].in[input], size);
    for (uint32_t i = 0; i < plant->n; i++) {
        plant->rows[i].in[input] = copy;
    }
    return copy;
}

bool plant_cache_e4m3(struct plant *plant)
{
    uint64_t n = (uint64_t)plant->trace->n_positions * params_of(plant)->kv_heads * params_of(plant)->dim;
    narrow_e4m3(copy_cache(plant, 1), n);
    narrow_e4m3(copy_cache(plant, 2), n);
    plant_compute(plant);
    return true;
}

bool plant_cache_q4_0(struct plant *plant)
{
    struct roundings list[HYPOTHESES_MOST], *chosen = NULL;
    if (params_of(plant)->kv_heads * params_of(plant)->dim % 32 != 0) {
        return false; /* blocks of 32 are cut from a row */
    }
    uint32_t n = hypotheses_list(plant->right, plant->trace->n_positions, ROUNDING_Q4_0, list);
    for (uint32_t i = 0; i < n && !chosen; i++) {
        chosen = list[i].keys_values == ROUNDING_Q4_0 && list[i].queries != ROUNDING_NONE ? &list[i] : NULL;
    }
    for (uint32_t i = 0; i < plant->n && chosen; i++) {
        struct arith *arith = arena_alloc(&plant->arena, sizeof(*arith));
        *arith = *plant->rows[i].arith;
        arith->roundings = *chosen;
        plant->rows[i].arith = arith;
    }
    plant_compute(plant);
    return chosen != NULL;
}

bool plant_keys_shifted(struct plant *plant)
{
    const struct step *rope = &plant->plan->steps[plant->right->input[1]];
    const struct trace_stage *input =
        rope->op == OP_rope ? trace_find_step(plant->trace, &plant->plan->steps[rope->input[0]]) : NULL;
    if (!input) {
        return false;
    }
    const struct rope_trial trial = {.shift = SHIFT};
    float *keys = copy_cache(plant, 1);
    double *y = xcalloc(rope->width, sizeof(*y));
    for (uint32_t p = 0; p < plant->trace->n_positions; p++) {
        const struct op_row row = {.in = {trace_row(input, p)}, .position = p, .rope = &trial};
        if (!row.in[0]) {
            continue;
        }
        op_run(&(struct op_batch){.step = rope, .n_rows = 1, .rows = &row, .y = y});
        for (uint32_t d = 0; d < rope->width; d++) {
            keys[(uint64_t)p * rope->width + d] = (float)y[d];
        }
    }
    free(y);
    plant->number = SHIFT;
    plant_compute(plant);
    return true;
}

bool plant_values_from_keys(struct plant *plant)
{
    for (uint32_t i = 0; i < plant->n; i++) {
        plant->rows[i].in[2] = plant->rows[i].in[1];
    }
    plant_compute(plant);
    return true;
}

bool plant_values_shifted(struct plant *plant)
{
    uint32_t width = params_of(plant)->kv_heads * params_of(plant)->dim, n = plant->trace->n_positions;
    float *values = arena_alloc(&plant->arena, (uint64_t)n * width * sizeof(*values));
    for (uint32_t p = 0; p < n; p++) {
        memcpy(values + (uint64_t)p * width, plant->rows[0].in[2] + (uint64_t)(p > 0 ? p - 1 : 0) * width,
               width * sizeof(*values));
    }
    for (uint32_t i = 0; i < plant->n; i++) {
        plant->rows[i].in[2] = values;
    }
    plant_compute(plant);
    return n <= 512;
}

bool plant_value_unwritten(struct plant *plant)
{
    uint32_t width = params_of(plant)->kv_heads * params_of(plant)->dim, n = plant->trace->n_positions;
    if (n < 4 || n > 512) {
        return false;
    }
    memset(copy_cache(plant, 2) + (uint64_t)2 * width, 0, width * sizeof(float));
    plant_compute(plant);
    return true;
}
