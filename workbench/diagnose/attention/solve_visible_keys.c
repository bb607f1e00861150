/* Visible keys: for each failing row the keys with which it comes out as recorded. Ranges, and ranges with one gap, are
 * searched; key_counts.c solves for any other set. Only the keys are changed, so a row is one of many equations for a
 * few whole numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/visible_keys.h"

#define MOST_KEYS 2048 /* of a row, for a search of all ranges */

/* One row's search. */
struct search {
    const struct solve *solve;
    const struct attention_row *a;
    struct seen *seen;
    double best;
    struct key_range range;
};

/* Takes a range if the row comes out as recorded with it. */
static bool take(struct search *search, const struct key_range *range)
{
    struct seen *seen = search->seen;
    uint32_t n = key_range_list(range, seen->keys);
    const struct attention_trial trial = {.keys = seen->keys, .n_keys = n};
    if (!attention_row_fits(search->solve, search->a->row, &trial)) {
        return false;
    }
    seen->n = n;
    seen->range = *range;
    seen->is_range = true;
    return true;
}

/* Whether a range lies in what the trace holds, and is not the right one. */
static bool is_possible(const struct attention_row *a, const struct key_range *range)
{
    return range->first >= a->first && range->first < range->end && range->end <= a->end &&
           memcmp(range, &a->right, sizeof(*range)) != 0;
}

/* What the row before saw, carried over: the same first or last key, or as many more or fewer. */
static bool carry_over(struct search *search, const struct seen *before)
{
    const struct key_range *was = &before->range, *right = &search->a->right;
    const struct key_range ranges[] = {
        {.first = was->first, .end = right->end},
        {.first = right->first, .end = was->end},
        {.first = right->first + was->first - before->right.first, .end = right->end},
        {.first = right->first, .end = right->end + was->end - before->right.end},
        {.first = right->first, .end = right->end, .gap = was->gap, .gap_end = was->gap_end},
        {.first = was->first, .end = was->end},
    };
    for (size_t i = 0; before->is_range && i < sizeof(ranges) / sizeof(*ranges); i++) {
        const struct key_range *range = &ranges[i];
        bool gap_fits = range->gap_end == 0 || (range->gap >= range->first && range->gap_end <= range->end);
        if (is_possible(search->a, range) && gap_fits && take(search, range)) {
            return true;
        }
    }
    return false;
}

static void consider(struct search *search, struct key_range range)
{
    double miss = is_possible(search->a, &range) ? attention_row_miss(search->a, &range, search->best) : INFINITY;
    if (miss < search->best) {
        search->best = miss;
        search->range = range;
    }
}

/* The best of a family of ranges, if it fits. */
static bool search_family(struct search *search, void (*family)(struct search *search))
{
    search->best = attention_row_miss(search->a, &search->a->right, INFINITY) / 16;
    search->range = (struct key_range){0};
    family(search);
    return search->range.end > 0 && take(search, &search->range);
}

static void other_ends(struct search *search)
{
    const struct attention_row *a = search->a;
    for (uint32_t key = a->first; key <= a->end; key++) {
        consider(search, (struct key_range){.first = a->right.first, .end = key});
        consider(search, (struct key_range){.first = key, .end = a->right.end});
    }
}

static void all_ranges(struct search *search)
{
    const struct attention_row *a = search->a;
    for (uint32_t first = a->first; first < a->end && !stop_asked(); first++) {
        for (uint32_t end = first + 1; end <= a->end; end++) {
            consider(search, (struct key_range){.first = first, .end = end});
        }
    }
}

static void all_gaps(struct search *search)
{
    const struct attention_row *a = search->a;
    for (uint32_t gap = a->right.first + 1; gap < a->right.end && !stop_asked(); gap++) {
        for (uint32_t end = gap + 1; end < a->right.end; end++) {
            consider(search, (struct key_range){a->right.first, a->right.end, gap, end});
        }
    }
}

static bool all_zero(const struct solve *solve, const struct op_row *row)
{
    for (uint32_t i = 0; i < solve->evidence->step->width; i++) {
        if (row->recorded[i] != 0) {
            return false;
        }
    }
    return true;
}

static bool search_row(const struct solve *solve, const struct op_row *row, const struct seen *before,
                       struct seen *seen)
{
    struct attention_row a;
    attention_row_open(&a, solve, row, true);
    struct search search = {.solve = solve, .a = &a, .seen = seen};
    uint32_t most = 2 * (a.end - a.first) + 1;
    seen->right = a.right;
    seen->keys = xcalloc(most, sizeof(*seen->keys));
    bool found = before && carry_over(&search, before);
    if (!found && all_zero(solve, row)) {
        const struct key_range nothing = {a.right.first, a.right.first, 0, 0};
        found = take(&search, &nothing);
    }
    found = found || search_family(&search, other_ends);
    if (!found && a.end - a.first <= MOST_KEYS) {
        found = search_family(&search, all_ranges) || search_family(&search, all_gaps);
    }
    if (!found) {
        seen->n = key_counts_find(solve, &a, seen->keys, most);
        found = seen->n > 0;
    }
    attention_row_close(&a);
    return found;
}

