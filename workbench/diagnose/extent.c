#include "workbench/diagnose/extent.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/diagnose_internal.h"

#define ANY_PHASE 2 /* beside PHASE_PREFILL and PHASE_DECODE */

/* The rows of one phase, or of both. */
struct phase_view {
    bool only_these;                          /* no row outside fails, and at least one fails here */
    uint32_t n_passing_before, first_passing; /* rows before the first that fails, and the position of the first */
    uint32_t first_failing;
    bool all_after; /* from the first failing row on all fail */
    uint32_t n_failing;
};

static struct phase_view view_phase(const struct judged_rows *rows, unsigned phase)
{
    struct phase_view view = {.only_these = true, .all_after = true};
    for (uint32_t i = 0; i < rows->n; i++) {
        bool inside = phase == ANY_PHASE || rows->phase[i] == phase;
        if (!inside) {
            view.only_these = view.only_these && !rows->failed[i];
        } else if (rows->failed[i]) {
            view.first_failing = view.n_failing == 0 ? rows->position[i] : view.first_failing;
            view.n_failing++;
        } else if (view.n_failing > 0) {
            view.all_after = false;
        } else {
            view.first_passing = view.n_passing_before == 0 ? rows->position[i] : view.first_passing;
            view.n_passing_before++;
        }
    }
    view.only_these = view.only_these && view.n_failing > 0;
    return view;
}

/* Writes "3, 5, 7-9"; or, if that is too long, how many of the rows fail. */
static void list_rows(const struct judged_rows *rows, char text[48])
{
    size_t length = 0;
    uint32_t n_failing = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < rows->n; i++) {
        uint32_t first = i;
        if (!rows->failed[i]) {
            continue;
        }
        while (i + 1 < rows->n && rows->failed[i + 1]) {
            i++;
        }
        n_failing += i - first + 1;
        char run[32];
        snprintf(run, sizeof(run), first == i ? "%s%u" : "%s%u-%u", length > 0 ? ", " : "position ",
                 rows->position[first], rows->position[i]);
        if (length == 0 && first < i) {
            snprintf(run, sizeof(run), "positions %u-%u", rows->position[first], rows->position[i]);
        }
        if (length + strlen(run) < 40) {
            strcpy(text + length, run);
        }
        length += strlen(run);
    }
    if (length >= 40) {
        snprintf(text, 48, "%u of %u", n_failing, rows->n);
    }
}

