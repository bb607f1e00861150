/* A session: a model, its plan, the backends that run it, and what they recorded so far. `diff`, `trace`, `run` and the
 * prompt all stand on it. */
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
    struct plan plan;        /* the right one: the audit's and the reference's */
    struct plan engine_plan; /* a copy, with planted faults if any */
    const char *weights;     /* as session_options.weights; borrowed */
    bool on[SOURCE_COUNT];   /* SOURCE_ENGINE, SOURCE_REFERENCE: backend is open */
    struct backend backend[SOURCE_COUNT];
    struct sampling sampling; /* how a token is chosen; zero: greedily */
    uint32_t together;        /* tokens that session_generate decodes at a time where nobody looks; 0: by the clock */
    bool samples;             /* session_record records sample_probs and sample_token too */
    struct plan *later_plan;  /* of an engine that was opened anew, or NULL */
    /* If not NULL, called after each batch of session_generate, whose rows can then be read. */
    enum status (*watch)(void *context, struct backend *backend, const struct batch *batch, struct error *err);
    void *watch_context;
};

struct session_options {
    bool engine, reference;    /* which backends to open */
    const char *device;        /* as engine_options.device */
    uint32_t max_positions;    /* as engine_options.max_positions */
    const char *const *faults; /* [n_faults] "NAME[@LAYER[.STAGE]]", planted in the engine */
    uint32_t n_faults;
    bool no_capture;
    const char *shader_dir; /* as engine_options.shader_dir */
    const char *weights;    /* "f32", "f16": the engine's weights are decoded on load; NULL: as they are stored */
};

enum status session_open(struct session *session, const char *model_path, const struct session_options *options,
                         struct error *err);
void session_close(struct session *session);

/* What the engine's traces declare as weights_dtype: DTYPE_F16 where its weights were rounded to it, else DTYPE_F32. */
uint32_t session_weights_dtype(const struct session *session);

/* Opens another engine on the session's model: another device, other faults, GLSL that was edited. Nothing of the
 * session changes; session_replace_engine puts it in the old one's place, which is closed. */
struct new_engine {
    struct plan *plan; /* owned */
    struct backend backend;
};
enum status session_new_engine(const struct session *session, const struct session_options *options,
                               struct new_engine *engine, struct error *err);
void session_drop_engine(struct new_engine *engine);
void session_replace_engine(struct session *session, struct new_engine *engine);

/* Has the open engine of a session (itself, or one on another model) run this session's plan with other faults planted:
 * its device and the shaders that it compiled stay. `from` has no engine afterwards; on failure neither has. */
enum status session_take_engine(struct session *session, struct session *from, const struct session_options *options,
                                struct error *err);

/* session_record.c: runs tokens through one backend, prefill rows in batches and decode rows one at a time, and records
 * every stage (stages NULL), or those with stages[stage] set. sample_probs and sample_token, if session->samples or
 * where they are asked for by name: from the prompt's last position on, as session->sampling says. */
enum status session_record(struct session *session, enum source source, uint32_t n_positions, const int32_t *tokens,
                           const uint8_t *phase, const bool *stages, struct trace *trace, progress_function *progress,
                           void *context, struct error *err);

/* session_generate.c: runs the prompt, then up to n tokens, each chosen as session->sampling says and fed back. Padding
 * is never chosen. Ends early at an end-of-sequence token. Calls each(context, id) as they come: in groups, where the
 * engine chooses them itself (greedily, without a watch). out[n] receives the ids, *n_out how many. logits of every
 * choice must be captured. */
enum status session_generate(struct session *session, enum source source, const int32_t *prompt, uint32_t n_prompt,
                             uint32_t n, int32_t *out, uint32_t *n_out, void (*each)(void *context, int32_t id),
                             void *context, struct error *err);

/* The padding token, which is never chosen, or -1; one that also ends the text stays a choice. */
int32_t session_masked_id(const struct config *config);

/* The id that a backend's choice of a token leaves out: that one, with TAMPER_PAD_CHOSEN none (-1). */
int32_t session_chooser_masks(const struct session *session, const struct backend *backend);

/* Whether the token ends the text. */
bool session_ends_text(const struct config *config, int32_t id);

#endif
