/* Goes back to any point that the run passed. Nothing is recomputed: rows after the point are hidden, and a backend is
 * brought to the point only if it has to run from there. */
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/debugger/run/judge.h"
#include "workbench/debugger/run/run.h"

void repl_add_batch(struct repl *repl, uint32_t first, uint32_t n_rows)
{
    repl->batches = xrealloc(repl->batches, (repl->n_batches + 1) * sizeof(*repl->batches));
    struct repl_judgement *judged = xcalloc((uint64_t)REPL_MAX_SIDES * repl->plan->n_steps, sizeof(*judged));
    repl->batches[repl->n_batches++] =
        (struct repl_batch){.first = first,
                            .n_rows = n_rows,
                            .judgements = judged,
                            .kernels = xcalloc(repl->plan->n_steps, sizeof(struct engine_kernel))};
    repl->first = first;
    repl->n_rows = n_rows;
    repl->next = 0;
}

void repl_drop_batches(struct repl *repl, uint32_t n_kept)
{
    while (repl->n_batches > n_kept) {
        repl->n_batches--;
        free(repl->batches[repl->n_batches].judgements);
        free(repl->batches[repl->n_batches].kernels);
    }
}

/* Drops a side's rows after the position, and those of the current batch's steps that are yet to run. */
static void drop_rows(const struct repl *repl, const struct repl_side *side)
{
    uint32_t end = repl->first + repl->n_rows;
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        const struct step *step = &repl->plan->steps[s];
        struct trace_stage *stage = trace_find_step(side->trace, step);
        for (uint32_t p = s < repl->next ? end : repl->first; p < side->trace->n_positions; p++) {
            stage->n_recorded -= stage->recorded[p];
            stage->recorded[p] = 0;
        }
    }
    side->trace->n_positions = end;
}

static void drop_introduced(struct repl *repl)
{
    uint32_t n = 0;
    bool done = repl->next == repl->plan->n_steps; /* then an error of the choice at its end stays */
    for (uint32_t i = 0; i < repl->n_introduced; i++) {
        const struct repl_introduced *introduced = &repl->introduced[i];
        uint32_t last = repl->n_batches - 1; /* not used if there is no batch */
        if (repl->n_batches > 0 &&
            (introduced->batch < last || (introduced->batch == last && (introduced->step < repl->next || done)))) {
            repl->introduced[n++] = *introduced;
        }
    }
    repl->n_introduced = n;
}

/* Drops everything after the position, including the tokens that were chosen after it. */
static void drop_future(struct repl *repl)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].backend != NULL) {
            repl_drop_choices(repl, &repl->sides[i]);
            drop_rows(repl, &repl->sides[i]);
        }
    }
    drop_introduced(repl);
    repl_summarize(repl);
    bool chosen = repl->n_prompt > 0; /* the tokens are not a golden's */
    uint32_t end = repl->first + repl->n_rows;
    bool done = repl->n_batches > 0 && repl->next == repl->plan->n_steps;
    if (chosen && repl->n_known > repl->n_prompt) {
        uint32_t known = end + (done ? 1 : 0);
        known = known < repl->n_prompt ? repl->n_prompt : known;
        repl->n_known = known < repl->n_known ? known : repl->n_known;
    }
}

/* A side's rows of a step from position `first` on, or NULL if they are not recorded. */
static const float *recorded_rows(const struct repl *repl, const struct repl_side *side, uint32_t step, uint32_t first)
{
    const struct step *at = &repl->plan->steps[step];
    return trace_row(trace_find(side->trace, at->layer, at->stage), first);
}

static void mark_inputs(const struct step *step, uint8_t *live)
{
    for (uint32_t i = 0; i < OP_MAX_INPUTS; i++) {
        if (step->input[i] >= 0) {
            live[step->input[i]] = 1;
        }
    }
}

/* Marks the steps whose rows are still read once the steps before `next` ran: by a later step of the batch; as keys and
 * values, by later positions; or to recompute one of these that was not recorded. The caller frees the marks. */
