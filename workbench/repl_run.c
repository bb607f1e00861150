/* The run behind the prompt: its tokens, its position, and what both sides recorded and the audit said so far. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/debug_config.h"
#include "workbench/python.h"
#include "workbench/repl.h"

void repl_open(struct repl *repl, struct session *session, struct trace *golden)
{
    *repl = (struct repl){.session = session, .plan = &session->plan, .golden = golden};
    repl->config = xcalloc(1, sizeof(*repl->config));
    debug_config_init(repl->config);
    repl_settings_init(&repl->settings, NULL, NULL, 0);
    repl->next = repl->plan->n_steps;
    if (golden != NULL) {
        repl_restart_golden(repl);
    }
}

/* User code may still hold arrays over a trace's memory: then it is kept until Python has ended. */
static void retire_trace(struct repl *repl, struct trace *trace)
{
    if (!repl->python_used) {
        trace_free(trace);
        free(trace);
        return;
    }
    repl->retired = xrealloc(repl->retired, (repl->n_retired + 1) * sizeof(*repl->retired));
    repl->retired[repl->n_retired++] = trace;
}

/* Forgets the run; the session and the golden stay. */
static void clear_run(struct repl *repl)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].backend != NULL) {
            retire_trace(repl, repl->sides[i].trace);
        }
        free(repl->sides[i].seen);
    }
    repl_forget_batches(repl, 0);
    free(repl->batches);
    free(repl->introduced);
    free(repl->tokens);
    free(repl->phase);
    repl->batches = NULL;
    repl->introduced = NULL;
    repl->tokens = NULL;
    repl->phase = NULL;
    repl->n_sides = repl->n_introduced = repl->capacity = repl->n_known = repl->n_prompt = repl->first = repl->n_rows =
        0;
    repl->next = repl->plan->n_steps;
}

void repl_close(struct repl *repl)
{
    clear_run(repl);
    if (repl->python_used) {
        python_close();
    }
    debug_config_free(repl->config);
    free(repl->config);
    repl_settings_free(&repl->settings);
    repl_forget_patches(repl);
    free(repl->patches);
    free(repl->breaks);
    for (uint32_t i = 0; i < repl->n_retired; i++) {
        trace_free(repl->retired[i]);
        free(repl->retired[i]);
    }
    free(repl->retired);
    free(repl->reads);
    free(repl->last_run);
    if (repl->golden != NULL) {
        trace_free(repl->golden);
        free(repl->golden);
    }
    memset(repl, 0, sizeof(*repl));
}

static void add_side(struct repl *repl, enum source source, struct backend *backend, struct trace *trace)
{
    struct repl_seen *seen = xcalloc(repl->plan->n_steps, sizeof(*seen));
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        seen[s] = (struct repl_seen){
            .latest = {.state = FINDING_MISSING}, .worst = {.state = FINDING_MISSING}, .latest_relative = NAN};
    }
    repl->sides[repl->n_sides++] = (struct repl_side){source, backend, trace, seen, false, 0};
}

/* A trace with room for the whole run and every stage of the plan, so that rows never move while user code looks at
 * them; n_positions is how far the run came. */
static struct trace *empty_trace(const struct repl *repl, const char *name)
{
    struct trace *trace = xcalloc(1, sizeof(*trace));
    trace_init(trace, name, repl->session->model.config.model_type, repl->plan->n_layers, repl->capacity, repl->tokens,
               repl->phase);
    if (strcmp(name, source_name(SOURCE_ENGINE)) == 0) {
        trace->weights_dtype = session_weights_dtype(repl->session); /* --weights f16 */
    }
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        const struct step *step = &repl->plan->steps[s];
        trace_add(trace, step->layer, step->stage, step->width);
    }
    trace->n_positions = 0;
    return trace;
}

static void add_running_sides(struct repl *repl)
{
    const enum source sources[] = {SOURCE_ENGINE, SOURCE_REFERENCE};
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (repl->session->on[sources[i]]) {
            struct backend *backend = &repl->session->backend[sources[i]];
            add_side(repl, sources[i], backend, empty_trace(repl, source_name(sources[i])));
        }
    }
}

