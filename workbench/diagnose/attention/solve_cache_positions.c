/* Keys or values that lie at other positions of the cache than their own, or were never written. Rows are solved in
 * order: each adds one position to those that are known. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/attention_rows.h"

#define MOST_POSITIONS 512
#define MOST_SHIFT 4
#define NOTHING UINT32_MAX /* zeros: the position was never written */

/* Which position's key and value lie at each position. */
struct cache {
    const struct solve *solve;
    uint32_t n, width;
    const float *right[2]; /* [n, width] keys, values */
    float *held[2];        /* [n, width] */
    uint32_t *from[2];     /* [n] */
};

static void hold(struct cache *cache, unsigned what, uint32_t position, uint32_t from)
{
    float *held = cache->held[what] + (uint64_t)position * cache->width;
    if (from == NOTHING) {
        memset(held, 0, cache->width * sizeof(float));
    } else {
        memcpy(held, cache->right[what] + (uint64_t)from * cache->width, cache->width * sizeof(float));
    }
    cache->from[what][position] = from;
}

static struct op_row row_of(const struct cache *cache, const struct op_row *row)
{
    struct op_row edited = *row;
    edited.in[1] = cache->held[0];
    edited.in[2] = cache->held[1];
    edited.probs = NULL;
    return edited;
}

static bool row_fits(const struct cache *cache, const struct op_row *row)
{
    const struct op_row edited = row_of(cache, row);
    return attention_row_fits(cache->solve, &edited, NULL);
}

/* What lies at the row's own position, if nothing else explains it: values, keys or both. */
static bool solve_position(struct cache *cache, const struct op_row *row)
{
    uint32_t own = row->position;
    if (row_fits(cache, row)) {
        return true;
    }
    for (unsigned which = 0; which < 3; which++) {
        hold(cache, 0, own, which == 0 ? own : NOTHING);
        hold(cache, 1, own, which == 1 ? own : NOTHING);
        if (row_fits(cache, row)) {
            return true;
        }
    }
    for (unsigned which = 0; which < 3; which++) {
        for (uint32_t k = 2; k <= 2 * cache->n + 1 && !stop_asked(); k++) { /* the nearest first */
            int64_t from = (int64_t)own + (k % 2 ? (int64_t)(k / 2) : -(int64_t)(k / 2));
            if (from < 0 || from >= (row->decode ? own + 1 : cache->n)) {
                continue;
            }
            hold(cache, 0, own, which == 0 ? own : (uint32_t)from);
            hold(cache, 1, own, which == 1 ? own : (uint32_t)from);
            if (row_fits(cache, row)) {
                return true;
            }
        }
    }
    return false;
}

static bool prove(const struct cache *cache, struct proof *proof)
{
    struct op_row *rows = proof_rows(cache->solve);
    for (uint32_t i = 0; i < cache->solve->trial->rows.n; i++) {
        rows[i] = row_of(cache, &rows[i]);
    }
    struct candidate candidate = trial_candidate(cache->solve->trial, cache->solve->evidence->step);
    candidate.rows = rows;
    bool explains = proof_find(cache->solve, &candidate, proof);
    free(rows);
    return explains;
}

/* Positions that hold nothing. Returns whether nothing else is wrong. */
static bool describe_unwritten(const struct cache *cache, const struct proof *proof, struct diagnosis *found)
{
    char list[120] = "";
    size_t length = 0;
    bool any[2] = {false, false};
    for (uint32_t p = 0; p < cache->n; p++) {
        bool empty[2] = {cache->from[0][p] == NOTHING, cache->from[1][p] == NOTHING};
        if ((!empty[0] && cache->from[0][p] != p) || (!empty[1] && cache->from[1][p] != p)) {
            return false;
        }
        any[0] |= empty[0];
        any[1] |= empty[1];
        if ((empty[0] || empty[1]) && length + 8 < sizeof(list)) {
            length += (size_t)snprintf(list + length, sizeof(list) - length, "%s%u", length ? ", " : "", p);
        }
    }
    found->kind = KIND_UNTOUCHED;
    proof_tell(cache->solve, proof, found, "%s of the cache are zeros at position %s: they were never written.",
               any[0] && any[1] ? "Keys and values"
               : any[0]         ? "Keys"
                                : "Values",
               list);
    return true;
}

static void describe(const struct cache *cache, const struct proof *proof, struct diagnosis *found)
{
    char list[120] = "";
    size_t length = 0;
    bool any[2] = {false, false};
    for (uint32_t p = 0; p < cache->n; p++) {
        bool moved[2];
        for (unsigned what = 0; what < 2; what++) {
            moved[what] = cache->from[what][p] != p;
            any[what] |= moved[what];
        }
        if ((moved[0] || moved[1]) && length + 24 < sizeof(list)) {
            uint32_t from = cache->from[moved[0] ? 0 : 1][p];
            length += (size_t)snprintf(list + length, sizeof(list) - length,
                                       from == NOTHING ? "%s%u holds nothing" : "%s%u holds that of %u",
                                       length ? ", " : "", p, from);
        }
    }
    proof_tell(cache->solve, proof, found, "%s lie at other positions of the cache: position %s.",
               any[0] && any[1] ? "Keys and values"
               : any[0]         ? "Keys"
                                : "Values",
               list);
}

