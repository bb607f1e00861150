/* The prompt (read-eval-print loop): both sides of a session advance together, op by op if wanted, and every op is
 * audited.
 *
 * The engine runs a batch as `run` and `diff` do: the whole plan in one go, with fused kernels. Stepping moves through
 * the rows that it made. The reference computes a step when the position passes it.
 *
 * There is one position: a batch (as many prompt positions as fit, or one decoded token), and the step of the plan that
 * runs next in it. Each running side records its rows in a trace. The golden is a side that is only read. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_REPL_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_REPL_H

#include "workbench/session/session.h"

#define REPL_MAX_SIDES 3
#define REPL_LEGENDS 2 /* of step's columns, of diff's */
#define REPL_DECODE 24 /* tokens decoded by default where no golden says how many */

/* The audit of one step of one side in one batch. */
struct repl_judgement {
    struct finding finding;
    bool comparable;         /* side and golden hold a row in common */
    double difference, size; /* sums of squares of (side - golden) and of the golden, over the batch's rows */
};

/* The audits of one step of one side over all batches so far. */
struct repl_summary {
    struct finding latest;   /* of the current batch */
    struct finding worst;    /* of the batch with the worst ratio; FINDING_MISSING: did not run yet */
    double latest_relative;  /* current batch: rms of (side - golden) / rms of the golden; NaN: not comparable */
    double difference, size; /* as in repl_judgement, over all batches */
};

/* A batch that began. Its rows stay in the traces and its judgements here, so going back needs no computing. */
struct repl_batch {
    uint32_t first, n_rows;
    struct repl_judgement *judgements; /* [REPL_MAX_SIDES, n_steps], of the steps that ran */
    uint32_t version[REPL_MAX_SIDES];  /* repl_side.version that made its rows… */
    struct engine_kernel *kernels;     /* [n_steps] what made the engine's rows; shader NULL: not known */
    uint32_t from[REPL_MAX_SIDES];     /* …of this step and those behind it; others are of an earlier version */
};

struct repl_side {
    enum source source;
    struct backend *backend;        /* NULL: the golden */
    struct trace *trace;            /* n_positions grows with the run */
    struct repl_summary *summaries; /* [n_steps] */
    uint32_t version;               /* counts what changes its results: engines, patches, schedules */
    uint32_t made;                  /* steps of the current batch whose rows are in `trace`, seen or not yet */
    bool behind;                    /* the backend is not after step `made` - 1 of the current batch */
    bool lost;                      /* the device failed; the side does not run until it is opened again */
    uint64_t lost_at;               /* repl_point up to which it ran */
};

/* An error that a step introduced. */
struct repl_introduced {
    uint32_t step, side, batch; /* step of repl->judged_plan */
    struct finding finding;
};

/* Stops a run after a stage ran and the condition holds for the leader's rows, or after any step introduced an error.
 */
struct repl_breakpoint {
    uint32_t number; /* shown to the user and never used again; 0: the one of `until` */
    bool diverge;    /* stops at any step that introduces an error */
    uint32_t step;
    enum { BREAK_ALWAYS, BREAK_NAN, BREAK_MAXABS, BREAK_RATIO } condition;
    double limit;
};

/* Replaces the leader's rows of a step each time it runs. */
struct repl_patch {
    uint32_t step;
    enum { PATCH_SIDE, PATCH_FILE, PATCH_SCALE } kind;
    enum source source; /* PATCH_SIDE: whose rows */
    struct trace *file; /* PATCH_FILE; owned */
    double scale;       /* PATCH_SCALE */
};

/* What the command set changes. */
#define REPL_MAX_FAULTS 16
struct repl_settings {
    char *device;   /* as --device; NULL: the default one */
    char *shaders;  /* folder whose GLSL `reload shaders` compiles; NULL: the program's own */
    char *compiled; /* folder whose GLSL the engine runs; NULL: shaders built into the program */
    char *faults[REPL_MAX_FAULTS];
    uint32_t n_faults;
    uint32_t decode;               /* tokens decoded after a prompt */
    bool errors_continue;          /* a piped command that fails does not end the run */
    struct kernel_choices kernels; /* which kernel makes each stage */
    bool no_fuse;                  /* the engine runs each op by itself; else the schedule of `run` and `diff` */
};
void repl_settings_init(struct repl_settings *settings, const char *device, const char *const *faults,
                        uint32_t n_faults);
void repl_settings_free(struct repl_settings *settings);

