/* A session: a model, its plan and the backends that run it. Every command that runs a model opens one. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_SESSION_H
#define LOCKSTEP_WORKBENCH_SESSION_SESSION_H

#include "engine/engine.h"
#include "model/model.h"
#include "workbench/audit/audit.h"
#include "workbench/audit/verdict.h"
#include "workbench/fault/fault.h"
#include "workbench/trace/sample.h"
#include "workbench/trace/trace.h"

struct session {
    struct model model;
    struct plan plan;        /* the right one; the reference runs it, and audits use it */
    struct plan engine_plan; /* a copy with the planted faults, if any; the engine runs it */
    const char *weights;     /* as session_options.weights; borrowed */
    bool on[SOURCE_COUNT];   /* whether a backend is open: SOURCE_ENGINE, SOURCE_REFERENCE */
    struct backend backend[SOURCE_COUNT];
    struct sampling sampling; /* how a token is chosen; zero: greedy */
    uint32_t group_size;      /* tokens that session_generate has the engine choose in one submit; 0: as time allows */
    double load_ms;           /* milliseconds that opening took: model, weights on the device */
    bool samples;             /* session_record records sample_probs and sample_token too */
    struct plan *later_plan;  /* the plan of the engine that session_replace_engine put in, or NULL; owned */
    /* Called after each batch of session_generate, whose rows can be read then; NULL: nobody. */
    enum status (*watch)(void *context, struct backend *backend, const struct batch *batch, struct error *err);
    void *watch_context;
};

struct session_options {
    bool engine, reference;    /* which backends to open */
    const char *device;        /* engine_options.device */
    uint32_t max_positions;    /* engine_options.max_positions; the reference's too */
    const char *const *faults; /* [n_faults] "NAME[@LAYER[.STAGE]]", planted in the engine */
    uint32_t n_faults;
    bool no_capture;               /* engine_options.no_capture */
    const char *shader_dir;        /* engine_options.shader_dir */
    const char *weights;           /* "f32", "f16": the engine decodes its weights to it on load; NULL: as stored */
    struct kernel_choices kernels; /* engine_options.kernels */
};

/* Milliseconds of a clock that never goes back. (session_generate.c) */
double session_now_ms(void);

/* Reads --on: "engine", "reference" or "engine,reference". on NULL: *engine and *reference stay as they are. */
enum status parse_on(const char *on, bool *engine, bool *reference, struct error *err);

/* Opens a model and the backends asked for. On failure nothing is open. STATUS_USAGE: a fault, or weights, that do not
 * exist; otherwise the status of what failed. session_close releases it all. */
enum status session_open(struct session *session, const char *model_path, const struct session_options *options,
                         struct error *err);
void session_close(struct session *session);

/* The weights_dtype that the engine's traces declare: DTYPE_F16 if its weights were rounded to it, else DTYPE_F32. */
uint32_t session_weights_dtype(const struct session *session);

/* An engine that is open but not yet the session's. */
struct new_engine {
    struct plan *plan; /* that it runs; owned */
    struct backend backend;
};

/* Opens another engine on the session's model: another device, other faults, edited GLSL. The session stays as it is.
 * session_replace_engine closes the session's engine and puts this one in its place; session_drop_engine closes this
 * one. On failure nothing is left to drop. */
enum status session_new_engine(const struct session *session, const struct session_options *options,
                               struct new_engine *engine, struct error *err);
void session_drop_engine(struct new_engine *engine);
void session_replace_engine(struct session *session, struct new_engine *engine);

/* Takes the open engine of `from` (this session, or one on another model) and has it run this session's plan with other
 * faults planted. It keeps its device and the shaders that it compiled. `from` has no engine afterwards; on failure
 * neither session has. */
enum status session_take_engine(struct session *session, struct session *from, const struct session_options *options,
                                struct error *err);

/* Gives an open session the sides, faults and room that the options say; its model stays open. What is not asked for is
 * closed; an engine that stays keeps its device, which must be the same, and its compiled shaders. On failure sides may
 * be closed, and the session is still to be closed. */
enum status session_change(struct session *session, const struct session_options *options, struct error *err);

/* What session_record runs and records. */
struct record_options {
    uint32_t n_positions;
    const int32_t *tokens;       /* [n_positions] */
    const uint8_t *phase;        /* [n_positions] PHASE_PREFILL, then PHASE_DECODE */
    uint32_t most_rows;          /* of the prompt in one batch; 0: as many as the backend takes */
    const bool *stages;          /* [STAGE_COUNT] true: record it; NULL: all but the samples */
    progress_function *progress; /* called after each batch; NULL: nobody */
    void *progress_context;
};

/* Runs tokens through one backend, prefill rows in batches and decode rows one at a time, and records their stages.
 * sample_probs and sample_token are recorded if session->samples is set or `stages` names them, from the prompt's last
 * position on, as session->sampling says. STATUS_BAD_INPUT: more positions than the KV cache holds; STATUS_INTERRUPTED:
 * Ctrl-C; or the backend's status. On failure the trace is empty. (session_record.c) */
enum status session_record(struct session *session, enum source source, const struct record_options *options,
                           struct trace *trace, struct error *err);

/* Declares what a backend stores of a step: an engine with the variant STORE_F16 stores, and declares, f16. */
void session_declare_storage(const struct step *step, struct trace_stage *stage);

/* The tokens that a backend with this plan gets for the batch at `first`. With TAMPER_LATER_TOKENS a decode row may get
 * a later one: of each four tokens in a submit, the last two's parameter blocks overwrite the first two's before these
 * are read (postmortem 2026-01-03 batched-decode-repetition). tokens, phase: [n_positions], borrowed. */
const int32_t *session_batch_tokens(const struct plan *plan, const int32_t *tokens, const uint8_t *phase,
                                    uint32_t n_positions, uint32_t first);

/* What session_generate continues, and how far. */
struct generate_options {
    const int32_t *prompt; /* [n_prompt], at least one */
    uint32_t n_prompt;
    uint32_t n;                              /* the most tokens to generate */
    void (*each)(void *context, int32_t id); /* called for each token; NULL: nobody */
    void *context;
};

/* Runs the prompt and generates up to n tokens into out[n]; *n_out is their number. Each is chosen as session->sampling
 * says and fed back. Padding is never chosen, and an end-of-sequence token ends the text. `each` is called per token,
 * or per group when the engine chooses on the device (greedily, without a watch). The plan's logits must be captured.
 * STATUS_BAD_INPUT: more positions than the KV cache holds; STATUS_INTERRUPTED: Ctrl-C; or the backend's or the watch's
 * status. (session_generate.c) */
enum status session_generate(struct session *session, enum source source, const struct generate_options *options,
                             int32_t *out, uint32_t *n_out, struct error *err);

/* The id that a backend's choice of a token leaves out: config_masked_id's, or -1 (none) with TAMPER_PAD_CHOSEN. */
int32_t session_chooser_masks(const struct session *session, const struct backend *backend);

#endif