void repl_restart_golden(struct repl *repl)
{
    const struct trace *golden = repl->golden;
    ASSERT(golden != NULL);
    clear_run(repl);
    repl->capacity = repl->n_known = golden->n_positions;
    repl->tokens = xcalloc(repl->capacity, sizeof(*repl->tokens));
    repl->phase = xcalloc(repl->capacity, sizeof(*repl->phase));
    memcpy(repl->tokens, golden->tokens, repl->capacity * sizeof(*repl->tokens));
    memcpy(repl->phase, golden->phase, repl->capacity * sizeof(*repl->phase));
    add_running_sides(repl);
    add_side(repl, SOURCE_GOLDEN, NULL, repl->golden);
}

enum status repl_restart(struct repl *repl, const int32_t *ids, uint32_t n_ids, uint32_t n_decode, struct error *err)
{
    const enum source sources[] = {SOURCE_ENGINE, SOURCE_REFERENCE};
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        const struct backend *backend = &repl->session->backend[sources[i]];
        if (repl->session->on[sources[i]] && (uint64_t)n_ids + n_decode > backend->max_positions) {
            return error_set(err, STATUS_USAGE, NULL, "restart", ERROR_NO_OFFSET,
                             "%u prompt and %u decoded positions, expected at most %u", n_ids, n_decode,
                             backend->max_positions);
        }
    }
    clear_run(repl);
    repl->capacity = n_ids + n_decode;
    repl->n_known = repl->n_prompt = n_ids;
    repl->tokens = xcalloc(repl->capacity, sizeof(*repl->tokens));
    repl->phase = xcalloc(repl->capacity, sizeof(*repl->phase));
    memcpy(repl->tokens, ids, n_ids * sizeof(*ids));
    memset(repl->phase + n_ids, PHASE_DECODE, n_decode);
    add_running_sides(repl);
    return STATUS_OK;
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

static struct trace_stage *stage_of(const struct repl_side *side, const struct step *step)
{
    return trace_find(side->trace, step->layer, step->stage);
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
    struct trace_stage *stage = stage_of(side, &repl->plan->steps[step]);
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
    struct trace_stage *stage = stage_of(side, &repl->plan->steps[step]);
    for (uint32_t p = repl->first; p < repl->first + repl->n_rows; p++) {
        stage->n_recorded += recorded - stage->recorded[p];
        stage->recorded[p] = recorded;
    }
}

/* Sums of squares of (side - golden) and of the golden, over the current batch's rows that both hold. false: none. */
static bool compare_rows(const struct repl *repl, const struct trace_stage *stage, const struct trace_stage *golden,
                         double *difference, double *size)
{
    uint32_t n_golden = repl->golden->n_positions;
    bool common = false;
    for (uint32_t p = repl->first; p < repl->first + repl->n_rows && p < n_golden; p++) {
        const float *x = trace_row(stage, p), *y = trace_row(golden, p);
        common = common || (x != NULL && y != NULL);
        for (uint32_t i = 0; x != NULL && y != NULL && i < stage->width; i++) {
            *difference += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
            *size += (double)y[i] * y[i];
        }
    }
    return common;
}

/* The audit of the current batch's rows of one step alone: the other rows of its output are hidden from it, its inputs
 * are all there. */
static struct finding judge_batch(const struct repl *repl, const struct repl_side *side, uint32_t step)
{
    struct trace_stage *stage = stage_of(side, &repl->plan->steps[step]);
    if (stage == NULL || !repl_reads(repl, step)) {
        return (struct finding){.state = FINDING_MISSING};
    }
    struct trace_stage whole = *stage;
    stage->recorded = xcalloc(side->trace->n_positions, 1);
    stage->n_recorded = 0;
    for (uint32_t p = repl->first; p < repl->first + repl->n_rows && p < side->trace->n_positions; p++) {
        stage->recorded[p] = whole.recorded[p];
        stage->n_recorded += whole.recorded[p];
    }
    struct finding finding = audit_step(repl->plan, step, side->trace);
    free(stage->recorded);
    *stage = whole;
    return finding;
}

