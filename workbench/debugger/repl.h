/* The prompt: both sides of a session advance together, op by op if wanted, and every op is audited as it runs.
 *
 * There is one position: a batch (all of the prompt's positions that fit, or one decoded token) and the next step of
 * the plan in it. Each side's rows fill a trace as it runs; the golden is a side that is read and not run. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_REPL_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_REPL_H

#include "workbench/session/session.h"

#define REPL_MAX_SIDES 3
#define REPL_DECODE 24 /* tokens that a run without a golden decodes, if nothing else is asked for */

/* What the audit said of one step of one side. */
struct repl_seen {
    struct finding latest;   /* of the current batch's rows */
    struct finding worst;    /* of the batch with the worst ratio; FINDING_MISSING: did not run yet */
    double latest_relative;  /* rms of (side - golden) / rms of the golden over the batch's rows; NaN: not comparable */
    double difference, size; /* the sums of squares of that, over all rows so far */
};

/* What the audit said of one step of one side in one batch. */
struct repl_judged {
    struct finding finding;
    bool comparable;         /* with the golden: the sums hold */
    double difference, size; /* sums of squares of (side - golden) and of the golden, over the batch's rows */
};

/* A batch that began: kept, so that going back to any point of it needs no running. Its rows are in the traces. */
struct repl_batch {
    uint32_t first, n_rows;
    struct repl_judged *judged; /* [REPL_MAX_SIDES, n_steps]; of the steps that ran */
};

struct repl_side {
    enum source source;
    struct backend *backend; /* NULL: the golden */
    struct trace *trace;     /* its n_positions grows with the run */
    struct repl_seen *seen;  /* [n_steps] */
    bool lost;               /* its device failed: it does not run until it is opened again */
    uint64_t lost_at;        /* the point up to which it ran */
};

/* An error that a step introduced, in the order in which the run met it. */
struct repl_introduced {
    uint32_t step, side, batch;
    struct finding finding;
};

/* Where a run stops: once a stage ran and the condition holds of the leader's rows, or once any side introduced an
 * error. */
struct repl_break {
    uint32_t number; /* as shown; never used again */
    bool diverge;    /* no stage: any step that introduces an error */
    uint32_t step;
    enum { BREAK_ALWAYS, BREAK_NAN, BREAK_MAXABS, BREAK_RATIO } condition;
    double limit;
};

/* A stage of the leader that is replaced each time it ran. */
struct repl_patch {
    uint32_t step;
    enum { PATCH_SIDE, PATCH_FILE, PATCH_SCALE } kind;
    enum source source; /* PATCH_SIDE */
    struct trace *file; /* PATCH_FILE; owned */
    double scale;       /* PATCH_SCALE */
};

/* What a user may change. */
#define REPL_MAX_FAULTS 16
struct repl_settings {
    char *device;  /* as --device; NULL: the default one */
    char *shaders; /* folder of GLSL; NULL: what is built in */
    char *faults[REPL_MAX_FAULTS];
    uint32_t n_faults;
    uint32_t decode; /* tokens after a prompt */
    uint32_t width;  /* of plots, in columns; 0: the terminal's */
};
void repl_settings_init(struct repl_settings *settings, const char *device, const char *const *faults,
                        uint32_t n_faults);
void repl_settings_free(struct repl_settings *settings);

struct repl {
    struct session *session;
    struct repl_settings settings;
    const struct plan *plan;
    struct plan judged;   /* the same with what is sampled, which nobody runs; introduced errors are of its steps */
    struct trace *golden; /* as loaded, or NULL; owned */
    struct repl_side sides[REPL_MAX_SIDES];
    uint32_t n_sides;
    int32_t *tokens; /* [capacity], of which n_known are known: all of a golden's, else those decoded so far */
    uint8_t *phase;  /* [capacity] */
    uint32_t capacity, n_known, n_prompt;
    uint32_t first, n_rows;     /* the current batch's positions; n_rows 0: nothing ran yet */
    uint32_t next;              /* step to run next in it; n_steps: the batch is done */
    struct repl_batch *batches; /* [n_batches]; the last one is the current one */
    uint32_t n_batches;
    struct repl_break *breaks;
    uint32_t n_breaks, last_break; /* the number given last */
    struct repl_patch *patches;
    uint32_t n_patches;
    struct probe_config *config; /* probes, trace categories, log level, checkpoint layers */
    bool *reads;                 /* [n_steps] stages that the engine brings to the host; NULL: all */
    struct repl_introduced *introduced;
    uint32_t n_introduced;
    struct trace **retired; /* traces of earlier runs that user code may still look into */
    uint32_t n_retired;
    bool python_used, quit;
    char *last_run;              /* the command that ran something last; NULL: none, or it failed */
    uint64_t last_from, last_to; /* points before and after it (repl_point) */
    bool stopped;                /* by a breakpoint, during this command */
    unsigned depth;              /* of nested `source` commands */
};

/* repl_open.c: takes the session (which must stay open) and, if not NULL, the golden, whose tokens it will run. */
void repl_open(struct repl *repl, struct session *session, struct trace *golden);
void repl_close(struct repl *repl);

/* Back to position 0, with the golden's tokens, or with these and up to n_decode more. */
void repl_restart_golden(struct repl *repl);
enum status repl_restart(struct repl *repl, const int32_t *ids, uint32_t n_ids, uint32_t n_decode, struct error *err);

/* The source that runs, the engine if it is on. */
enum source repl_on(const struct repl *repl);

/* Another golden in the place of the one there is, which is freed, or kept where user code may look at it. */
void repl_replace_golden(struct repl *repl, struct trace *golden);

