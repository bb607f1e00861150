/* The run behind the prompt goes on: a batch begins, steps run on every side that can, what they make is recorded. */
#include <string.h>

#include "model/stop.h"
#include "workbench/debugger/repl.h"
#include "workbench/probes/probe_config.h"

enum source repl_on(const struct repl *repl)
{
    return repl->session->on[SOURCE_ENGINE] ? SOURCE_ENGINE : SOURCE_REFERENCE;
}

struct repl_side *repl_side_of(struct repl *repl, enum source source)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].source == source) {
            return &repl->sides[i];
        }
    }
    return NULL;
}

bool repl_runs(const struct repl_side *side)
{
    return side->backend != NULL && !side->lost;
}

struct repl_side *repl_leader(struct repl *repl)
{
    ASSERT(repl->n_sides > 0 && repl->sides[0].backend != NULL);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl_runs(&repl->sides[i])) {
            return &repl->sides[i];
        }
    }
    return &repl->sides[0];
}

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
                     repl_runs(repl_leader(repl)) ? ", the reference goes on without it" : "");
}

bool repl_over(const struct repl *repl)
{
    return repl->next == repl->plan->n_steps && repl->first + repl->n_rows == repl->n_known;
}

/* How many positions from `first` go into one batch: prefill rows as many as every side takes, decode rows one by one.
 */
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

enum status repl_begin(struct repl *repl, struct error *err)
{
    if (repl->next < repl->plan->n_steps) {
        return STATUS_OK;
    }
    if (repl->n_known == 0) {
        return error_set(err, STATUS_USAGE, NULL, "position", ERROR_NO_OFFSET,
                         "no tokens to run, expected restart --prompt TEXT or restart --ids 1,2,3 before");
    }
    if (repl_over(repl)) {
        return error_set(err, STATUS_USAGE, NULL, "position", ERROR_NO_OFFSET,
                         "the run is over, all %u positions ran; restart begins anew", repl->n_known);
    }
    if (!repl_runs(repl_leader(repl))) {
        return error_set(err, STATUS_DEVICE, NULL, "position", ERROR_NO_OFFSET, "no side can run, expected set device");
    }
    uint32_t first = repl->first + repl->n_rows;
    struct batch batch = {first, batch_rows(repl, first), repl->tokens + first, repl->phase[first] == PHASE_DECODE};
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        struct backend *backend = repl->sides[i].backend;
        bool runs = repl_runs(&repl->sides[i]);
        enum status status = runs ? backend->ops->begin(backend, &batch, err) : STATUS_OK;
        if (status != STATUS_OK) {
            return repl_side_failed(repl, &repl->sides[i], status, err);
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

/* With debug.layers the engine brings less to the host; the reference is there. */
static bool is_read(const struct repl *repl, const struct repl_side *side, uint32_t step)
{
    return side->source != SOURCE_ENGINE || repl_reads(repl, step);
}

/* Reads a step's rows into the side's trace, not yet marked as recorded; a patched stage of the leader is replaced, on
 * the backend and in the trace. */
static enum status read_step(struct repl *repl, const struct repl_side *side, uint32_t step, struct error *err)
{
    struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    float *rows = stage->rows + (uint64_t)repl->first * stage->width;
    enum status status = side->backend->ops->read(side->backend, step, rows, err);
    if (status != STATUS_OK || side != repl_leader(repl) || !repl_is_patched(repl, step)) {
        return status;
    }
    status = repl_apply_patches(repl, step, rows, err);
    return status == STATUS_OK ? side->backend->ops->write(side->backend, step, rows, err) : status;
}

/* How far one call may run, so that Ctrl-C is looked at in between: the reference one op, the engine all; and a patched
 * stage is the last of its piece. */
static uint32_t piece_end(struct repl *repl, const struct repl_side *side, uint32_t first, uint32_t last)
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
    enum status status = STATUS_OK;
    for (uint32_t first = repl->next; status == STATUS_OK && first < last;) {
        uint32_t end = piece_end(repl, side, first, last);
        status = side->backend->ops->run(side->backend, first, end, err);
        for (uint32_t s = first; status == STATUS_OK && s < end; s++) {
            status = is_read(repl, side, s) ? read_step(repl, side, s, err) : STATUS_OK;
        }
        first = end;
        if (status == STATUS_OK && first < last) {
            status = stop_check(err);
        }
    }
    return status;
}

static void mark_recorded(const struct repl *repl, const struct repl_side *side, uint32_t step, bool recorded)
{
    struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    for (uint32_t p = repl->first; p < repl->first + repl->n_rows; p++) {
        stage->n_recorded += recorded - stage->recorded[p];
        stage->recorded[p] = recorded;
    }
}

/* After a batch without a golden: the leader's most likely token goes on, unless it ends the text. */
static void choose_next(struct repl *repl)
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

/* Audits one step that ran on all sides; then the position is after it. Interrupted, the position stays before it. */
static enum status take_step(struct repl *repl, uint32_t step, struct error *err)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl_runs(&repl->sides[i]) && is_read(repl, &repl->sides[i], step)) {
            mark_recorded(repl, &repl->sides[i], step, true);
        }
        repl_judge(repl, repl->n_batches - 1, i, step);
    }
    for (uint32_t i = 0; i < repl->n_sides && stop_asked(); i++) {
        if (repl_runs(&repl->sides[i]) && is_read(repl, &repl->sides[i], step)) {
            mark_recorded(repl, &repl->sides[i], step, false);
        }
    }
    if (stop_asked()) {
        return stop_check(err);
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        repl_fold(repl, repl->n_batches - 1, i, step);
        repl_add_introduced(repl, repl->n_batches - 1, i, step);
    }
    repl->next = step + 1;
    repl_probe_lines(repl, step);
    if (repl->next == repl->plan->n_steps) {
        repl_choose(repl);
        choose_next(repl);
    }
    return STATUS_OK;
}

enum status repl_advance(struct repl *repl, uint32_t last, struct error *err)
{
    ASSERT(repl->n_rows > 0 && repl->next < last && last <= repl->plan->n_steps);
    if (!repl_runs(repl_leader(repl))) {
        return error_set(err, STATUS_DEVICE, NULL, "position", ERROR_NO_OFFSET, "no side can run, expected set device");
    }
    /* The leader last, for a patch may take what the reference computes. */
    for (uint32_t i = repl->n_sides; i-- > 0;) {
        enum status status = repl_runs(&repl->sides[i]) ? run_side(repl, &repl->sides[i], last, err) : STATUS_OK;
        if (status != STATUS_OK) {
            return repl_side_failed(repl, &repl->sides[i], status, err);
        }
    }
    enum status status = STATUS_OK;
    for (uint32_t s = repl->next; status == STATUS_OK && s < last; s++) {
        status = take_step(repl, s, err);
    }
    return status;
}
