/* attention: y = softmax(cap(scale q k)) v over the visible keys, head by head; grouped queries share a key head.
 * op_attention_probs.c has the softmax. Vaswani et al. 2017; Ainslie et al. 2023 (groups); softcap and window: Gemma 2
 * report, 2024. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "model/stop.h"
#include "reference/attention.h"
#include "reference/attention_rounded.h"
#include "reference/bounds.h"

/* Adds errors of inputs that are off by more than rounding. All probabilities move the sum that they are divided by,
 * which the first order leaves out (a factor of at most 1 + the largest error). The values add the sum of p error. */
static void add_passed_on(const struct attention *a, uint32_t head, const double *probability, const double *error,
                          double *bound)
{
    double most = 0;
    for (uint32_t j = 0; j < a->n; j++) {
        most = fmax(most, error[j]);
    }
    for (uint32_t i = 0; i < a->p->dim; i++) {
        bound[i] *= 1 + most;
    }
    for (uint32_t j = 0; j < a->n && a->row->error[2]; j++) {
        const double *v_error = attention_head_error(a, 2, attention_key(a, j), head);
        for (uint32_t i = 0; i < a->p->dim; i++) {
            bound[i] += probability[j] * (1 + error[j]) * (1 + most) * v_error[i];
        }
    }
}

/* y = sum of p v. Errors e of the normalised probabilities move it by sum p e (v - y): a common error cancels; a sink's
 * value is 0. Further: the dot product of p and v; the store of p; the normalising sum (all positive: lambda u sqrt(n)
 * / 3), its division, and the stores: that of p is in the arithmetic inside, y's in that of the stage. */
static void attention_values(const struct attention *a, uint32_t head, double sink_error, double *y, double *bound)
{
    const struct arith *arith = a->row->arith;
    const struct arith inside = bound ? attention_inside(a) : arith_float32;
    uint32_t dim = a->p->dim;
    const double *probability = a->probability + (uint64_t)head * a->n, *error = a->error + (uint64_t)head * a->n;
    for (uint32_t i = 0; i < dim; i++) {
        y[i] = 0;
    }
    for (uint32_t j = 0; j < a->n; j++) {
        const float *v = attention_head(a, 2, attention_key(a, j), head);
        for (uint32_t i = 0; i < dim; i++) {
            y[i] += probability[j] * v[i];
        }
    }
    if (!bound) {
        return;
    }

    for (uint32_t i = 0; i < dim; i++) {
        bound[i] = sink_error * fabs(y[i]), a->squares[i] = 0;
    }
    for (uint32_t j = 0; j < a->n; j++) {
        const float *v = attention_head(a, 2, attention_key(a, j), head);
        for (uint32_t i = 0; i < dim; i++) {
            double term = probability[j] * v[i];
            double spread = probability[j] * fabs(a->normalised ? v[i] - y[i] : v[i]);
            bound[i] += spread * error[j] + inside.u_storage * fabs(term);
            a->squares[i] += term * term;
        }
    }
    if (a->spans) {
        add_passed_on(a, head, probability, error, bound);
    }
    double relative = BOUND_LAMBDA * arith->u_sum * sqrt(a->n) / 3 + 4 * arith->u_sum + 2 * inside.u_storage;
    for (uint32_t i = 0; i < dim; i++) {
        bound[i] += bound_dot(arith, a->n, a->squares[i], y[i], 0) + fabs(y[i]) * relative;
    }
}

/* Uses recorded probabilities, from position 0 on, in place of those of q and k. A file's may have been computed beside
 * the run and rounded differently from the used ones: `times` the bound of either. */
static void take_recorded(struct attention *a, const double *bounds, double times)
{
    uint32_t n = a->row->position + 1, heads = a->p->heads;
    double *probability = xcalloc(2 * (uint64_t)heads * n, sizeof(double)), *error = probability + (uint64_t)heads * n;
    for (uint32_t h = 0; h < heads; h++) {
        for (uint32_t j = 0; j < n; j++) {
            double p = a->row->probs[(uint64_t)h * a->row->n_positions + j];
            bool bounded = bounds && j >= a->first && p != 0;
            probability[h * n + j] = p;
            error[h * n + j] = bounded ? times * bounds[(uint64_t)h * a->n + j - a->first] / fabs(p) : 0;
        }
    }
    free(a->probability);
    *a = (struct attention){.p = a->p,
                            .row = a->row,
                            .bounded = a->bounded,
                            .spans = a->row->error[2] != NULL,
                            .recorded = true,
                            .n = n,
                            .q = a->q,
                            .probability = probability,
                            .error = error,
                            .squares = a->squares,
                            .sinks = NULL};
}

/* Whether the recorded probabilities are off by more than rounding. If so, the output is judged by them, so that the
 * error is reported at the probabilities. If not, they change nothing. */
