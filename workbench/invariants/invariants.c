#include "workbench/invariants/invariants.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/drift.h"
#include "workbench/session/progress.h"

/* "10 prefill, 6 decode" */
static void describe_batches(struct invariant_run *run, const struct trace *trace)
{
    uint32_t n_decode = 0;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        n_decode += trace->phase[p] == PHASE_DECODE;
    }
    uint32_t n_prefill = trace->n_positions - n_decode;
    if (n_prefill > 0 && n_decode > 0) {
        snprintf(run->batches, sizeof(run->batches), "%u prefill, %u decode", n_prefill, n_decode);
    } else {
        snprintf(run->batches, sizeof(run->batches), "%u %s", trace->n_positions, n_decode > 0 ? "decode" : "prefill");
    }
}

/* Judges a trace, which is taken over, as the next run. */
static struct invariant_run *add_run(struct invariants *invariants, const struct plan *plan, enum source source,
                                     struct trace *trace)
{
    ASSERT(invariants->n_runs < INVARIANTS_MOST_RUNS);
    struct invariant_run *run = &invariants->runs[invariants->n_runs++];
    describe_batches(run, trace);
    run->comparison.plan = plan;
    comparison_add(&run->comparison, source, trace);
    comparison_judge(&run->comparison, true, NULL);
    return run;
}

static void count_choices(struct invariant_pair *pair, const struct trace *a, const struct trace *b)
{
    const struct trace_stage *x = trace_find(a, LAYER_NONE, STAGE_logits_final);
    const struct trace_stage *y = trace_find(b, LAYER_NONE, STAGE_logits_final);
    for (uint32_t p = 0; x && y && p < pair->n_positions; p++) {
        const float *ours = trace_row(x, p), *theirs = trace_row(y, p + pair->shift);
        if (ours && theirs) {
            pair->n_choices++;
            pair->n_same_choices += argmax(ours, x->width) == argmax(theirs, y->width);
        }
    }
}

/* Compares the last run with the first one. */
static enum status add_pair(struct invariants *invariants, const struct alignment *alignment, bool must_be_identical,
                            struct error *err)
{
    struct invariant_pair *pair = &invariants->pairs[invariants->n_runs - 1];
    const struct trace *a = invariants->runs[0].comparison.list[0];
    const struct trace *b = invariants->runs[invariants->n_runs - 1].comparison.list[0];
    struct distance *distances;
    uint32_t n;
    *pair = (struct invariant_pair){.n_positions = alignment->n_positions,
                                    .shift = alignment->shift,
                                    .must_be_identical = must_be_identical,
                                    .identical = true,
                                    .layer = LAYER_NONE};
    TRY(distances_measure(a, b, alignment, &distances, &n, err));
    for (uint32_t i = 0; i < n; i++) {
        const struct distance *distance = &distances[i];
        if (distance->rows == 0) {
            continue;
        }
        pair->identical &= distance->identical;
        if (!pair->comparable || !(distance->relative <= pair->relative_rms)) {
            pair->relative_rms = distance->relative;
            pair->layer = distance->layer;
            pair->stage = distance->stage;
        }
        pair->comparable = true;
    }
    count_choices(pair, a, b);
    free(distances);
    return STATUS_OK;
}

/* One way to run the tokens. */
struct way {
    const char *name; /* with the number of rows, where there is one */
    uint32_t most_rows;
    uint8_t phase;
    bool after_others; /* the tokens ran in another order before; then the first way is repeated */
};

static const struct way ways[] = {
    {"prefill", 0, PHASE_PREFILL, false},
    {"prefill, after another prompt", 0, PHASE_PREFILL, true},
    {"decode", 0, PHASE_DECODE, false},
    {"chunks of %u", 1, PHASE_PREFILL, false}, /* these sizes select other kernels */
    {"chunks of %u", 2, PHASE_PREFILL, false},
    {"chunks of %u", 3, PHASE_PREFILL, false},
    {"chunks of %u", 8, PHASE_PREFILL, false},
};

/* Records one run of the engine. */
static enum status record(struct session *session, const struct way *way, const int32_t *tokens, uint32_t n,
                          struct trace *trace, struct error *err)
{
    uint8_t *phases = xmalloc(n);
    memset(phases, way->phase, n);
    const struct record_options options = {
        .n_positions = n, .tokens = tokens, .phase = phases, .most_rows = way->most_rows};
    enum status status = session_record(session, SOURCE_ENGINE, &options, trace, err);
    free(phases);
    return status;
}

