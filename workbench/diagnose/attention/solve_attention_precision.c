/* Attention with queries, keys or values in a smaller type than the trace declares: rounded so, in all of a cache or
 * in earlier positions alone. What several types round alike is told as the first of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/attention_rows.h"
#include "workbench/diagnose/narrow_types.h"

static const struct type {
    const char *code, *name; /* in the diagnosis's name; in words */
    narrow_rounding *round;
    bool by_row_too; /* blocks also over all heads of a row */
} types[] = {
    {"bf16", "bf16", narrow_bf16, false},
    {"f16", "f16", narrow_f16, false},
    {"q8_0", "q8_0 blocks (8 bits, f16 scale)", narrow_q8_0, true},
    {"q4_0", "q4_0 blocks (4 bits, f16 scale)", narrow_q4_0, true},
    {"q8_1", "blocks of 32 8-bit integers (f32 scale)", narrow_q8_1, true},
    {"int8", "8-bit integers with a scale for each head", narrow_int8, false},
    {"e4m3", "fp8 (e4m3)", narrow_e4m3, false},
    {"e5m2", "fp8 (e5m2)", narrow_e5m2, false},
    {"e4m3-scaled", "fp8 (e4m3) with a scale for each head", narrow_e4m3_scaled, false},
};

enum { QUERIES = 1, KEYS = 2, VALUES = 4 };

static const struct place {
    unsigned inputs;
    bool earlier; /* a row's own key and value are exact */
    const char *code, *text;
} places[] = {
    {KEYS | VALUES, false, "kv-cache", "the KV cache holds keys and values in"},
    {KEYS, false, "k-cache", "the KV cache holds keys in"},
    {VALUES, false, "v-cache", "the KV cache holds values in"},
    {QUERIES | KEYS | VALUES, false, "inputs", "its inputs are rounded to"},
    {QUERIES | KEYS, false, "q-k", "queries and keys are rounded to"},
    {QUERIES, false, "queries", "queries are rounded to"},
    {KEYS | VALUES, true, "kv-cache", "the KV cache holds keys and values of earlier positions in"},
};

/* Failing rows with rounded copies of their inputs. Keys and values: the rounded ones of all positions, then the
 * recorded ones. */
struct rounded {
    float *copies[3];
    struct attention_trial *trials; /* [n_failing] */
    uint32_t *keys;
    struct op_row *rows; /* [trial rows] */
};

static void round_row(const struct type *type, float *row, uint32_t width, uint32_t dim, bool by_row)
{
    uint32_t block = by_row ? width : dim;
    for (uint32_t at = 0; at < width; at += block) {
        type->round(row + at, block);
    }
}

static void copy_cache(struct rounded *rounded, const struct solve *solve, const struct type *type, unsigned input,
                       bool by_row)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    uint32_t n = solve->evidence->trace->n_positions, width = p->kv_heads * p->dim;
    uint64_t n_values = (uint64_t)n * width;
    float *copy = rounded->copies[input] = xmalloc(2 * n_values * sizeof(*copy));
    memcpy(copy, solve->trial->rows.rows[0].in[input], n_values * sizeof(*copy));
    memcpy(copy + n_values, copy, n_values * sizeof(*copy));
    for (uint32_t i = 0; i < n; i++) {
        round_row(type, copy + (uint64_t)i * width, width, p->dim, by_row);
    }
}

static void copy_queries(struct rounded *rounded, const struct solve *solve, const struct type *type, bool by_row)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    uint32_t width = p->heads * p->dim;
    float *copy = rounded->copies[0] = xmalloc((uint64_t)solve->trial->n_failing * width * sizeof(*copy));
    for (uint32_t i = 0; i < solve->trial->n_failing; i++, copy += width) {
        memcpy(copy, solve->trial->rows.rows[i].in[0], width * sizeof(*copy));
        round_row(type, copy, width, p->dim, by_row);
        rounded->rows[i].in[0] = copy;
    }
}

static void rounded_open(struct rounded *rounded, const struct solve *solve, const struct type *type,
                         const struct place *place, bool by_row)
{
    const struct op_trial *trial = solve->trial;
    uint32_t n_positions = solve->evidence->trace->n_positions,
             window = attention_params_of(solve->evidence->step)->window;
    *rounded = (struct rounded){.rows = xcalloc(trial->rows.n, sizeof(*rounded->rows)),
                                .trials = xcalloc(trial->n_failing, sizeof(*rounded->trials)),
                                .keys = xcalloc((uint64_t)trial->n_failing * (n_positions + 1), sizeof(uint32_t))};
    memcpy(rounded->rows, trial->rows.rows, trial->rows.n * sizeof(*rounded->rows));
    if (place->inputs & QUERIES) {
        copy_queries(rounded, solve, type, by_row);
    }
    for (unsigned input = 1; input <= 2; input++) {
        if (place->inputs & (input == 1 ? KEYS : VALUES)) {
            copy_cache(rounded, solve, type, input, by_row);
        }
    }
    for (uint32_t i = 0; i < trial->n_failing; i++) {
        struct op_row *row = &rounded->rows[i];
        for (unsigned input = 1; input <= 2; input++) {
            row->in[input] = rounded->copies[input] ? rounded->copies[input] : row->in[input];
        }
        if (place->earlier) {
            uint32_t *keys = rounded->keys + (uint64_t)i * (n_positions + 1), n = 0, own = row->position;
            for (uint32_t key = window && own >= window ? own + 1 - window : 0; key < own; key++) {
                keys[n++] = key;
            }
            keys[n++] = n_positions + own;
            rounded->trials[i] = (struct attention_trial){.keys = keys, .n_keys = n};
            row->attention = &rounded->trials[i];
        }
    }
}

static void rounded_close(struct rounded *rounded)
{
    for (unsigned input = 0; input < 3; input++) {
        free(rounded->copies[input]);
    }
    free(rounded->trials);
    free(rounded->keys);
    free(rounded->rows);
}

static bool try_rounding(const struct solve *solve, const struct type *type, const struct place *place, bool by_row,
                         struct diagnosis *found)
{
    struct rounded rounded;
    double worst;
    rounded_open(&rounded, solve, type, place, by_row);
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rounded.rows;
    bool explains = trial_explains(solve->trial, &candidate, solve->evidence, &worst);
    rounded_close(&rounded);
    if (explains) {
        snprintf(found->fault, sizeof(found->fault), "%s-%s", place->code, type->code);
        proof_tell(solve, &(struct proof){.worst = worst}, found,
                   "Precision, not a bug: %s %s%s, which the trace does not declare.", place->text, type->name,
                   by_row ? " over all heads" : "");
    }
    return explains;
}

bool solve_attention_precision(const struct solve *solve, struct diagnosis *found)
{
    if (!solve->trial->rows.rows[0].in[0]) {
        return false;
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        bool has_values = solve->evidence->step->op == OP_attention; /* probabilities have none */
        for (size_t k = 0; k < sizeof(types) / sizeof(*types) && !stop_asked(); k++) {
            if (places[i].inputs & VALUES && !has_values) {
                continue;
            }
            if (try_rounding(solve, &types[k], &places[i], false, found) ||
                (types[k].by_row_too && try_rounding(solve, &types[k], &places[i], true, found))) {
                return true;
            }
        }
    }
    return false;
}