static bool probabilities_stray(const struct attention *a, const double *bounds)
{
    for (uint64_t i = 0; i < (uint64_t)a->p->heads * a->row->n_positions; i++) {
        uint64_t h = i / a->row->n_positions, j = i % a->row->n_positions - a->first;
        bool visible = i % a->row->n_positions >= a->first && j < a->n;
        double expected = visible ? a->probability[h * a->n + j] : 0, bound = visible ? bounds[h * a->n + j] : 0;
        if (fabs(a->row->probs[i] - expected) > bound) {
            return true;
        }
    }
    return false;
}

/* Considers recorded probabilities: only for the right op. */
static void consider_recorded(struct attention *a, struct head_error *errors)
{
    if (!a->row->probs || a->variant != VARIANT_NONE || a->trial) {
        return;
    }
    double *bounds = xmalloc((uint64_t)a->p->heads * a->n * sizeof(double));
    for (uint32_t h = 0; h < a->p->heads; h++) {
        attention_probability_bounds(a, h, errors[h].sink, bounds + (uint64_t)h * a->n);
        attention_add_store(a, a->probability + (uint64_t)h * a->n, bounds + (uint64_t)h * a->n);
    }
    if (probabilities_stray(a, bounds)) {
        take_recorded(a, bounds, 2);
        for (uint32_t h = 0; h < a->p->heads; h++) {
            errors[h] = (struct head_error){0};
        }
    }
    free(bounds);
}

/* Multiplies a head's output by a factor that was computed of the scores: it is off by as much as they are. */
static void multiply(const struct attention *a, uint32_t head, double *y, double *bound)
{
    double times = a->trial->times[head], relative = 0;
    for (uint32_t j = 0; j < a->n && bound; j++) {
        uint64_t at = (uint64_t)head * a->n + j;
        relative += a->probability[at] * a->error[at];
    }
    for (uint32_t i = 0; i < a->p->dim; i++) {
        y[i] *= times;
        if (bound) {
            bound[i] = bound[i] * times + fabs(y[i]) * relative;
        }
    }
}

static void attention_row(struct attention *a, double *y, double *bound)
{
    uint32_t dim = a->p->dim;
    struct head_error *errors = xcalloc(a->p->heads, sizeof(*errors));
    if (a->row->in[0]) {
        attention_probabilities(a, errors);
        consider_recorded(a, errors);
    } else {
        take_recorded(a, NULL, 0);
    }
    for (uint32_t h = 0; h < a->p->heads; h++) {
        double *head_bound = bound ? bound + (uint64_t)h * dim : NULL;
        const struct roundings *roundings = a->row->arith ? &a->row->arith->roundings : NULL;
        if (roundings && (roundings->probs != ROUNDING_NONE || roundings->accumulator != ROUNDING_NONE)) {
            attention_rounded_values(a, h, &errors[h], y + (uint64_t)h * dim, head_bound);
        } else {
            attention_values(a, h, errors[h].sink, y + (uint64_t)h * dim, head_bound);
        }
        for (uint32_t i = 0; i < dim && bound; i++) {
            head_bound[i] += errors[h].flushed;
        }
        if (a->trial && a->trial->times) {
            multiply(a, h, y + (uint64_t)h * dim, head_bound);
        }
    }
    free(errors);
}

/* Whether a row's recorded values differ from y by more than the bound. */
static bool strays(const struct op_row *row, uint64_t width, const double *y, const double *bound)
{
    for (uint64_t i = 0; row->recorded && i < width; i++) {
        if (!(fabs(row->recorded[i] - y[i]) <= bound[i])) {
            return true;
        }
    }
    return false;
}

static void run_row(const struct op_batch *batch, const struct op_row *row, const double *sinks, double *y,
                    double *bound)
{
    const struct attention_params *p = &batch->step->params.attention;
    struct attention a = attention_open(batch, p, row, sinks);
    attention_row(&a, y, bound);
    attention_close(&a);
    if (a.variant != VARIANT_NEXT_KEY || !row->has_next || !bound ||
        !strays(row, (uint64_t)p->heads * p->dim, y, bound)) {
        return;
    }
    struct op_row last = *row; /* as the last row of its batch */
    last.has_next = false;
    run_row(batch, &last, sinks, y, bound);
}

void reference_attention(const struct op_batch *batch)
{
    const struct attention_params *p = &batch->step->params.attention;
    uint64_t width = (uint64_t)p->heads * p->dim;
    double *sinks = attention_sinks(batch, p);
    struct rounded_rows rounded = {0};
    bool rounds = batch->n_rows > 0 && batch->rows[0].arith && roundings_any(&batch->rows[0].arith->roundings);
    if (rounds) {
        rounded_rows_open(&rounded, batch, p);
    }
    const struct op_row *rows = rounds ? rounded.rows : batch->rows;
#pragma omp parallel for schedule(dynamic) if (attention_is_large(batch, p))
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        if (stop_asked()) {
            continue;
        }
        run_row(batch, &rows[r], sinks, batch->y + r * width, batch->bound ? batch->bound + r * width : NULL);
    }
    rounded_rows_close(&rounded);
    free(sinks);
}
