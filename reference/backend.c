/* The reference as a backend: runs the plan step by step. Stages are f32, rounded from the ops' f64. */
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/reference.h"

#define MAX_ROWS 32

/* Output rows of a step. Steps that an attention reads as keys or values form the KV cache: one row for each position,
 * kept from batch to batch. Other steps have one row for each row of the current batch. */
struct slot {
    float *rows; /* [max_positions, width] if cached, else [MAX_ROWS, width] */
    bool cached;
    bool captured;   /* run or written in the current batch */
    uint32_t filled; /* cached: number of positions filled, from 0 on */
};

struct reference {
    struct batch batch; /* n_rows 0: no batch has begun */
    struct slot *slots; /* [n_steps] */
    double *y;          /* [MAX_ROWS, widest step] */
};

/* Returns the step's rows of the current batch. */
static float *slot_rows(const struct backend *backend, uint32_t step)
{
    const struct reference *reference = backend->state;
    const struct slot *slot = &reference->slots[step];
    uint64_t first = slot->cached ? reference->batch.first_position : 0;
    return slot->rows + first * backend->plan->steps[step].width;
}

static void slot_capture(const struct backend *backend, uint32_t step)
{
    const struct reference *reference = backend->state;
    struct slot *slot = &reference->slots[step];
    slot->captured = true;
    if (slot->cached) {
        slot->filled = reference->batch.first_position + reference->batch.n_rows;
    }
}

static enum status step_error(const struct backend *backend, uint32_t step, struct error *err, const char *what)
{
    char label[64];
    return error_set(err, STATUS_DEVICE, backend->name, step_label(&backend->plan->steps[step], label), ERROR_NO_OFFSET,
                     "%s", what);
}

static enum status reference_begin(struct backend *backend, const struct batch *batch, struct error *err)
{
    struct reference *reference = backend->state;
    ASSERT(batch->n_rows > 0 && batch->n_rows <= backend->max_rows);
    if (batch->first_position > backend->max_positions ||
        batch->n_rows > backend->max_positions - batch->first_position) {
        return error_set(err, STATUS_BAD_INPUT, backend->name, "position", ERROR_NO_OFFSET,
                         "position %llu does not fit, the KV cache holds %u",
                         (unsigned long long)batch->first_position + batch->n_rows - 1, backend->max_positions);
    }
    for (uint32_t s = 0; s < backend->plan->n_steps; s++) {
        struct slot *slot = &reference->slots[s];
        if (slot->cached && slot->filled < batch->first_position) {
            return step_error(backend, s, err, "earlier positions were never run, their keys and values are missing");
        }
    }
    for (uint32_t s = 0; s < backend->plan->n_steps; s++) {
        reference->slots[s].captured = false;
        if (reference->slots[s].cached) {
            reference->slots[s].filled = batch->first_position;
        }
    }
    reference->batch = *batch;
    return STATUS_OK;
}

/* Checks that the inputs were run or written in this batch. */
static enum status step_check(const struct backend *backend, uint32_t s, struct error *err)
{
    const struct reference *reference = backend->state;
    const struct step *step = &backend->plan->steps[s];
    for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
        if (step->input[i] >= 0 && !reference->slots[step->input[i]].captured) {
            return step_error(backend, (uint32_t)step->input[i], err, "not captured, but a later step was to be run");
        }
    }
    for (uint32_t r = 0; step->op == OP_embed && r < reference->batch.n_rows; r++) {
        int32_t token = reference->batch.tokens[r];
        if (token < 0 || (uint32_t)token >= step->params.embed.vocab) {
            return error_set(err, STATUS_BAD_INPUT, backend->name, "tokens", ERROR_NO_OFFSET,
                             "token %d, expected 0 to %u", token, step->params.embed.vocab - 1);
        }
    }
    return STATUS_OK;
}

