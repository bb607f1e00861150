/* Heads: which head of keys, and which of values, each head of queries reads; solved head by head on the last failing
 * row, then proven on all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/attention_rows.h"

#define MOST_PAIRS 1024 /* of a head of keys and one of values */

/* Computes a row with one head of keys and one of values for all heads, and notes which heads of queries come out. */
static void note(const struct solve *solve, const struct op_row *row, uint32_t keys, uint32_t values, uint32_t *read)
{
    const struct attention_params *p = &solve->evidence->step->params.attention;
    uint32_t *heads = xcalloc((uint64_t)2 * p->heads, sizeof(*heads));
    for (uint32_t h = 0; h < p->heads; h++) {
        heads[h] = keys;
        heads[p->heads + h] = values;
    }
    const struct attention_trial trial = {.heads = {heads, heads + p->heads}};
    struct op_row tried = *row;
    tried.attention = &trial;
    trial_run(solve->trial, solve->evidence->step, &tried, 1);
    for (uint32_t h = 0; h < p->heads; h++) {
        bool fits = true;
        for (uint32_t i = h * p->dim; i < (h + 1) * p->dim; i++) {
            fits &= judge(solve->trial->expected[i], row->recorded[i], solve->trial->bound[i]) <= 1;
        }
        if (fits && read[h] == UINT32_MAX) {
            read[h] = keys;
            read[p->heads + h] = values;
        }
    }
    free(heads);
}

static bool prove(const struct solve *solve, const uint32_t *read, double *worst)
{
    uint32_t n = solve->trial->rows.n, heads = solve->evidence->step->params.attention.heads;
    const struct attention_trial trial = {.heads = {read, read + heads}};
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = solve->trial->rows.rows[i];
        rows[i].attention = i < solve->trial->n_failing ? &trial : NULL;
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = trial_explains(solve->trial, &candidate, solve->evidence, worst);
    free(rows);
    return explains;
}

static void describe(const struct solve *solve, const uint32_t *read, double worst, struct diagnosis *found)
{
    const struct attention_params *p = &solve->evidence->step->params.attention;
    char keys[80] = "", values[80] = "", right[80] = "";
    size_t n_keys = 0, n_values = 0, n_right = 0;
    bool same = true;
    for (uint32_t h = 0; h < p->heads && n_keys + 8 < sizeof(keys); h++) {
        const char *comma = h ? " " : "";
        n_keys += (size_t)snprintf(keys + n_keys, sizeof(keys) - n_keys, "%s%u", comma, read[h]);
        n_values += (size_t)snprintf(values + n_values, sizeof(values) - n_values, "%s%u", comma, read[p->heads + h]);
        n_right +=
            (size_t)snprintf(right + n_right, sizeof(right) - n_right, "%s%u", comma, h / (p->heads / p->kv_heads));
        same &= read[h] == read[p->heads + h];
    }
    if (same) {
        proof_tell(solve, &(struct proof){.worst = worst}, found,
                   "Heads 0, 1, … of q read the key and value heads %s, where %s are right.", keys, right);
    } else {
        proof_tell(solve, &(struct proof){.worst = worst}, found,
                   "Heads 0, 1, … of q read the key heads %s and the value heads %s, where %s are right.", keys, values,
                   right);
    }
}

bool solve_attention_heads(const struct solve *solve, struct diagnosis *found)
{
    const struct attention_params *p = &solve->evidence->step->params.attention;
    const struct op_row *row = &solve->trial->rows.rows[solve->trial->n_failing - 1];
    if (!row->in[0] || p->kv_heads < 2) {
        return false;
    }
    uint32_t *read = xmalloc((uint64_t)2 * p->heads * sizeof(*read));
    memset(read, 0xff, (uint64_t)2 * p->heads * sizeof(*read));
    for (uint32_t keys = 0; keys < p->kv_heads && !stop_asked(); keys++) {
        note(solve, row, keys, keys, read);
    }
    for (uint32_t keys = 0; keys < p->kv_heads && p->kv_heads * p->kv_heads <= MOST_PAIRS; keys++) {
        for (uint32_t values = 0; values < p->kv_heads && !stop_asked(); values++) {
            note(solve, row, keys, values, read);
        }
    }
    bool all = true;
    double worst;
    for (uint32_t h = 0; h < p->heads; h++) {
        all &= read[h] != UINT32_MAX;
    }
    bool explains = all && prove(solve, read, &worst);
    if (explains) {
        describe(solve, read, worst, found);
    }
    free(read);
    return explains;
}