void extent_rows(const struct judged_rows *rows, char text[48])
{
    static const char *const names[] = {"prefill", "decode", "all"};
    static const unsigned phases[] = {ANY_PHASE, PHASE_PREFILL, PHASE_DECODE};
    struct phase_view views[3];
    text[0] = '\0';
    for (unsigned i = 0; i < 3; i++) {
        views[i] = view_phase(rows, phases[i]);
        if (views[i].only_these && views[i].all_after && views[i].n_passing_before == 0) {
            strcpy(text, names[phases[i]]);
            return;
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        const struct phase_view *view = &views[i];
        if (view->only_these && view->all_after && view->n_failing > 1) {
            bool but_first = view->n_passing_before == 1 && view->first_passing == 0;
            snprintf(text, 48, "%s%s%s %u", phases[i] == ANY_PHASE && !but_first ? "" : names[phases[i]],
                     phases[i] == ANY_PHASE && !but_first ? "" : " ", but_first ? "but position" : "from",
                     but_first ? 0 : view->first_failing);
            return;
        }
    }
    list_rows(rows, text);
}

/* The chance that a gap of so many dims passes, if each of a part's dims fails with the same chance, below which the
 * gap is taken for a real one. */
#define CHANCE 0.001

void extent_dims(struct extent *extent, const uint8_t *failed, uint32_t width)
{
    uint32_t first = 0, end = width, n = 0;
    extent->first_dim = extent->end_dim = 0;
    while (first < width && !failed[first]) {
        first++;
    }
    while (end > first && !failed[end - 1]) {
        end--;
    }
    for (uint32_t d = first; d < end; d++) {
        n += failed[d];
    }
    if (n == 0) {
        return;
    }
    double passes = 1 - (double)n / (end - first);
    bool from_start = pow(passes, first) > CHANCE, to_end = pow(passes, width - end) > CHANCE;
    if (from_start && to_end) {
        return;
    }
    extent->first_dim = from_start ? 0 : first;
    extent->end_dim = to_end ? width : end;
}

/* Dims of a head of the stage's rows; 0: they are not made of heads. */
static uint32_t head_size(const struct plan *plan, const struct step *step)
{
    bool per_dim = step->stage == STAGE_q_proj || step->stage == STAGE_k_proj || step->stage == STAGE_v_proj ||
                   step->stage == STAGE_q_norm || step->stage == STAGE_k_norm || step->stage == STAGE_q_rope ||
                   step->stage == STAGE_k_rope || step->stage == STAGE_attn_out;
    if (step->op == OP_attention_probs) {
        return step->params.attention_probs.n_positions;
    }
    for (uint32_t s = 0; per_dim && s < plan->n_steps; s++) {
        if (plan->steps[s].layer == step->layer && plan->steps[s].op == OP_attention) {
            return plan->steps[s].params.attention.dim;
        }
    }
    return 0;
}

static void find_heads(struct extent *extent, const uint8_t *failed, uint32_t width, uint32_t size)
{
    if (size == 0 || width % size != 0 || width / size < 2 || width / size > EXTENT_MOST_HEADS) {
        return;
    }
    for (uint32_t head = 0; head < width / size; head++) {
        bool fails = false;
        for (uint32_t d = 0; d < size; d++) {
            fails = fails || failed[head * size + d];
        }
        if (fails) {
            extent->heads[extent->n_heads++] = head;
        }
    }
    if (extent->n_heads == width / size) {
        extent->n_heads = 0;
    }
}

/* Which dims fail in any row, and which rows of a trial were judged and fail. */
struct failures {
    uint8_t *dims;           /* [width] */
    struct judged_rows rows; /* its arrays are those below */
    uint32_t *position;
    uint8_t *phase, *failed;
};

/* Adds row i of those that the trial just computed, unless its bound is too wide to judge it. */
static void add_row(struct failures *failures, const struct op_trial *trial, const struct op_row *row, uint32_t i)
{
    uint32_t width = trial->stage->width;
    const double *expected = trial->expected + (uint64_t)i * width, *bound = trial->bound + (uint64_t)i * width;
    const float *actual = trial->stage->rows + (uint64_t)row->position * width;
    uint32_t at = failures->rows.n;
    if (row_is_undecidable(row, width, actual, expected, bound)) {
        return;
    }
    for (uint32_t d = 0; d < width; d++) {
        if (judge(expected[d], actual[d], bound[d]) > 1) {
            failures->dims[d] = failures->failed[at] = 1;
        }
    }
    failures->position[at] = row->position;
    failures->phase[at] = row->decode ? PHASE_DECODE : PHASE_PREFILL;
    failures->rows.n++;
}

static void judge_rows(struct op_trial *trial, const struct step *step, struct failures *failures)
{
    for (uint32_t first = 0, n; first < trial->rows.n; first += n) {
        n = trial->rows.n - first < trial->at_once ? trial->rows.n - first : trial->at_once;
        trial_run(trial, step, trial->rows.rows + first, n);
        for (uint32_t i = 0; i < n; i++) {
            add_row(failures, trial, &trial->rows.rows[first + i], i);
        }
    }
}

void extent_find(struct extent *extent, const struct plan *plan, uint32_t step, const struct trace *trace)
{
    struct op_trial trial;
    *extent = (struct extent){0};
    if (trace_find_step(trace, &plan->steps[step]) == NULL) {
        return;
    }
    trial_open(&trial, plan, step, trace);
    uint32_t n = trial.rows.n, width = trial.stage->width;
    struct failures failures = {.dims = xcalloc(width, 1),
                                .position = xcalloc(n + 1, sizeof(*failures.position)),
                                .phase = xcalloc(n + 1, 1),
                                .failed = xcalloc(n + 1, 1)};
    failures.rows = (struct judged_rows){0, failures.position, failures.phase, failures.failed};
    judge_rows(&trial, &plan->steps[step], &failures);
    extent_rows(&failures.rows, extent->rows);
    extent_dims(extent, failures.dims, width);
    find_heads(extent, failures.dims, width, head_size(plan, &plan->steps[step]));
    free(failures.failed);
    free(failures.phase);
    free(failures.position);
    free(failures.dims);
    trial_close(&trial);
}
