/* rms_norm: y = x / sqrt(mean(x^2) + eps) (offset + w), over each group of dim values. Zhang and Sennrich 2019. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* The mean of k squares: nothing cancels, partial sums grow evenly, so its relative deviation is u sqrt(k) / 3; the
 * inverse root halves it. 8 u: squares, division, eps, root, inverse and two products. Stored twice: before the weight
 * (transformers rounds there), and at the end. */
static double rms_norm_bound(const struct arith *arith, uint32_t k, double y)
{
    double sum = BOUND_LAMBDA * arith->u_sum * sqrt(k) / 6 + 8 * arith->u_sum;
    return fabs(y) * (sum + 2 * arith->u_storage) + arith->eta;
}

static void rms_norm_group(const struct rms_norm_params *p, const float *x, const float *multiplier, bool half,
                           double *y)
{
    double squares = 0;
    for (uint32_t i = 0; i < p->dim; i++)
        if (!half || i % 32 < 16)
            squares += (double)x[i] * x[i];
    double inverse = 1 / sqrt(squares / p->dim + p->eps);
    for (uint32_t i = 0; i < p->dim; i++)
        y[i] = x[i] * inverse * multiplier[i];
}

/* What errors of x add. y_i = x_i r w_i, r = (mean(x^2) + eps)^-1/2: x_i's own error goes through r w_i, and those of
 * all x move r, relatively by r^2 / k times the sum of x_j error_j, which are independent. Where errors are so large
 * that r itself is another (a row of nothing but errors), x_i's own is taken at the r that they leave. */
static void add_passed_on(const struct rms_norm_params *p, const float *x, const double *error, const float *multiplier,
                          double *bound)
{
    double squares = 0, moved = 0, off = 0;
    for (uint32_t i = 0; i < p->dim; i++) {
        squares += (double)x[i] * x[i];
        moved += x[i] * error[i] * x[i] * error[i];
        off += error[i] * error[i];
    }
    double r2 = 1 / (squares / p->dim + p->eps), relative = r2 / p->dim * (sqrt(moved) + off / 2);
    double least = 1 / sqrt(fmax(1 - 2 * relative, 0.01)); /* of r's growth */
    for (uint32_t i = 0; i < p->dim; i++)
        bound[i] += fabs(multiplier[i]) * sqrt(r2) * least * (error[i] + fabs(x[i]) * relative);
}

void reference_rms_norm(const struct op_batch *batch)
{
    const struct step *step = batch->step;
    const struct rms_norm_params *p = &step->params.rms_norm;
    uint64_t width = (uint64_t)p->groups * p->dim;
    float *multiplier = xmalloc(p->dim * sizeof(float));
    op_weights(batch, step->weight[0], 0, 0, p->dim, multiplier);
    for (uint32_t i = 0; i < p->dim; i++)
        multiplier[i] = p->offset + multiplier[i]; /* in f32, as transformers' 1.0 + weight.float() */
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        double *y = batch->y + r * width, *bound = batch->bound ? batch->bound + r * width : NULL;
        bool copy = step->variant == VARIANT_COPY;
        for (uint32_t g = 0; g < p->groups && !copy; g++)
            rms_norm_group(p, row->in[0] + g * p->dim, multiplier, step->variant == VARIANT_HALF_SUM, y + g * p->dim);
        for (uint64_t i = 0; i < width && copy; i++)
            y[i] = row->in[0][i];
        for (uint64_t i = 0; i < width && bound; i++)
            bound[i] = copy ? bound_copy(row->arith, y[i]) + (row->error[0] ? row->error[0][i] : 0)
                            : rms_norm_bound(row->arith, p->dim, y[i]);
        for (uint32_t g = 0; g < p->groups && bound && row->error[0] && !copy; g++)
            add_passed_on(p, row->in[0] + g * p->dim, row->error[0] + g * p->dim, multiplier, bound + g * p->dim);
    }
    free(multiplier);
}