/* The keys of a recorded row of probabilities: those whose probability is not 0 in some head. */
static bool read_probabilities(const struct solve *solve, const struct op_row *row, struct seen *seen)
{
    struct attention_row a;
    attention_row_open(&a, solve, row, false);
    uint32_t n_positions = solve->evidence->step->params.attention_probs.n_positions;
    seen->right = a.right;
    seen->keys = xcalloc((uint64_t)n_positions + 1, sizeof(*seen->keys));
    bool possible = true;
    for (uint32_t key = 0; key < n_positions; key++) {
        bool is_seen = false;
        for (uint32_t h = 0; h < a.p->heads; h++) {
            is_seen |= row->recorded[(uint64_t)h * n_positions + key] != 0;
        }
        possible &= !is_seen || (key >= a.first && key < a.end);
        if (is_seen) {
            seen->keys[seen->n++] = key;
        }
    }
    attention_row_close(&a);
    const struct attention_trial trial = {.keys = seen->keys, .n_keys = seen->n};
    return possible && attention_row_fits(solve, row, &trial);
}

/* Sets the range of a list of keys in order, if it is one with at most one gap. */
static void find_range(struct seen *seen)
{
    uint32_t n_gaps = 0;
    for (uint32_t i = 1; i < seen->n; i++) {
        if (seen->keys[i] <= seen->keys[i - 1]) {
            return;
        }
        if (seen->keys[i] > seen->keys[i - 1] + 1) {
            seen->range.gap = seen->keys[i - 1] + 1;
            seen->range.gap_end = seen->keys[i];
            n_gaps++;
        }
    }
    seen->range.first = seen->n ? seen->keys[0] : seen->right.first;
    seen->range.end = seen->n ? seen->keys[seen->n - 1] + 1 : seen->right.first;
    seen->is_range = n_gaps < 2;
}

static void describe_row(struct seen *seen, const struct trace *trace, const struct op_row *row)
{
    seen->position = seen->last_prefill = row->position;
    seen->prefill = !row->decode;
    while (seen->prefill && seen->last_prefill + 1 < trace->n_positions &&
           trace->phase[seen->last_prefill + 1] == PHASE_PREFILL) {
        seen->last_prefill++;
    }
}

/* Finds what each failing row saw. *n: how many rows were begun. */
static bool find_all(const struct solve *solve, struct seen *seen, uint32_t *n)
{
    for (*n = 0; *n < solve->trial->n_failing && !stop_asked();) {
        const struct op_row *row = &solve->trial->rows.rows[*n];
        const struct seen *before = *n > 0 ? &seen[*n - 1] : NULL;
        struct seen *own = &seen[(*n)++];
        describe_row(own, solve->evidence->trace, row);
        bool found = solve->evidence->step->op == OP_attention ? search_row(solve, row, before, own)
                                                               : read_probabilities(solve, row, own);
        if (!found) {
            return false;
        }
        if (!own->is_range) {
            find_range(own);
        }
    }
    return !stop_asked();
}

static bool prove(const struct solve *solve, const struct seen *seen, double *worst)
{
    uint32_t n_failing = solve->trial->n_failing;
    struct attention_trial *trials = xcalloc(n_failing, sizeof(*trials));
    struct op_row *rows = xcalloc(solve->trial->rows.n, sizeof(*rows));
    memcpy(rows, solve->trial->rows.rows, solve->trial->rows.n * sizeof(*rows));
    for (uint32_t i = 0; i < n_failing; i++) {
        trials[i] = (struct attention_trial){.keys = seen[i].keys, .n_keys = seen[i].n};
        rows[i].attention = &trials[i];
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = trial_explains(solve->trial, &candidate, solve->evidence, worst);
    free(rows);
    free(trials);
    return explains;
}

bool solve_visible_keys(const struct solve *solve, struct diagnosis *found)
{
    uint32_t n_failing = solve->trial->n_failing, n = 0;
    double worst;
    if (!attention_row_is_small(solve) || !solve->trial->rows.rows[0].in[0]) {
        return false;
    }
    struct seen *seen = xcalloc(n_failing, sizeof(*seen));
    bool explains = find_all(solve, seen, &n) && prove(solve, seen, &worst);
    if (explains) {
        char rule[KEY_RULE_SIZE];
        key_rule_find(seen, n, rule, &found->solved);
        proof_tell(solve, &(struct proof){.worst = worst}, found, "%s", rule);
    }
    for (uint32_t i = 0; i < n; i++) {
        free(seen[i].keys);
    }
    free(seen);
    return explains;
}