/* Runs the tokens from last to first, so that the KV cache holds what is not theirs. Nobody reads its stages. */
static enum status run_others(struct session *session, const int32_t *tokens, uint32_t n, struct error *err)
{
    static const bool no_stages[STAGE_COUNT];
    struct trace trace;
    int32_t *others = xmalloc(n * sizeof(*others));
    uint8_t *phases = xcalloc(n, sizeof(*phases)); /* PHASE_PREFILL */
    for (uint32_t i = 0; i < n; i++) {
        others[i] = tokens[n - 1 - i];
    }
    const struct record_options options = {.n_positions = n, .tokens = others, .phase = phases, .stages = no_stages};
    enum status status = session_record(session, SOURCE_ENGINE, &options, &trace, err);
    free(phases);
    free(others);
    if (status == STATUS_OK) {
        trace_free(&trace);
    }
    return status;
}

static enum status run_way(struct invariants *invariants, struct session *session, const struct way *way,
                           const int32_t *tokens, uint32_t n, struct error *err)
{
    struct trace trace;
    if (way->after_others) {
        TRY(run_others(session, tokens, n, err));
    }
    TRY(record(session, way, tokens, n, &trace, err));
    struct invariant_run *run = add_run(invariants, &session->plan, SOURCE_ENGINE, &trace);
    snprintf(run->name, sizeof(run->name), way->name, way->most_rows);
    const struct alignment all = {.n_positions = n};
    return add_pair(invariants, &all, way->after_others, err);
}

enum status invariants_run(struct invariants *invariants, struct session *session, const int32_t *tokens,
                           uint32_t n_tokens, struct error *err)
{
    static char what[] = "invariants: run";
    const uint32_t n_ways = sizeof(ways) / sizeof(*ways);
    *invariants = (struct invariants){0};
    for (uint32_t i = 0; i < n_ways; i++) {
        progress_show(what, i, n_ways);
        enum status status = STATUS_OK;
        if (ways[i].most_rows < n_tokens) {
            status = run_way(invariants, session, &ways[i], tokens, n_tokens, err);
        }
        if (status == STATUS_OK) {
            status = stop_check(err);
        }
        if (status != STATUS_OK) {
            progress_wipe();
            invariants_free(invariants);
            return status;
        }
    }
    progress_wipe();
    return STATUS_OK;
}

/* The positions that both traces have: a common beginning, else `a` behind the padding of `b`. */
static struct alignment align(const struct trace *a, const struct trace *b)
{
    struct alignment alignment = trace_common_tokens(a, b);
    for (uint32_t shift = 1; alignment.n_positions == 0 && shift + a->n_positions <= b->n_positions; shift++) {
        if (memcmp(a->tokens, b->tokens + shift, a->n_positions * sizeof(*a->tokens)) == 0) {
            alignment = (struct alignment){a->n_positions, shift};
        }
    }
    return alignment;
}

/* Takes the first positions out of a trace. What depends on the number of a position goes with them: rope's rows, of
 * which only differences between positions count, and rows of probabilities. */
static void drop_padding(struct trace *trace, uint32_t n)
{
    uint32_t left = trace->n_positions - n;
    for (uint32_t i = trace->n_stages; i > 0; i--) {
        struct trace_stage *stage = &trace->stages[i - 1];
        if (stage->stage == STAGE_q_rope || stage->stage == STAGE_k_rope || stage->stage == STAGE_attn_probs) {
            trace_remove_stage(trace, stage);
        }
    }
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        struct trace_stage *stage = &trace->stages[i];
        memmove(stage->rows, stage->rows + (uint64_t)n * stage->width, (uint64_t)left * stage->width * sizeof(float));
        memmove(stage->recorded, stage->recorded + n, left);
        if (stage->error != NULL) {
            memmove(stage->error, stage->error + (uint64_t)n * stage->width,
                    (uint64_t)left * stage->width * sizeof(*stage->error));
        }
        stage->n_recorded = 0;
        for (uint32_t p = 0; p < left; p++) {
            stage->n_recorded += stage->recorded[p];
        }
    }
    memmove(trace->tokens, trace->tokens + n, left * sizeof(*trace->tokens));
    memmove(trace->phase, trace->phase + n, left);
    trace->n_positions = left;
}

