/* A backend runs a plan: the engine on a Vulkan device, or the C reference. The workbench drives both through this
 * interface and never asks which one it has.
 *
 * A forward pass goes batch by batch: first the prompt's positions (prefill) in batches of up to max_rows, then one
 * position a batch (decode). Within a batch, steps run in plan order, in ranges of any size: the whole plan, a layer,
 * or one op. Values are f32 rows, [n_rows, step width]. */
#ifndef LOCKSTEP_MODEL_BACKEND_H
#define LOCKSTEP_MODEL_BACKEND_H

#include "model/error.h"
#include "model/plan.h"

struct batch {
    uint32_t first_position; /* position of row 0; the other rows follow it */
    uint32_t n_rows;
    const int32_t *tokens; /* [n_rows]; borrowed until the next begin */
    bool decode;           /* one token at a time, through the KV cache */
};

struct backend {
    const struct backend_ops *ops;
    const char *name;        /* "engine", "reference" */
    const struct plan *plan; /* borrowed; the plan that it runs, with any planted fault */
    uint32_t max_rows;       /* most rows a batch may have */
    uint32_t max_positions;  /* most positions the KV cache holds */
    bool last_row_alone;     /* steps after the last layer compute only the batch's last row; read returns that row */
    void *state;             /* private to the backend */
};

struct backend_ops {
    /* Starts a batch. Keys and values of positions before first_position must come from earlier batches. Those of later
     * positions are forgotten: to go back to a position, begin a batch there. */
    enum status (*begin)(struct backend *backend, const struct batch *batch, struct error *err);

    /* Runs steps [first, last) of the current batch and waits for them. STATUS_INTERRUPTED if stop_asked() (stop.h):
     * the rows of these steps cannot be read then, those of earlier steps can, and the steps may be run again. */
    enum status (*run)(struct backend *backend, uint32_t first, uint32_t last, struct error *err);

    /* Copies the output rows of a step of the current batch to rows[n_rows][width]. A step that was not captured is
     * STATUS_DEVICE ("not captured"): the backend failed, which is never a divergence. */
    enum status (*read)(struct backend *backend, uint32_t step, float *rows, struct error *err);

    /* Replaces the output rows of a step of the current batch; for k_rope and v_proj in the KV cache as well. Serves to
     * judge one op alone, to patch and to replay. */
    enum status (*write)(struct backend *backend, uint32_t step, const float *rows, struct error *err);

    void (*close)(struct backend *backend);
};

#endif
