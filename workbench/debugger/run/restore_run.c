/* Restores a saved run: rows that the sides would make again are computed; others are taken from the file. */
#include <string.h>

#include "model/stop.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/judge.h"
#include "workbench/debugger/run/run.h"

static void set_recorded(struct trace_stage *stage, uint32_t position, bool recorded)
{
    stage->n_recorded += recorded - stage->recorded[position];
    stage->recorded[position] = recorded;
}

/* Begins the batches, without rows. */
static void add_batches(struct repl *repl, const struct saved_run *saved)
{
    for (uint32_t b = 0; b < saved->n_batches; b++) {
        repl_add_batch(repl, saved->batches[b].first, saved->batches[b].n_rows);
    }
    repl->next = saved->n_batches > 0 ? saved->next : repl->plan->n_steps;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        struct trace *trace = repl->sides[i].trace;
        if (repl->sides[i].backend != NULL) {
            trace->n_positions = repl->first + repl->n_rows;
            memcpy(trace->tokens, repl->tokens, trace->n_positions * sizeof(*trace->tokens));
        }
    }
}

/* Marks the rows that a side has at the position. */
static void mark_ran(const struct repl *repl, const struct repl_side *side)
{
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[s]);
        uint32_t end = s < repl->next ? repl->first + repl->n_rows : repl->first;
        for (uint32_t p = 0; p < end && (side->source != SOURCE_ENGINE || repl_is_captured(repl, s)); p++) {
            set_recorded(stage, p, true);
        }
    }
}

/* Copies the rows of a file into a side's trace. */
static void take_rows(const struct repl *repl, const struct repl_side *side, const struct trace *rows)
{
    for (uint32_t i = 0; i < rows->n_stages; i++) {
        const struct trace_stage *from = &rows->stages[i];
        struct trace_stage *to = trace_add(side->trace, from->layer, from->stage, from->width);
        for (uint32_t p = 0; p < rows->n_positions && p < repl->first + repl->n_rows; p++) {
            if (trace_row(from, p) != NULL) {
                trace_set_row(side->trace, to, p, trace_row(from, p));
            }
        }
    }
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        session_declare_storage(&side->backend->plan->steps[s], trace_find_step(side->trace, &repl->plan->steps[s]));
    }
}

/* Gives a side rows that it does not compute again, and brings its backend to behind them. */
static enum status restore_rows(struct repl *repl, uint32_t i, const struct saved_run *saved, struct error *err)
{
    struct repl_side *side = &repl->sides[i];
    take_rows(repl, side, saved->sides[i].rows);
    side->version = saved->sides[i].version;
    side->made = saved->sides[i].made;
    side->behind = false;
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        bool last = b + 1 == repl->n_batches;
        repl->batches[b].version[i] = saved->batches[b].version[i];
        repl->batches[b].from[i] = saved->batches[b].from[i];
        memcpy(repl->batches[b].kernels, saved->batches[b].kernels,
               repl->plan->n_steps * sizeof(*repl->batches[b].kernels));
        TRY(repl_restore(repl, side, &repl->batches[b], last ? side->made : repl->plan->n_steps, err));
    }
    for (uint32_t s = repl->next; s < repl->plan->n_steps; s++) { /* made, and not yet seen */
        struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[s]);
        for (uint32_t p = repl->first; p < repl->first + repl->n_rows; p++) {
            set_recorded(stage, p, false);
        }
    }
    return STATUS_OK;
}

enum status repl_restore_run(struct repl *repl, const struct saved_run *saved, struct error *err)
{
    add_batches(repl, saved);
    /* The engine comes last, since a patch may take rows that the reference computes. */
    for (uint32_t i = repl->n_sides; i-- > 0 && saved->n_batches > 0;) {
        uint32_t n_made;
        if (repl->sides[i].backend == NULL) {
            continue;
        }
        if (saved->sides[i].rows != NULL) {
            TRY(restore_rows(repl, i, saved, err));
        } else {
            mark_ran(repl, &repl->sides[i]);
            TRY(repl_rerun_rows(repl, &repl->sides[i], &n_made, err));
        }
    }
    repl_rejudge(repl, 0, repl->plan->n_steps);
    return stop_check(err);
}
