/* The engine's own state, which engine.c, kept.c and generate.c share. */
#ifndef LOCKSTEP_ENGINE_STATE_H
#define LOCKSTEP_ENGINE_STATE_H

#include "engine/recording/shape.h"
#include "model/backend.h"

#define MAX_SHAPES 4

/* What lies in a place of the ring, on the host. */
struct kept {
    bool whole; /* every captured stage of one decoded token, at `position`, or on its way */
    uint32_t position;
    uint64_t copied, copied_last; /* the copy that brings them, and the one that brings the last step's; 0: none */
};

struct engine {
    struct device device;
    struct programs programs;
    struct store store;
    struct shape shapes[MAX_SHAPES]; /* of the batch sizes used last; n_rows 0: free */
    struct shape *shape;             /* of the current batch; NULL: none begun, or it failed */
    struct batch batch;              /* the current one; tokens is not kept */
    uint32_t *filled;                /* [n_steps] of steps in the KV cache: positions below it are there */
    uint64_t clock;
    bool reset;     /* the slots of this batch hold sentinels, on the device and on the host */
    bool *captured; /* [n_steps] steps that are brought to the host */
    uint32_t place; /* of the ring, where the current batch lies */
    struct kept kept[CAPTURE_RING];
};

static inline struct engine *engine_of(const struct backend *backend)
{
    return backend->state;
}

/* Whatever the validation layers said during a call is that call's failure. */
enum status engine_checked(struct engine *engine, enum status status, struct error *err);

enum status engine_begin_batch(struct engine *engine, const struct batch *batch, struct error *err);

/* A batch was begun, and an interrupted run is not still at work on it. */
enum status engine_require_batch(struct engine *engine, struct error *err);

/* Before the first part of a batch is run, written or read alone, all slots must hold sentinels. */
enum status engine_reset_once(struct engine *engine, struct error *err);

/* Positions below `end` have their keys and values, of every step. */
void engine_mark_filled(struct engine *engine, uint32_t end);

/* kept.c: the shape of decoding; NULL: it made room for others. */
const struct shape *engine_decode_shape(const struct engine *engine);
enum status engine_read(struct backend *backend, uint32_t step, float *rows, struct error *err);
void engine_forget_kept(struct engine *engine);

#endif
