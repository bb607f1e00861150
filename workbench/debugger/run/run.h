/* Moving the position: forward by running, back by restoring what was recorded. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_RUN_RUN_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_RUN_RUN_H

#include "workbench/debugger/repl.h"

/* run.c: begins a batch unless one is under way. STATUS_USAGE: no tokens are left to run. */
enum status repl_begin_batch(struct repl *repl, struct error *err);

/* Begins a batch on one side. It gets the tokens that the side's plan lets it have. */
enum status repl_begin_on(const struct repl *repl, const struct repl_side *side, const struct batch *batch,
                          struct error *err);

/* Moves the position to step `last` of the current batch: every side computes what it has not yet computed, and the
 * steps passed are recorded and audited. On failure the position stays; on Ctrl-C (STATUS_INTERRUPTED) it is after the
 * last step that was judged. */
enum status repl_run_steps(struct repl *repl, uint32_t last, struct error *err);

/* Whether all tokens ran. */
bool repl_is_over(const struct repl *repl);

/* What a failing call means for a side. A side whose device was lost leaves the run; the others go on. */
enum status repl_side_failed(struct repl *repl, struct repl_side *side, enum status status, struct error *err);

/* Has a side compute all batches again, as far as the position goes, and judges everything anew. The tokens and the
 * position stay. */
enum status repl_rerun(struct repl *repl, struct repl_side *side, struct error *err);

/* The same without judging: *n_made receives the batches whose rows are computed. */
enum status repl_rerun_rows(struct repl *repl, struct repl_side *side, uint32_t *n_made, struct error *err);

/* restore_run.c: a run as it was saved. */
struct saved_side {
    struct trace *rows;     /* what it recorded, and the steps of the last batch that it made ahead; NULL: runs again */
    uint32_t version, made; /* as in struct repl_side; where there are rows */
};
struct saved_run {
    const struct repl_batch
        *batches; /* [n_batches] first, n_rows, version, from; kernels: of rows that do not run again */
    uint32_t n_batches, next;
    struct saved_side sides[REPL_MAX_SIDES]; /* as in struct repl */
};

/* Brings a run, at position 0 and with all of its tokens known, to the place that was saved, and judges it. */
enum status repl_restore_run(struct repl *repl, const struct saved_run *saved, struct error *err);

/* go_back.c: starts and drops batches. */
void repl_add_batch(struct repl *repl, uint32_t first, uint32_t n_rows);
void repl_drop_batches(struct repl *repl, uint32_t n_kept);

/* A position as a number: 0 is before position 0; b * n_steps + s is after step s - 1 of batch b. */
uint64_t repl_point(const struct repl *repl);

/* Goes back to a point that the run passed: after step `next` - 1 of a batch. Nothing is computed. Rows after the point
 * are hidden; in the same batch they are shown again as the position passes them. */
enum status repl_go_back(struct repl *repl, uint32_t batch, uint32_t next, struct error *err);
enum status repl_go_to_point(struct repl *repl, uint64_t point, struct error *err);
void repl_go_to_start(struct repl *repl);

/* Brings a side's backend to the state after step `next` - 1 of a batch. Writes the recorded rows that later steps
 * read; steps that were not captured run again. */
enum status repl_restore(const struct repl *repl, const struct repl_side *side, const struct repl_batch *batch,
                         uint32_t next, struct error *err);

/* Restores all batches of a side, for a backend that was opened anew. */
enum status repl_replay(struct repl *repl, struct repl_side *side, struct error *err);

/* Says that a side would compute other rows from here on: its next run starts from the recorded ones. */
void repl_side_changed(const struct repl *repl, struct repl_side *side);

/* commands/step.c: runs to step `last` of the current batch, layer by layer. Stops at a breakpoint and then sets
 * repl->stopped. */
enum status repl_run_to(struct repl *repl, uint32_t last, struct error *err);

/* Runs to the end of the current token, or of the next one if that is done. The whole prompt counts as one token, even
 * if it takes several batches. Prints a line for each batch. */
enum status repl_run_token(struct repl *repl, struct error *err);

/* commands/break.c: the first of steps [first, last) of the current batch at which a breakpoint holds, or -1. */
int64_t repl_find_breakpoint(const struct repl *repl, uint32_t first, uint32_t last,
                             const struct repl_breakpoint **breakpoint);

/* commands/patch.c: whether the leader's step is patched; and the patch, applied to its rows of the current batch. */
bool repl_is_patched(const struct repl *repl, uint32_t step);
enum status repl_apply_patches(struct repl *repl, uint32_t step, float *rows, struct error *err);
void repl_drop_patches(struct repl *repl);

/* Refuses rows of a trace that name experts which the model does not have: whoever reads them reads weights by them. */
enum status repl_check_experts(const struct step *step, const struct trace *trace, const char *what, struct error *err);

#endif