static void step_run(const struct backend *backend, uint32_t s)
{
    const struct reference *reference = backend->state;
    const struct step *step = &backend->plan->steps[s];
    const struct batch *batch = &reference->batch;
    struct op_row rows[MAX_ROWS];
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        rows[r] = (struct op_row){.arith = &arith_float32,
                                  .position = batch->first_position + r,
                                  .token = batch->tokens[r],
                                  .decode = batch->decode,
                                  .has_next = !batch->decode && r + 1 < batch->n_rows};
        for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
            if (step->input[i] < 0) {
                continue;
            }
            uint32_t input = (uint32_t)step->input[i], width = backend->plan->steps[input].width;
            bool from_start = step->op == OP_attention && i > 0; /* keys and values start at position 0 */
            rows[r].in[i] = from_start ? reference->slots[input].rows : slot_rows(backend, input) + (uint64_t)r * width;
        }
    }
    op_run(&(struct op_batch){
        .step = step, .weights_dtype = DTYPE_F32, .n_rows = batch->n_rows, .rows = rows, .y = reference->y});
    if (stop_asked()) {
        return; /* interrupted: y may be incomplete */
    }

    float *values = slot_rows(backend, s);
    for (uint64_t i = 0; i < (uint64_t)batch->n_rows * step->width; i++) {
        values[i] = (float)reference->y[i];
    }
    slot_capture(backend, s);
}

static enum status reference_run(struct backend *backend, uint32_t first, uint32_t last, struct error *err)
{
    const struct reference *reference = backend->state;
    ASSERT(first <= last && last <= backend->plan->n_steps && reference->batch.n_rows > 0);
    for (uint32_t s = first; s < last; s++) {
        TRY(step_check(backend, s, err));
        step_run(backend, s);
        if (stop_asked()) {
            return stop_check(err);
        }
    }
    return STATUS_OK;
}

static uint64_t batch_bytes(const struct backend *backend, uint32_t step)
{
    const struct reference *reference = backend->state;
    return (uint64_t)reference->batch.n_rows * backend->plan->steps[step].width * sizeof(float);
}

static enum status reference_read(struct backend *backend, uint32_t step, float *rows, struct error *err)
{
    const struct reference *reference = backend->state;
    ASSERT(step < backend->plan->n_steps);
    if (!reference->slots[step].captured) {
        return step_error(backend, step, err, "not captured");
    }
    memcpy(rows, slot_rows(backend, step), batch_bytes(backend, step));
    return STATUS_OK;
}

static enum status reference_write(struct backend *backend, uint32_t step, const float *rows, struct error *err)
{
    const struct reference *reference = backend->state;
    (void)err;
    ASSERT(step < backend->plan->n_steps && reference->batch.n_rows > 0);
    memcpy(slot_rows(backend, step), rows, batch_bytes(backend, step));
    slot_capture(backend, step);
    return STATUS_OK;
}

static void reference_close(struct backend *backend)
{
    struct reference *reference = backend->state;
    for (uint32_t s = 0; s < backend->plan->n_steps; s++) {
        free(reference->slots[s].rows);
    }
    free(reference->slots);
    free(reference->y);
    free(reference);
    *backend = (struct backend){0};
}

static const struct backend_ops reference_ops = {
    .begin = reference_begin,
    .run = reference_run,
    .read = reference_read,
    .write = reference_write,
    .close = reference_close,
};

enum status reference_open(struct backend *backend, const struct plan *plan, uint32_t max_positions, struct error *err)
{
    if (max_positions == 0) {
        return error_set(err, STATUS_USAGE, "reference", "max_positions", ERROR_NO_OFFSET, "0, expected at least 1");
    }
    struct reference *reference = xcalloc(1, sizeof(*reference));
    reference->slots = xcalloc(plan->n_steps, sizeof(*reference->slots));
    uint32_t widest = 0;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        widest = step->width > widest ? step->width : widest;
        for (unsigned i = 1; step->op == OP_attention && i < OP_MAX_INPUTS; i++) {
            reference->slots[step->input[i]].cached = true;
        }
    }
    /* xcalloc: pages that no run touches cost nothing */
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        reference->slots[s].rows = xcalloc(
            (uint64_t)(reference->slots[s].cached ? max_positions : MAX_ROWS) * plan->steps[s].width, sizeof(float));
    }
    reference->y = xcalloc((uint64_t)MAX_ROWS * widest, sizeof(double));
    *backend = (struct backend){.ops = &reference_ops,
                                .name = "reference",
                                .plan = plan,
                                .max_rows = MAX_ROWS,
                                .max_positions = max_positions,
                                .state = reference};
    return STATUS_OK;
}
