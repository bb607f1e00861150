/* A backend runs a plan: the engine on a Vulkan device, or the C reference. The workbench drives both through
 * this one interface, and never asks which it has.
 *
 * A forward pass goes batch by batch: the prompt's positions (prefill) in batches of up to max_rows, then one
 * position a batch (decode). Within a batch, steps are run in plan order, in ranges of any size: the whole plan,
 * a layer, or one op. Values are f32 rows, [n_rows, step width]. */
#ifndef LOCKSTEP_MODEL_BACKEND_H
#define LOCKSTEP_MODEL_BACKEND_H

#include "model/error.h"
#include "model/plan.h"

struct batch {
    uint32_t first_position; /* of rows 0, 1, … : consecutive */
    uint32_t n_rows;
    const int32_t *tokens; /* [n_rows]; borrowed until the next begin */
    bool decode;           /* one token at a time, through the KV cache */
};

struct backend {
    const struct backend_ops *ops;
    const char *name;        /* "engine", "reference" */
    const struct plan *plan; /* borrowed; what it runs (with any planted fault) */
    uint32_t max_rows;       /* most rows a batch may have */
    uint32_t max_positions;  /* most positions the KV cache holds */
    bool last_row_alone; /* of the steps behind the last layer a batch has its last row alone: read gives that one */
    void *state;         /* the backend's own; nobody else looks inside */
};

struct backend_ops {
    /* Starts a batch. Keys and values of positions < first_position must be there from earlier batches; those
     * of later positions are forgotten, so going back to a position is a begin. */
    enum status (*begin)(struct backend *backend, const struct batch *batch, struct error *err);

    /* Runs steps [first, last) of the current batch, and waits. STATUS_INTERRUPTED if stop_asked() (stop.h): their rows
     * cannot be read, those of earlier steps can, and they may be run again. */
    enum status (*run)(struct backend *backend, uint32_t first, uint32_t last, struct error *err);

    /* Copies the output rows of a step of the current batch to rows[n_rows][width]. A step that was not captured
     * is STATUS_DEVICE ("not captured"): a failure of the backend, never a divergence. */
    enum status (*read)(struct backend *backend, uint32_t step, float *rows, struct error *err);

    /* Replaces the output rows of a step of the current batch (k_rope and v_proj: in the KV cache as well), so that
     * one op can be judged alone, patched or replayed. */
    enum status (*write)(struct backend *backend, uint32_t step, const float *rows, struct error *err);

    void (*close)(struct backend *backend);
};

#endif
