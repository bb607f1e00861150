/* Moves the position forward: begins batches, runs steps on every side, records and audits what they compute. */
#include "workbench/debugger/run/run.h"

#include <string.h>

#include "model/stop.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/judge.h"

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

enum status repl_begin_on(const struct repl *repl, const struct repl_side *side, const struct batch *batch,
                          struct error *err)
{
    struct batch own = *batch;
    own.tokens =
        session_batch_tokens(side->backend->plan, repl->tokens, repl->phase, repl->n_known, batch->first_position);
    return side->backend->ops->begin(side->backend, &own, err);
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
        if (repl_side_runs(&repl->sides[i])) {
            TRY(repl_side_failed(repl, &repl->sides[i], repl_begin_on(repl, &repl->sides[i], &batch, err), err));
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
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        repl->batches[repl->n_batches - 1].version[i] = repl->sides[i].version;
        repl->sides[i].made = 0;
        repl->sides[i].behind = false;
    }
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
    session_declare_storage(&side->backend->plan->steps[step], stage);
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
    if (side->source == SOURCE_REFERENCE || repl->settings.no_fuse) {
        return first + 1;
    }
    for (uint32_t s = first; side == repl_leader(repl) && s < last; s++) {
        if (repl_is_patched(repl, s)) {
            return s + 1;
        }
    }
    return last;
}

/* How far a side runs when the position moves to step `last`. The engine runs to the end of the batch, as `run` and
 * `diff` do; the reference as far as patches of the engine take its rows. */
static uint32_t run_end(const struct repl *repl, const struct repl_side *side, uint32_t last)
{
    bool ahead = repl->sides[0].source == SOURCE_ENGINE && !repl->settings.no_fuse;
    if (ahead && side->source == SOURCE_ENGINE) {
        return repl->plan->n_steps;
    }
    for (uint32_t i = 0; ahead && i < repl->n_patches; i++) {
        const struct repl_patch *patch = &repl->patches[i];
        bool takes = patch->kind == PATCH_SIDE && patch->source == side->source && patch->step >= last;
        last = takes ? patch->step + 1 : last;
    }
    return last;
}

/* Brings the backend to where the side's rows end. If the rows are its own, the batch is begun anew, and runs from its
 * start; otherwise the recorded rows are written to it. */
static enum status catch_up(struct repl *repl, uint32_t side_index, struct error *err)
{
    struct repl_side *side = &repl->sides[side_index];
    struct repl_batch *batch = &repl->batches[repl->n_batches - 1];
    if (!side->behind) {
        return STATUS_OK;
    }
    bool own = batch->version[side_index] == side->version && batch->from[side_index] == 0;
    bool again = own && side->source == SOURCE_ENGINE && !repl->settings.no_fuse;
    side->made = again ? 0 : repl->next;
    TRY(repl_restore(repl, side, batch, side->made, err));
    if (!own) {
        batch->version[side_index] = side->version;
        batch->from[side_index] = repl->next;
    }
    side->behind = false;
    return STATUS_OK;
}

/* Notes which kernels made steps [first, last) of the current batch: fused ones where the call covered all of the
 * group. */
static void note_kernels(const struct repl *repl, const struct repl_side *side, uint32_t first, uint32_t last)
{
    struct engine_kernel *kernels = repl->batches[repl->n_batches - 1].kernels;
    for (uint32_t s = first; side->source == SOURCE_ENGINE && s < last; s++) {
        struct engine_kernel *kernel = &kernels[s];
        if (engine_kernel_of(side->backend, repl->n_rows, s, false, kernel) &&
            (kernel->first_step < first || kernel->first_step + kernel->n_steps > last)) {
            (void)engine_kernel_of(side->backend, repl->n_rows, s, true, kernel);
        }
    }
}

/* Has a side compute its rows of the steps before `last`. */
static enum status run_side(struct repl *repl, uint32_t side_index, uint32_t last, struct error *err)
{
    struct repl_side *side = &repl->sides[side_index];
    uint32_t end = run_end(repl, side, last);
    if (side->made >= last && (side->source == SOURCE_ENGINE || side->made >= end)) {
        return STATUS_OK;
    }
    TRY(catch_up(repl, side_index, err));
    while (side->made < end) {
        uint32_t first = side->made, stop = call_end(repl, side, first, end);
        TRY(side->backend->ops->run(side->backend, first, stop, err));
        note_kernels(repl, side, first, stop);
        for (uint32_t s = first; s < stop; s++) {
            if (is_recorded(repl, side, s)) {
                TRY(read_step(repl, side, s, err));
            }
        }
        side->made = stop;
        if (stop < end) {
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
    repl_make_probes(repl, step);
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
            TRY(repl_side_failed(repl, &repl->sides[i], run_side(repl, i, last, err), err));
        }
    }
    for (uint32_t s = repl->next; s < last; s++) {
        TRY(finish_step(repl, s, err));
    }
    return STATUS_OK;
}

/* Runs a batch again on one side, as far as the position goes: the batch is the last one for the time of the call. */
static enum status rerun_batch(struct repl *repl, uint32_t side_index, struct error *err)
{
    struct repl_side *side = &repl->sides[side_index];
    struct repl_batch *batch = &repl->batches[repl->n_batches - 1];
    struct batch begin = {batch->first, batch->n_rows, repl->tokens + batch->first,
                          repl->phase[batch->first] == PHASE_DECODE};
    repl->first = batch->first;
    repl->n_rows = batch->n_rows;
    TRY(repl_begin_on(repl, side, &begin, err));
    side->made = batch->from[side_index] = 0;
    side->behind = false;
    batch->version[side_index] = side->version;
    TRY(repl->next > 0 ? run_side(repl, side_index, repl->next, err) : STATUS_OK);
    for (uint32_t s = 0; s < repl->next; s++) {
        if (!is_recorded(repl, side, s)) {
            mark_recorded(repl, side, s, false); /* rows of an earlier engine */
        }
    }
    if (repl->next == repl->plan->n_steps) {
        repl_choose_tokens(repl);
    }
    return STATUS_OK;
}

enum status repl_rerun_rows(struct repl *repl, struct repl_side *side, uint32_t *n_made, struct error *err)
{
    uint32_t n_batches = repl->n_batches, next = repl->next, n_done = 0;
    enum status status = STATUS_OK;
    while (n_done < n_batches && status == STATUS_OK) {
        repl->n_batches = n_done + 1;
        repl->next = n_done + 1 < n_batches ? repl->plan->n_steps : next;
        status = rerun_batch(repl, (uint32_t)(side - repl->sides), err);
        n_done += status == STATUS_OK;
    }
    repl->n_batches = n_batches;
    repl->next = next;
    if (n_batches > 0) {
        repl->first = repl->batches[n_batches - 1].first;
        repl->n_rows = repl->batches[n_batches - 1].n_rows;
    }
    *n_made = n_done;
    return status;
}

enum status repl_rerun(struct repl *repl, struct repl_side *side, struct error *err)
{
    uint32_t n_done;
    enum status status = repl_rerun_rows(repl, side, &n_done, err);
    if (status != STATUS_OK) { /* the run ends where the rows are of the same engine */
        if (n_done > 0) {
            TRY(repl_go_back(repl, n_done - 1, repl->plan->n_steps, err));
        } else {
            repl_go_to_start(repl);
        }
    }
    repl_rejudge(repl, 0, repl->plan->n_steps);
    return repl_side_failed(repl, side, status, err);
}