struct repl {
    struct session *session;
    struct repl_settings settings;
    const struct plan *plan;
    struct plan judged_plan; /* plan plus the choice of a token, which no backend runs */
    struct trace *golden;    /* owned; NULL: none */
    struct trace *foreign;   /* another engine's, in the engine's place; owned; NULL: none */
    uint8_t *golden_steps;   /* [n_steps] what is known of the golden's failing steps (judge.c); NULL: nothing yet */
    struct repl_side sides[REPL_MAX_SIDES];
    uint32_t n_sides;
    int32_t *tokens; /* [capacity]; the first n_known are known: all of a golden's, or those decoded so far */
    uint8_t *phase;  /* [capacity] */
    uint32_t capacity, n_known;
    uint32_t n_prompt;          /* 0: the tokens are the golden's */
    uint32_t first, n_rows;     /* positions of the current batch; n_rows 0: nothing ran yet */
    uint32_t next;              /* step that runs next in it; n_steps: the batch is done */
    struct repl_batch *batches; /* [n_batches]; the last one is the current one */
    uint32_t n_batches;
    struct repl_breakpoint *breakpoints;
    uint32_t n_breakpoints, last_breakpoint; /* last_breakpoint: number given last */
    struct repl_patch *patches;
    uint32_t n_patches;
    struct probe_config *config;        /* probes, trace categories, log level, checkpoint layers */
    bool *captured;                     /* [n_steps] stages that the engine copies to the host; NULL: all */
    struct repl_introduced *introduced; /* [n_introduced] in the order in which the run met them */
    uint32_t n_introduced;
    struct shader_files *shaders;  /* as compiled last (shader_files.h); NULL: those built in */
    struct comparison *comparison; /* full_comparison.h; NULL: none was made */
    uint32_t compared_version;     /* the leader's version that it is of */
    struct trace **retired;        /* traces of earlier runs, kept while user code may look into them */
    uint32_t n_retired;
    bool python_used, quit;
    bool on_terminal;           /* a person types */
    bool legends[REPL_LEGENDS]; /* what the columns mean was said */
    char *probe_text;           /* lines for grep, of steps that ran since the position was printed last; NULL: none */
    size_t n_probe_text;
    char *last_line;    /* what an empty line repeats; NULL: nothing */
    bool repeating;     /* an empty line runs the command */
    uint32_t list_from; /* step that `list` goes on with when it is repeated */
    char **names;       /* [n_names] texts that a resumed session points to */
    uint32_t n_names;
    char *last_run;              /* the last command that ran steps; NULL: none, or it failed */
    uint64_t last_from, last_to; /* repl_point before and after it */
    enum status failed_assert;   /* of the first assert that failed; STATUS_OK: none */
    bool stopped;                /* a breakpoint stopped the current command */
    unsigned depth;              /* of nested `source` commands */
};

/* Takes golden and foreign trace over; NULL: none. If there are both, they have the same tokens. The session must stay
 * open until repl_close; with a foreign trace it has no engine. */
void repl_open(struct repl *repl, struct session *session, struct trace *golden, struct trace *foreign);
void repl_close(struct repl *repl);

/* Puts a prompt in the place of another, which ends with its session. What user code at the prompt holds stays. The
 * sessions of both are malloc'ed. */
void repl_replace(struct repl *repl, struct repl *fresh);

/* Starts a new run at position 0: with the golden's or the foreign trace's tokens, or with these and up to n_decode
 * more.
 */
void repl_restart_with_golden(struct repl *repl);
enum status repl_restart(struct repl *repl, const int32_t *ids, uint32_t n_ids, uint32_t n_decode, struct error *err);

/* Replaces the golden, which must not be a side of the run afterwards: to be followed by a restart. */
void repl_replace_golden(struct repl *repl, struct trace *golden);

/* Replaces the golden by one of the run's own tokens: compares what ran with it; the position stays. */
void repl_attach_golden(struct repl *repl, struct trace *golden);

/* Refuses choices of kernels that no batch of the run follows. name: of the option, for the error. (commands/kernel.c)
 */
enum status repl_check_kernels(const struct repl *repl, const struct kernel_choices *choices, const char *name,
                               struct error *err);

/* The side of a source, or NULL. */
struct repl_side *repl_side_of(struct repl *repl, enum source source);

/* Whether a side has a backend that works. */
bool repl_side_runs(const struct repl_side *side);

/* The first side that runs: the engine, else the reference. If none runs, side 0. */
struct repl_side *repl_leader(struct repl *repl);

/* The engine if the session has it, else the reference. */
enum source repl_running_source(const struct repl *repl);

/* command_table.c: runs one command line. */
enum status repl_run_line(struct repl *repl, const char *line, struct error *err);

/* transcript.c: from now on everything typed and printed is added to a file, too; NULL: no longer. STATUS_USAGE: the
 * file is there and is no transcript. */
enum status transcript_begin(const char *path, struct error *err);
void transcript_end(void);
const char *transcript_path(void); /* NULL: there is none */

/* While code runs that writes to the descriptor itself, as Python does: its output joins the transcript at the end. */
void transcript_capture_begin(void);
void transcript_capture_end(void);

/* Adds what was typed on a terminal, which echoes by itself. */
void transcript_typed(const char *prompt, const char *line);

/* command_input.c: runs a file of command lines, echoed as if typed. Stops at the first that fails. */
enum status repl_run_script(struct repl *repl, const char *path, struct error *err);

/* Reads command lines until `quit` or the end of input: through readline on a terminal, else as plain lines. A command
 * that fails prints one line. On a terminal the loop goes on; otherwise it ends, and the command's status is returned.
 */
enum status repl_loop(struct repl *repl);

#endif
