/* Runs a kernel on the engine and compares it with the reference. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/reference.h"
#include "workbench/bench/kernels/kernel.h"

#define HISTORY_ROWS 512 /* in a batch that fills the KV cache */
#define CHECKED_ROWS 8   /* of a large batch: one in each tile of 64 rows, at different places of the tiles */

/* Whether an attention reads this step's rows of earlier positions. */
static bool has_history(const struct kernel *kernel, uint32_t step)
{
    for (uint32_t i = step; i < kernel->plan.n_steps; i++) {
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            if (kernel->plan.steps[i].input[k] == (int32_t)step && op_reads_earlier(kernel->plan.steps[i].op, k)) {
                return true;
            }
        }
    }
    return false;
}

/* Begins a batch and writes rows: of the steps with history, or of the given ones. */
static enum status begin_and_write(const struct kernel *kernel, struct backend *engine, const struct batch *batch,
                                   bool history, struct error *err)
{
    enum status status = engine->ops->begin(engine, batch, err);
    for (uint32_t i = 0; i < kernel->plan.n_steps && status == STATUS_OK; i++) {
        const float *rows = kernel->rows[i] + (uint64_t)batch->first_position * kernel->plan.steps[i].width;
        if (history ? has_history(kernel, i) : kernel->is_given[i]) {
            status = engine->ops->write(engine, i, rows, err);
        }
    }
    return status;
}

enum status kernel_begin_batch(const struct kernel *kernel, struct backend *engine, struct error *err)
{
    uint32_t before = kernel->n_positions - kernel->n_rows, n;
    int32_t *zeros = xcalloc(HISTORY_ROWS, sizeof(*zeros));
    enum status status = STATUS_OK;
    for (uint32_t first = 0; first < before && status == STATUS_OK; first += n) {
        uint32_t most = engine->max_rows < HISTORY_ROWS ? engine->max_rows : HISTORY_ROWS;
        n = before - first < most ? before - first : most;
        status = begin_and_write(kernel, engine, &(struct batch){first, n, zeros, false}, true, err);
    }
    free(zeros);
    if (status != STATUS_OK) {
        return status;
    }
    struct batch batch = {before, kernel->n_rows, kernel->tokens, kernel->n_rows == 1};
    return begin_and_write(kernel, engine, &batch, false, err);
}

static double worst_ratio(const float *rows, const double *y, const double *bound, uint32_t n)
{
    double worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        double error = fabs(rows[i] - y[i]), ratio = error == 0 ? 0 : error / bound[i];
        if (!isfinite(rows[i]) || isnan(ratio)) {
            return INFINITY;
        }
        worst = ratio > worst ? ratio : worst;
    }
    return worst;
}

/* The worst ratio of one row of a step of the first copy. */
static double row_ratio(const struct kernel *kernel, uint32_t index, uint32_t row)
{
    const struct step *step = &kernel->plan.steps[index];
    uint32_t position = kernel->n_positions - kernel->n_rows + row;
    const float *made = kernel->rows[index] + (uint64_t)position * step->width;
    struct op_row in = {.arith = &arith_float32,
                        .position = position,
                        .token = kernel->tokens[row],
                        .decode = kernel->n_rows == 1,
                        .recorded = made};
    for (unsigned k = 0; k < op_info(step->op)->n_inputs; k++) {
        uint32_t from = op_reads_earlier(step->op, k) ? 0 : position;
        in.in[k] = kernel->rows[step->input[k]] + (uint64_t)from * kernel->plan.steps[step->input[k]].width;
    }
    double *y = xcalloc(step->width, sizeof(*y)), *bound = xcalloc(step->width, sizeof(*bound));
    op_run(
        &(struct op_batch){.step = step, .weights_dtype = DTYPE_F32, .n_rows = 1, .rows = &in, .y = y, .bound = bound});
    double worst = worst_ratio(made, y, bound, step->width);
    free(y);
    free(bound);
    return worst;
}

/* Runs one copy. Stores the first copy's rows in the kernel; compares the others' with them. */
static enum status run_copy(struct kernel *kernel, struct backend *engine, uint32_t copy, bool *same, struct error *err)
{
    uint32_t first = kernel->first + copy * kernel->stride;
    enum status status = engine->ops->run(engine, first, first + kernel->n_steps, err);
    for (uint32_t i = kernel->first; i < kernel->first + kernel->n_steps && status == STATUS_OK; i++) {
        uint32_t width = kernel->plan.steps[i].width;
        uint64_t n = (uint64_t)kernel->n_rows * width;
        float *rows = xmalloc(n * sizeof(*rows));
        float *place = kernel->rows[i] + (uint64_t)(kernel->n_positions - kernel->n_rows) * width;
        status = engine->ops->read(engine, i + copy * kernel->stride, rows, err);
        if (status == STATUS_OK && copy == 0) {
            memcpy(place, rows, n * sizeof(*rows));
        } else if (status == STATUS_OK) {
            *same = *same && memcmp(place, rows, n * sizeof(*rows)) == 0;
        }
        free(rows);
    }
    return status;
}

enum status kernel_check(struct kernel *kernel, struct backend *engine, double *ratio, bool *same, struct error *err)
{
    enum status status = STATUS_OK;
    *ratio = 0;
    *same = true;
    for (uint32_t copy = 0; copy < kernel->n_copies && status == STATUS_OK; copy++) {
        status = run_copy(kernel, engine, copy, same, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t every = kernel->n_rows > CHECKED_ROWS ? kernel->n_rows / CHECKED_ROWS + 1 : 1;
    for (uint32_t i = kernel->first; i < kernel->first + kernel->n_steps; i++) {
        for (uint32_t row = 0; row < kernel->n_rows; row += every) {
            double worst = row_ratio(kernel, i, row);
            *ratio = worst > *ratio ? worst : *ratio;
        }
    }
    return stop_check(err);
}