static uint8_t *live_steps(const struct repl *repl, const struct repl_side *side, uint32_t first, uint32_t next)
{
    const struct plan *plan = repl->plan;
    uint8_t *live = xcalloc(plan->n_steps, 1);
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        for (uint32_t i = 0; i < OP_MAX_INPUTS; i++) {
            bool cached = step->op == OP_attention && i > 0; /* keys and values */
            if (step->input[i] >= 0 && (s >= next || cached)) {
                live[step->input[i]] = 1;
            }
        }
    }
    for (uint32_t s = next; s-- > 0;) {
        if (live[s] && recorded_rows(repl, side, s, first) == NULL) {
            mark_inputs(&plan->steps[s], live);
        }
    }
    return live;
}

enum status repl_restore(const struct repl *repl, const struct repl_side *side, const struct repl_batch *batch,
                         uint32_t next, struct error *err)
{
    struct batch begin = {batch->first, batch->n_rows, repl->tokens + batch->first,
                          repl->phase[batch->first] == PHASE_DECODE};
    enum status status = repl_begin_on(repl, side, &begin, err);
    uint8_t *live = live_steps(repl, side, batch->first, next);
    for (uint32_t s = 0; status == STATUS_OK && s < next; s++) {
        const float *rows = live[s] ? recorded_rows(repl, side, s, batch->first) : NULL;
        if (rows != NULL) {
            status = side->backend->ops->write(side->backend, s, rows, err);
        } else if (live[s]) {
            status = side->backend->ops->run(side->backend, s, s + 1, err);
        }
    }
    free(live);
    return status;
}

void repl_side_changed(const struct repl *repl, struct repl_side *side)
{
    side->version++;
    side->made = repl->next;
    side->behind = true;
}

/* A side at a point of a batch that the run passed. Rows that it would now compute otherwise are not shown again. */
static void move_side(const struct repl *repl, uint32_t side_index, struct repl_side *side, uint32_t batch,
                      uint32_t next)
{
    bool current = batch + 1 == repl->n_batches;
    bool own =
        repl->batches[batch].version[side_index] == side->version && next >= repl->batches[batch].from[side_index];
    uint32_t made = current ? side->made : repl->plan->n_steps;
    side->behind = !current || side->behind || !own;
    side->made = own ? made : next;
}

enum status repl_go_back(struct repl *repl, uint32_t batch, uint32_t next, struct error *err)
{
    (void)err;
    ASSERT(batch < repl->n_batches && next <= repl->plan->n_steps);
    ASSERT(batch + 1 < repl->n_batches || next <= repl->next);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl_side_runs(&repl->sides[i])) {
            move_side(repl, i, &repl->sides[i], batch, next);
        }
    }
    repl_drop_batches(repl, batch + 1);
    repl->first = repl->batches[batch].first;
    repl->n_rows = repl->batches[batch].n_rows;
    repl->next = next;
    drop_future(repl);
    return STATUS_OK;
}

void repl_go_to_start(struct repl *repl)
{
    repl_drop_batches(repl, 0);
    repl->first = repl->n_rows = 0;
    repl->next = repl->plan->n_steps;
    drop_future(repl);
}

enum status repl_replay(struct repl *repl, struct repl_side *side, struct error *err)
{
    enum status status = STATUS_OK;
    for (uint32_t b = 0; status == STATUS_OK && b < repl->n_batches; b++) {
        uint32_t next = b + 1 < repl->n_batches ? repl->plan->n_steps : repl->next;
        status = repl_restore(repl, side, &repl->batches[b], next, err);
    }
    return status;
}

uint64_t repl_point(const struct repl *repl)
{
    return repl->n_batches == 0 ? 0 : (uint64_t)(repl->n_batches - 1) * repl->plan->n_steps + repl->next;
}

enum status repl_go_to_point(struct repl *repl, uint64_t point, struct error *err)
{
    uint32_t n_steps = repl->plan->n_steps;
    if (point == 0) {
        repl_go_to_start(repl);
        return STATUS_OK;
    }
    return repl_go_back(repl, (uint32_t)((point - 1) / n_steps), (uint32_t)((point - 1) % n_steps) + 1, err);
}