/* How far a side is from the golden at a step, over the current batch's rows. */
static void compare_step(struct repl *repl, const struct repl_side *side, uint32_t step, struct repl_judged *judged)
{
    const struct repl_side *golden = repl_side_of(repl, SOURCE_GOLDEN);
    const struct trace_stage *stage = stage_of(side, &repl->plan->steps[step]);
    const struct trace_stage *wanted = golden != NULL ? stage_of(golden, &repl->plan->steps[step]) : NULL;
    if (stage != NULL && wanted != NULL) {
        judged->difference = judged->size = 0;
        judged->comparable = compare_rows(repl, stage, wanted, &judged->difference, &judged->size);
    }
}

static void add_introduced(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step)
{
    const struct finding *finding = &repl_judged_of(repl, batch, side, step)->finding;
    if (finding_failed(finding)) {
        repl->introduced = xrealloc(repl->introduced, (repl->n_introduced + 1) * sizeof(*repl->introduced));
        repl->introduced[repl->n_introduced++] = (struct repl_introduced){step, side, batch, *finding};
    }
}

/* Of the current batch's rows, which is number `batch`. */
static void judge_step(struct repl *repl, uint32_t batch, uint32_t side_index, uint32_t step)
{
    struct repl_side *side = &repl->sides[side_index];
    struct repl_judged *judged = repl_judged_of(repl, batch, side_index, step);
    *judged = (struct repl_judged){.finding = judge_batch(repl, side, step)};
    if (side == repl_leader(repl) && repl_is_patched(repl, step)) {
        judged->finding = (struct finding){.state = FINDING_AUDITED,
                                           .rms = judged->finding.rms,
                                           .max_abs = judged->finding.max_abs,
                                           .nonfinite = judged->finding.nonfinite}; /* ours, not the op's: not judged */
    }
    compare_step(repl, side, step, judged);
}

enum source repl_on(const struct repl *repl)
{
    return repl->session->on[SOURCE_ENGINE] ? SOURCE_ENGINE : SOURCE_REFERENCE;
}

void repl_replace_golden(struct repl *repl, struct trace *golden)
{
    struct trace *old = repl->golden;
    repl->golden = golden;
    if (old != NULL) {
        retire_trace(repl, old);
    }
}

/* All batches anew: what the golden is, of all steps, and what every side is, of steps [first, last). */
void repl_judge_again(struct repl *repl, uint32_t first, uint32_t last)
{
    uint32_t position = repl->first, n_rows = repl->n_rows;
    repl->n_introduced = 0;
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        uint32_t end = b + 1 < repl->n_batches ? repl->plan->n_steps : repl->next;
        repl->first = repl->batches[b].first;
        repl->n_rows = repl->batches[b].n_rows;
        for (uint32_t s = 0; s < end; s++) {
            for (uint32_t i = 0; i < repl->n_sides; i++) {
                if (repl->sides[i].backend == NULL || (s >= first && s < last)) {
                    judge_step(repl, b, i, s);
                }
                compare_step(repl, &repl->sides[i], s, repl_judged_of(repl, b, i, s));
                add_introduced(repl, b, i, s);
            }
        }
    }
    repl->first = position;
    repl->n_rows = n_rows;
    repl_fold_all(repl);
}

void repl_attach_golden(struct repl *repl, struct trace *golden)
{
    repl_replace_golden(repl, golden);
    struct repl_side *side = repl_side_of(repl, SOURCE_GOLDEN);
    if (side == NULL) {
        add_side(repl, SOURCE_GOLDEN, NULL, golden);
    } else {
        side->trace = golden;
    }
    repl_judge_again(repl, 0, 0);
}

/* After a batch without a golden: the leader's most likely token goes on, unless it ends the text. */
static void choose_next(struct repl *repl)
{
    uint32_t last = repl->first + repl->n_rows - 1;
    if (last + 1 < repl->n_known || repl->n_known == repl->capacity) {
        return;
    }
    const struct trace_stage *logits = trace_find(repl_leader(repl)->trace, LAYER_NONE, STAGE_logits_final);
    const float *row = trace_row(logits, last);
    ASSERT(row != NULL);
    const struct config *config = &repl->session->model.config;
    int32_t id = sample_greedy(row, logits->width, session_masked_id(config));
    if (!session_ends_text(config, id)) {
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
        judge_step(repl, repl->n_batches - 1, i, step);
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
        add_introduced(repl, repl->n_batches - 1, i, step);
    }
    repl->next = step + 1;
    debug_lines_step(repl, step);
    if (repl->next == repl->plan->n_steps) {
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