/* Every position holds what belongs to another, as many before or behind: tried first, because a row whose own share is
 * small does not tell what lies at its position. */
static bool all_are_shifted(struct cache *cache, struct proof *proof)
{
    for (unsigned k = 2; k <= 2 * MOST_SHIFT + 1 && !stop_asked(); k++) {
        for (unsigned which = 0; which < 3; which++) {
            for (uint32_t position = 0; position < cache->n; position++) {
                int64_t from = (int64_t)position + (k % 2 ? (int64_t)(k / 2) : -(int64_t)(k / 2));
                uint32_t held = from < 0 ? 0 : from < cache->n ? (uint32_t)from : cache->n - 1;
                hold(cache, 0, position, which == 0 ? position : held);
                hold(cache, 1, position, which == 1 ? position : held);
            }
            if (prove(cache, proof)) {
                return true;
            }
        }
    }
    return false;
}

static void hold_all_right(struct cache *cache)
{
    for (uint32_t position = 0; position < cache->n; position++) {
        hold(cache, 0, position, position);
        hold(cache, 1, position, position);
    }
}

/* One position alone holds nothing: tried first, for the same reason. */
static bool one_is_unwritten(struct cache *cache, struct proof *proof)
{
    hold_all_right(cache);
    for (uint32_t position = 0; position < cache->n && !stop_asked(); position++) {
        for (unsigned which = 0; which < 3; which++) {
            hold(cache, 0, position, which == 0 ? position : NOTHING);
            hold(cache, 1, position, which == 1 ? position : NOTHING);
            if (prove(cache, proof)) {
                return true;
            }
        }
        hold(cache, 0, position, position);
        hold(cache, 1, position, position);
    }
    return false;
}

/* The rows by position; NULL: there is none. */
static const struct op_row **sort_rows(const struct cache *cache)
{
    const struct op_row **at = xcalloc(cache->n, sizeof(*at));
    for (uint32_t i = 0; i < cache->solve->trial->rows.n; i++) {
        at[cache->solve->trial->rows.rows[i].position] = &cache->solve->trial->rows.rows[i];
    }
    return at;
}

/* The cache holds nothing: each row sees its own key and value, and zeros, whose scores are 0, at all other positions.
 */
struct empty_row {
    struct attention_trial trial;
    uint32_t own;
};

static bool is_empty(const struct solve *solve, struct proof *proof)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    uint32_t n = solve->trial->rows.n;
    struct op_row *rows = proof_rows(solve);
    struct empty_row *empty = xcalloc(n, sizeof(*empty));
    double *sinks = xcalloc((uint64_t)n * p->heads, sizeof(*sinks));
    float *stored = xcalloc(p->heads, sizeof(*stored));
    if (p->has_sinks) {
        weights_decode(solve->evidence->step->weight[0], 0, 0, p->heads, stored);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t seen = p->window != 0 && rows[i].position >= p->window ? p->window - 1 : rows[i].position;
        for (uint32_t h = 0; h < p->heads; h++) {
            sinks[(uint64_t)i * p->heads + h] = log(seen + (p->has_sinks ? exp(stored[h]) : 0));
        }
        empty[i].own = rows[i].position;
        empty[i].trial =
            (struct attention_trial){.keys = &empty[i].own, .n_keys = 1, .sinks = sinks + (uint64_t)i * p->heads};
        rows[i].attention = &empty[i].trial;
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(stored);
    free(sinks);
    free(empty);
    free(rows);
    return explains;
}

bool solve_cache_positions(const struct solve *solve, struct diagnosis *found)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    const struct op_row *first = &solve->trial->rows.rows[0];
    struct cache cache = {.solve = solve,
                          .n = solve->evidence->trace->n_positions,
                          .width = p->kv_heads * p->dim,
                          .right = {first->in[1], first->in[2]}};
    struct proof proof;
    if (!first->in[0] || cache.n > MOST_POSITIONS) {
        return false;
    }
    if (is_empty(solve, &proof)) {
        found->kind = KIND_UNTOUCHED;
        proof_tell(solve, &proof, found,
                   "The cache holds zeros: nothing was written to it. Each row sees its own key and value alone.");
        return true;
    }
    for (unsigned what = 0; what < 2; what++) {
        cache.held[what] = xmalloc((uint64_t)cache.n * cache.width * sizeof(float));
        cache.from[what] = xcalloc(cache.n, sizeof(uint32_t));
    }
    const struct op_row **rows = sort_rows(&cache);
    bool solved = all_are_shifted(&cache, &proof) || one_is_unwritten(&cache, &proof);
    if (!solved) {
        hold_all_right(&cache);
        solved = true;
        for (uint32_t position = 0; position < cache.n && solved; position++) {
            solved = !stop_asked() && rows[position] && solve_position(&cache, rows[position]);
        }
        solved = solved && prove(&cache, &proof);
    }
    if (solved && !describe_unwritten(&cache, &proof, found)) {
        describe(&cache, &proof, found);
    }
    free(rows);
    for (unsigned what = 0; what < 2; what++) {
        free(cache.held[what]);
        free(cache.from[what]);
    }
    return solved;
}