static void add_foreign(struct invariants *invariants, const struct plan *plan, struct trace *trace)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", trace->path);
    struct invariant_run *run = add_run(invariants, plan, SOURCE_TRACE, trace);
    memcpy(run->name, name, sizeof(name));
}

/* Whether a trace is right as it is, with its padding as a part of the text. Takes it over. */
static bool is_right(const struct plan *plan, struct trace *trace)
{
    struct comparison comparison = {.plan = plan};
    comparison_add(&comparison, SOURCE_TRACE, trace);
    comparison_judge(&comparison, true, NULL);
    bool right = !stop_asked() && comparison.verdict.conclusion == CONCLUSION_PARITY;
    comparison_free(&comparison);
    return right;
}

/* Judges a trace behind its padding, as the next run. Returns whether its tokens see the padding. */
static bool add_padded(struct invariants *invariants, const struct plan *plan, struct trace *trace, uint32_t n_padding)
{
    struct trace whole;
    trace_copy(&whole, trace);
    drop_padding(trace, n_padding);
    add_foreign(invariants, plan, trace);
    if (!invariants->runs[invariants->n_runs - 1].comparison.verdict.diverged) {
        trace_free(&whole);
        return false;
    }
    return is_right(plan, &whole);
}

enum status invariants_compare(struct invariants *invariants, const struct plan *plan, struct trace *a, struct trace *b,
                               struct error *err)
{
    *invariants = (struct invariants){0};
    struct alignment alignment = align(a, b);
    enum status status = STATUS_OK;
    if (alignment.n_positions == 0) {
        status = error_set(err, STATUS_BAD_INPUT, b->path, "/tokens", ERROR_NO_OFFSET,
                           "begin with other tokens than %s, and do not end with its tokens behind padding", a->path);
    }
    if (status == STATUS_OK) {
        status = trace_check_plan(a, plan, err);
    }
    if (status == STATUS_OK) {
        status = trace_check_plan(b, plan, err);
    }
    if (status != STATUS_OK) {
        trace_free(a);
        trace_free(b);
        return status;
    }
    uint32_t shift = alignment.shift;
    bool sees_padding = false;
    alignment.shift = 0; /* the padding is dropped */
    add_foreign(invariants, plan, a);
    if (shift > 0) {
        sees_padding = add_padded(invariants, plan, b, shift);
    } else {
        add_foreign(invariants, plan, b);
    }
    status = add_pair(invariants, &alignment, false, err);
    invariants->pairs[1].shift = shift;
    invariants->pairs[1].sees_padding = sees_padding;
    if (status == STATUS_OK) {
        status = stop_check(err);
    }
    if (status != STATUS_OK) {
        invariants_free(invariants);
    }
    return status;
}

/* What is claimed of one run: its own verdict, and whether a repeated one is the same. */
static enum conclusion conclude(const struct invariants *invariants, uint32_t i)
{
    const struct invariant_pair *pair = &invariants->pairs[i];
    enum conclusion own = invariants->runs[i].comparison.verdict.conclusion;
    if (i > 0 && own == CONCLUSION_PARITY && !pair->comparable) {
        return CONCLUSION_UNDECIDED;
    }
    return i > 0 && pair->must_be_identical && !pair->identical ? CONCLUSION_DIVERGED : own;
}

enum conclusion invariants_conclude(const struct invariants *invariants)
{
    bool undecided = false;
    for (uint32_t i = 0; i < invariants->n_runs; i++) {
        enum conclusion conclusion = conclude(invariants, i);
        if (conclusion == CONCLUSION_DIVERGED) {
            return conclusion;
        }
        undecided |= conclusion == CONCLUSION_UNDECIDED;
    }
    return undecided ? CONCLUSION_UNDECIDED : CONCLUSION_PARITY;
}

uint32_t invariants_first(const struct invariants *invariants)
{
    uint32_t i = 0;
    while (i < invariants->n_runs && conclude(invariants, i) != CONCLUSION_DIVERGED) {
        i++;
    }
    return i;
}

void invariants_free(struct invariants *invariants)
{
    for (uint32_t i = 0; i < invariants->n_runs; i++) {
        comparison_free(&invariants->runs[i].comparison);
    }
    *invariants = (struct invariants){0};
}
