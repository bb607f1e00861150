/* Moves the position forward: begins batches, runs steps on every side, records and audits what they compute. */
#include "workbench/debugger/run.h"

#include <string.h>

#include "model/stop.h"
#include "workbench/debugger/capture.h"
#include "workbench/debugger/judge.h"

enum status repl_side_failed(struct repl *repl, struct repl_side *side, enum status status, struct error *err)
{
    if (status != STATUS_DEVICE) {
        return status;
    }
    side->lost = true;
    side->lost_at = repl_point(repl);
    struct error inner = *err;
    return error_set(err, status, NULL, source_name(side->source), ERROR_NO_OFFSET,
                     "%.700s; set device opens it again%s", inner.text,
                     repl_side_runs(repl_leader(repl)) ? ", the reference goes on without it" : "");
}

bool repl_is_over(const struct repl *repl)
{
    return repl->next == repl->plan->n_steps && repl->first + repl->n_rows == repl->n_known;
}

/* How many positions from `first` on go into one batch: as many prompt positions as every side takes, or one decoded
 * token. */
static uint32_t batch_rows(const struct repl *repl, uint32_t first)
{
    uint32_t most = repl->phase[first] == PHASE_DECODE ? 1 : repl->n_known - first;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct backend *backend = repl->sides[i].backend;
        most = backend != NULL && backend->max_rows < most ? backend->max_rows : most;
    }
    uint32_t n = 1;
    while (n < most && repl->phase[first + n] == PHASE_PREFILL) {
        n++;
    }
    return n;
}

enum status repl_begin_batch(struct repl *repl, struct error *err)
{
    if (repl->next < repl->plan->n_steps) {
        return STATUS_OK;
    }
    if (repl->n_known == 0) {
        return error_set(err, STATUS_USAGE, NULL, "position", ERROR_NO_OFFSET,
                         "no tokens to run, expected restart --prompt TEXT or restart --ids 1,2,3 first");
    }
    if (repl_is_over(repl)) {
        return error_set(err, STATUS_USAGE, NULL, "position", ERROR_NO_OFFSET,
                         "the run is over, all %u positions ran; restart runs them again", repl->n_known);
    }
    if (!repl_side_runs(repl_leader(repl))) {
        return error_set(err, STATUS_DEVICE, NULL, "position", ERROR_NO_OFFSET, "no side can run, expected set device");
    }
    uint32_t first = repl->first + repl->n_rows;
    struct batch batch = {first, batch_rows(repl, first), repl->tokens + first, repl->phase[first] == PHASE_DECODE};
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        struct backend *backend = repl->sides[i].backend;
        if (repl_side_runs(&repl->sides[i])) {
            TRY(repl_side_failed(repl, &repl->sides[i], backend->ops->begin(backend, &batch, err), err));
        }
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        struct trace *trace = repl->sides[i].trace;
        if (repl->sides[i].backend != NULL) {
            trace->n_positions = first + batch.n_rows;
            memcpy(trace->tokens + first, batch.tokens, batch.n_rows * sizeof(*batch.tokens));
        }
    }
    repl_add_batch(repl, first, batch.n_rows);
    return STATUS_OK;
}

/* Whether a side's rows of a step are recorded: the reference's always, the engine's if they are captured. */
static bool is_recorded(const struct repl *repl, const struct repl_side *side, uint32_t step)
{
    return side->source != SOURCE_ENGINE || repl_is_captured(repl, step);
}

/* Reads a step's rows into the side's trace, without marking them as recorded. If the leader's step is patched,
 * replaces the rows in the trace and on the backend. */
static enum status read_step(struct repl *repl, const struct repl_side *side, uint32_t step, struct error *err)
{
    struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    float *rows = stage->rows + (uint64_t)repl->first * stage->width;
    TRY(side->backend->ops->read(side->backend, step, rows, err));
    if (side != repl_leader(repl) || !repl_is_patched(repl, step)) {
        return STATUS_OK;
    }
    TRY(repl_apply_patches(repl, step, rows, err));
    return side->backend->ops->write(side->backend, step, rows, err);
}