/* The same, for a golden of the run's own tokens: what ran is compared with it, and the position stays. */
void repl_attach_golden(struct repl *repl, struct trace *golden);

/* Makes sure that a batch has begun and is not done. STATUS_USAGE where no tokens are left to run. */
enum status repl_begin(struct repl *repl, struct error *err);

/* Runs the current batch up to step `last` on both sides, records and audits. On failure the position stays where it
 * is; STATUS_INTERRUPTED where Ctrl-C was pressed, after the last step that was judged. */
enum status repl_advance(struct repl *repl, uint32_t last, struct error *err);

/* repl_judge.c: audits the current batch's rows, which is number `batch`, of a step of a side, and compares them with
 * the golden's: both into the batch's judged. */
void repl_judge(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);

/* repl_sample.c: makes repl->judged; and which of its steps the choice of a token is. */
void repl_plan_samples(struct repl *repl);
uint32_t repl_sample_step(const struct repl *repl);

/* After a batch whose last row chooses a token: each side that runs chooses, and all choices are judged. */
void repl_choose(struct repl *repl);
void repl_judge_choice(struct repl *repl, uint32_t batch);

/* A side forgets what was chosen after the position. */
void repl_forget_choices(const struct repl *repl, const struct repl_side *side);

/* Whether a choice after the current batch was judged wrong. */
bool repl_choice_failed(const struct repl *repl);

/* Adds an error to those introduced. */
void repl_add_finding(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step, const struct finding *finding);

/* Adds what a batch's audit of a step failed to the errors introduced, if it did. */
void repl_add_introduced(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);

/* Audits anew, of all batches: the golden's steps, and every side's [first, last); and which of them introduced an
 * error. */
void repl_judge_again(struct repl *repl, uint32_t first, uint32_t last);

/* repl_history.c: where the run came through.
 *
 * Goes back to a point that was passed: after step `next` - 1 of a batch. Nothing is run: the batch begins anew on each
 * side, keys and values of earlier positions are there, and the recorded rows that later steps read are written back.
 * What was recorded after that point is forgotten. */
enum status repl_go_back(struct repl *repl, uint32_t batch, uint32_t next, struct error *err);

/* Before position 0. */
void repl_go_to_start(struct repl *repl);

/* Writes a side's recorded rows to its backend anew, all batches, for a backend that was opened again. */
enum status repl_replay(struct repl *repl, struct repl_side *side, struct error *err);

/* Puts a backend after step `next` - 1 of a batch: with the rows that were recorded; of layers that are not brought to
 * the host, what is needed runs again. */
enum status repl_restore(const struct repl *repl, const struct repl_side *side, const struct repl_batch *batch,
                         uint32_t next, struct error *err);

/* Points in order: 0 is before position 0, b * n_steps + s is after step s - 1 of batch b. */
uint64_t repl_point(const struct repl *repl);
enum status repl_go_to_point(struct repl *repl, uint64_t point, struct error *err);

/* All summaries anew. */
void repl_fold_all(struct repl *repl);

/* What a failing call means for a side: a device that was lost is out of the run, and the others go on without it. */
enum status repl_side_failed(struct repl *repl, struct repl_side *side, enum status status, struct error *err);

/* Whether a side has a backend, and that works. */
bool repl_runs(const struct repl_side *side);

void repl_add_batch(struct repl *repl, uint32_t first, uint32_t n_rows);
void repl_forget_batches(struct repl *repl, uint32_t n_kept);
struct repl_judged *repl_judged_of(const struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);

/* Takes what a batch's audit said of a step into the side's summary. */
void repl_fold(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);

/* repl_reads.c: whether a stage is brought to the host and judged. With debug.layers: those of the checkpoint layers,
 * what lies outside the layers, what going back needs (keys, values, each layer's output), and what probes, patches and
 * breakpoints look at. */
bool repl_reads(const struct repl *repl, uint32_t step);

/* Chooses anew, after a change of what is looked at. The position stays. */
enum status repl_choose_reads(struct repl *repl, struct error *err);

/* repl_fetch.c: if the step's layer is not read back, runs it again for every batch so far and reads it; and from now
 * on. Interrupted, or where the engine is another than when it ran, nothing has changed. The position stays. */
enum status repl_fetch(struct repl *repl, uint32_t step, struct error *err);

/* repl_break.c: the first of steps [first, last) of the current batch at which a breakpoint stops the run, or -1. */
int64_t repl_stop_at(const struct repl *repl, uint32_t first, uint32_t last, const struct repl_break **why);

/* repl_patch.c: whether a step of the leader is patched; and its rows of the current batch, replaced. */
bool repl_is_patched(const struct repl *repl, uint32_t step);
enum status repl_apply_patches(struct repl *repl, uint32_t step, float *rows, struct error *err);
void repl_forget_patches(struct repl *repl);

/* Whether all tokens ran. */
bool repl_over(const struct repl *repl);

/* The side of a source, or NULL. */
struct repl_side *repl_side_of(struct repl *repl, enum source source);

/* The first side that runs: the engine, or else the reference. If none does, the first side. */
struct repl_side *repl_leader(struct repl *repl);

/* Runs one command line. */
enum status repl_line(struct repl *repl, const char *line, struct error *err);

/* Runs a file of command lines, echoed as if typed; stops at the first that fails. */
enum status repl_script(struct repl *repl, const char *path, struct error *err);

/* Reads command lines until the end of input or `quit`: from readline on a terminal, else plainly. A command that fails
 * says so in one line. */
void repl_loop(struct repl *repl);

/* repl_probe_lines.c: prints the lines that the debug configuration asks for, for a step of the current batch. */
void repl_probe_lines(const struct repl *repl, uint32_t step);

#endif
