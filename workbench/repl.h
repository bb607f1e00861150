/* The prompt: both sides of a session advance together, op by op if wanted, and every op is audited as it runs.
 *
 * There is one position: a batch (all of the prompt's positions that fit, or one decoded token) and the next step of
 * the plan in it. Each side's rows fill a trace as it runs; the golden is a side that is read and not run. */
#ifndef LOCKSTEP_WORKBENCH_REPL_H
#define LOCKSTEP_WORKBENCH_REPL_H

#include "workbench/session.h"

#define REPL_MAX_SIDES 3
#define REPL_DECODE 24 /* tokens that a run without a golden decodes, if nothing else is asked for */

/* What the audit said of one step of one side. */
struct repl_seen {
    struct finding latest;   /* of the current batch's rows */
    struct finding worst;    /* of the batch with the worst ratio; FINDING_MISSING: did not run yet */
    double latest_relative;  /* rms of (side - golden) / rms of the golden over the batch's rows; NaN: not comparable */
    double difference, size; /* the sums of squares of that, over all rows so far */
};

struct repl_side {
    enum source source;
    struct backend *backend; /* NULL: the golden */
    struct trace *trace;     /* its n_positions grows with the run */
    struct repl_seen *seen;  /* [n_steps] */
};

/* An error that a step introduced, in the order in which the run met it. */
struct repl_introduced {
    uint32_t step, side;
    struct finding finding;
};

struct repl {
    struct session *session;
    const struct plan *plan;
    struct trace *golden; /* as loaded, or NULL; owned */
    struct repl_side sides[REPL_MAX_SIDES];
    uint32_t n_sides;
    int32_t *tokens; /* [capacity], of which n_known are known: all of a golden's, else those decoded so far */
    uint8_t *phase;  /* [capacity] */
    uint32_t capacity, n_known, n_prompt;
    uint32_t first, n_rows; /* the current batch's positions; n_rows 0: nothing ran yet */
    uint32_t next;          /* step to run next in it; n_steps: the batch is done */
    struct repl_introduced *introduced;
    uint32_t n_introduced;
    struct trace **retired; /* traces of earlier runs that user code may still look into */
    uint32_t n_retired;
    bool python_used, quit;
    unsigned depth; /* of nested `source` commands */
};

/* Takes the session (which must stay open) and, if not NULL, the golden, whose tokens it will run. */
void repl_open(struct repl *repl, struct session *session, struct trace *golden);
void repl_close(struct repl *repl);

/* Back to position 0, with the golden's tokens, or with these and up to n_decode more. */
void repl_restart_golden(struct repl *repl);
enum status repl_restart(struct repl *repl, const int32_t *ids, uint32_t n_ids, uint32_t n_decode, struct error *err);

/* Makes sure that a batch has begun and is not done. STATUS_USAGE where no tokens are left to run. */
enum status repl_begin(struct repl *repl, struct error *err);

/* Runs the current batch up to step `last` on both sides, records and audits. On failure the position stays. */
enum status repl_advance(struct repl *repl, uint32_t last, struct error *err);

/* Whether all tokens ran. */
bool repl_over(const struct repl *repl);

/* The side of a source, or NULL. */
struct repl_side *repl_side_of(struct repl *repl, enum source source);

/* The first side that runs: the engine, or else the reference. */
struct repl_side *repl_leader(struct repl *repl);

/* Runs one command line. */
enum status repl_line(struct repl *repl, const char *line, struct error *err);

/* Runs a file of command lines, echoed as if typed; stops at the first that fails. */
enum status repl_script(struct repl *repl, const char *path, struct error *err);

/* Reads command lines until the end of input or `quit`: from readline on a terminal, else plainly. A command that fails
 * says so in one line. */
void repl_loop(struct repl *repl);

/* Whether Ctrl-C was pressed since the last call; whatever loops over layers ends early then. */
bool repl_interrupted(void);

#endif