/* One past the last step that one call to a backend may run. The reference runs single steps, so that Ctrl-C is noticed
 * between them. The leader stops after a patched step, whose rows are replaced before the next step reads them. */
static uint32_t call_end(struct repl *repl, const struct repl_side *side, uint32_t first, uint32_t last)
{
    if (side->source == SOURCE_REFERENCE) {
        return first + 1;
    }
    for (uint32_t s = first; side == repl_leader(repl) && s < last; s++) {
        if (repl_is_patched(repl, s)) {
            return s + 1;
        }
    }
    return last;
}

/* Runs steps [repl->next, last) on one side. */
static enum status run_side(struct repl *repl, const struct repl_side *side, uint32_t last, struct error *err)
{
    for (uint32_t first = repl->next; first < last;) {
        uint32_t end = call_end(repl, side, first, last);
        TRY(side->backend->ops->run(side->backend, first, end, err));
        for (uint32_t s = first; s < end; s++) {
            if (is_recorded(repl, side, s)) {
                TRY(read_step(repl, side, s, err));
            }
        }
        first = end;
        if (first < last) {
            TRY(stop_check(err));
        }
    }
    return STATUS_OK;
}

static void mark_recorded(const struct repl *repl, const struct repl_side *side, uint32_t step, bool recorded)
{
    struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    for (uint32_t p = repl->first; p < repl->first + repl->n_rows; p++) {
        stage->n_recorded += recorded - stage->recorded[p];
        stage->recorded[p] = recorded;
    }
}

/* At the end of a batch whose next token is unknown: takes the leader's choice, unless it ends the text. */
static void add_chosen_token(struct repl *repl)
{
    uint32_t last = repl->first + repl->n_rows - 1;
    if (last + 1 < repl->n_known || repl->n_known == repl->capacity) {
        return;
    }
    const struct trace_stage *chosen = trace_find(repl_leader(repl)->trace, LAYER_NONE, STAGE_sample_token);
    ASSERT(trace_row(chosen, last) != NULL);
    int32_t id = (int32_t)*trace_row(chosen, last);
    if (!config_ends_text(&repl->session->model.config, id)) {
        repl->tokens[repl->n_known++] = id;
    }
}

/* Marks a step's rows of all running sides as recorded, or as not. */
static void mark_all(struct repl *repl, uint32_t step, bool recorded)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl_side_runs(&repl->sides[i]) && is_recorded(repl, &repl->sides[i], step)) {
            mark_recorded(repl, &repl->sides[i], step, recorded);
        }
    }
}

/* Records and audits a step that ran on all sides, and moves the position after it. On Ctrl-C nothing is recorded and
 * the position stays. */
static enum status finish_step(struct repl *repl, uint32_t step, struct error *err)
{
    uint32_t batch = repl->n_batches - 1;
    mark_all(repl, step, true);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        repl_judge_step(repl, batch, i, step);
    }
    if (stop_asked()) {
        mark_all(repl, step, false);
        return stop_check(err);
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        repl_update_summary(repl, batch, i, step);
        repl_add_introduced_if_failed(repl, batch, i, step);
    }
    repl->next = step + 1;
    repl_print_probes(repl, step);
    if (repl->next == repl->plan->n_steps) {
        repl_choose_tokens(repl);
        add_chosen_token(repl);
    }
    return STATUS_OK;
}

enum status repl_run_steps(struct repl *repl, uint32_t last, struct error *err)
{
    ASSERT(repl->n_rows > 0 && repl->next < last && last <= repl->plan->n_steps);
    if (!repl_side_runs(repl_leader(repl))) {
        return error_set(err, STATUS_DEVICE, NULL, "position", ERROR_NO_OFFSET, "no side can run, expected set device");
    }
    /* The leader runs last, since a patch may take rows that the reference computes. */
    for (uint32_t i = repl->n_sides; i-- > 0;) {
        if (repl_side_runs(&repl->sides[i])) {
            TRY(repl_side_failed(repl, &repl->sides[i], run_side(repl, &repl->sides[i], last, err), err));
        }
    }
    for (uint32_t s = repl->next; s < last; s++) {
        TRY(finish_step(repl, s, err));
    }
    return STATUS_OK;
}
