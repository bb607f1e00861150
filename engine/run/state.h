/* The state of an open engine, which the modules of this folder share. */
#ifndef LOCKSTEP_ENGINE_RUN_STATE_H
#define LOCKSTEP_ENGINE_RUN_STATE_H

#include "engine/recording/capture_ring.h"
#include "engine/recording/shape.h"
#include "model/backend.h"

#define MAX_SHAPES 4

struct engine {
    struct device device;
    struct programs programs;
    struct buffers buffers;
    struct shape shapes[MAX_SHAPES]; /* for the batch sizes used last; n_rows 0: free */
    struct shape *shape;             /* of the current batch; NULL: none was begun, or it failed */
    struct batch batch;              /* the current one; `tokens` is not kept */
    uint32_t
        *filled;    /* [n_steps] keys and values are in the KV cache for positions below this; for steps in the cache */
    uint64_t clock; /* batches begun so far */
    bool reset;     /* the slots of the current batch were filled with sentinels */
    bool *captured; /* [n_steps] steps whose rows are copied to the host */
    struct capture_ring ring;
};

static inline struct engine *engine_of(const struct backend *backend)
{
    return backend->state;
}

/* Returns `status` of a call, or STATUS_DEVICE if the validation layers printed a message during the call. */
enum status state_check(struct engine *engine, enum status status, struct error *err);

/* Makes engine->shape the shape for n_rows. It is built if there is none; then the one that was unused longest is
 * closed. */
enum status state_use_shape(struct engine *engine, uint32_t n_rows, struct error *err);

/* The shape for n_rows; NULL: there is none. */
const struct shape *state_find_shape(const struct engine *engine, uint32_t n_rows);

/* The shape of decoding; NULL: it was closed to make room for others. */
const struct shape *state_decode_shape(const struct engine *engine);

/* Closes all shapes. Nothing may be running. */
void state_close_shapes(struct engine *engine);

/* Records that steps [first, last) have keys and values for positions below `end`. */
void state_mark_filled(struct engine *engine, uint32_t first, uint32_t last, uint32_t end);

/* Waits for what an interrupted call left. Fails if no batch was begun. */
enum status state_require_batch(struct engine *engine, struct error *err);

#endif
