/* rms_norm: y = x / sqrt(mean(x^2) + eps) (offset + w), over each group of dim values. Zhang and Sennrich 2019. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* Mean of k squares: nothing cancels and partial sums grow evenly, so its relative deviation is u sqrt(k) / 3, which
 * the inverse root halves. 8 u: squares, division, eps, root, inverse and two products. Two stores: before the weight
 * (transformers rounds there) and at the end. */
static double rms_norm_bound(const struct arith *arith, uint32_t k, double y)
{
    double sum = BOUND_LAMBDA * arith->u_sum * sqrt(k) / 6 + 8 * arith->u_sum;
    return fabs(y) * (sum + 2 * arith->u_storage) + arith->eta;
}

/* mean: subtracted from every x by VARIANT_MEAN_SUBTRACTED, otherwise 0. */
static double inverse_of(const struct rms_norm_params *p, const float *x, double mean, bool half)
{
    double squares = 0;
    for (uint32_t i = 0; i < p->dim; i++) {
        if (!half || i % 32 < 16) {
            squares += (x[i] - mean) * (x[i] - mean);
        }
    }
    return 1 / sqrt(squares / p->dim + p->eps);
}

static double mean_of(const float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum / n;
}

/* One group of one row, for its bounds; arrays are [dim]. */
struct norm_group {
    const struct arith *arith;
    const float *x, *multiplier;
    const double *y, *error; /* error: of x, or NULL */
    bool mean_is_subtracted; /* VARIANT_MEAN_SUBTRACTED */
    double mean;             /* 0 unless it is subtracted */
    double *bound;
};

/* VARIANT_MEAN_SUBTRACTED: adds the error of the mean. The mean is a sum, off by `mean_error`. The difference may be
 * rounded as a whole or as x r - m r: 2 u of either. The variance may be kept as mean(x^2) - m^2, which cancels: the
 * error of r grows by mean(x^2) over it. */
static void add_mean_error(const struct rms_norm_params *p, const struct norm_group *group)
{
    const struct arith *arith = group->arith;
    const float *x = group->x;
    double mean = group->mean;
    double squares = 0;
    for (uint32_t i = 0; i < p->dim; i++) {
        squares += (double)x[i] * x[i];
    }
    double mean_error = bound_sum(arith, p->dim, squares, mean * p->dim, 0) / p->dim + arith->u_sum * fabs(mean);
    double mean_square = squares / p->dim, variance = mean_square - mean * mean + p->eps;
    double inverse = 1 / sqrt(variance), cancelled = mean * mean / variance;
    double relative = (BOUND_LAMBDA * arith->u_sum * sqrt(p->dim) / 6 + 4 * arith->u_sum) * 2 * cancelled;
    for (uint32_t i = 0; i < p->dim; i++) {
        group->bound[i] +=
            fabs(group->multiplier[i]) * inverse * (mean_error + 2 * arith->u_sum * (fabs(x[i]) + fabs(mean))) +
            fabs(group->y[i]) * relative;
    }
}

/* Adds errors of x. y_i = x_i r w_i, r = (mean(x^2) + eps)^-1/2. x_i's own error is multiplied by r w_i. The errors of
 * all x, which are independent, move r by r^2 / k times the sum of x_j error_j, relatively. Where they are so large
 * that r itself changes (a row of nothing but errors), x_i's own error is multiplied by the r that they leave. A
 * subtracted mean is off by its own errors. */
static void add_passed_on(const struct rms_norm_params *p, const struct norm_group *group)
{
    const float *x = group->x;
    const double *error = group->error;
    double mean = group->mean;
    double squares = 0, moved = 0, off = 0;
    for (uint32_t i = 0; i < p->dim; i++) {
        double centred = x[i] - mean;
        squares += centred * centred;
        moved += centred * error[i] * centred * error[i];
        off += error[i] * error[i];
    }
    double mean_error = mean != 0 ? sqrt(off) / p->dim : 0;
    double r2 = 1 / (squares / p->dim + p->eps), relative = r2 / p->dim * (sqrt(moved) + off / 2);
    double least = 1 / sqrt(fmax(1 - 2 * relative, 0.01)); /* the most that r can grow */
    for (uint32_t i = 0; i < p->dim; i++) {
        group->bound[i] +=
            fabs(group->multiplier[i]) * sqrt(r2) * least * (error[i] + mean_error + fabs(x[i] - mean) * relative);
    }
}

static void rms_norm_bounds(const struct rms_norm_params *p, const struct norm_group *group)
{
    for (uint32_t i = 0; i < p->dim; i++) {
        group->bound[i] = rms_norm_bound(group->arith, p->dim, group->y[i]);
    }
    if (group->mean_is_subtracted) {
        add_mean_error(p, group);
    }
    if (group->error) {
        add_passed_on(p, group);
    }
}

static void copy_row(const struct op_row *row, uint64_t width, double *y, double *bound)
{
    for (uint64_t i = 0; i < width; i++) {
        y[i] = row->in[0][i];
    }
    for (uint64_t i = 0; i < width && bound; i++) {
        bound[i] = bound_copy(row->arith, y[i]) + (row->error[0] ? row->error[0][i] : 0);
    }
}

void reference_rms_norm(const struct op_batch *batch)
{
    const struct step *step = batch->step;
    const struct rms_norm_params *p = &step->params.rms_norm;
    bool half = step->variant == VARIANT_HALF_SUM, subtracts = step->variant == VARIANT_MEAN_SUBTRACTED;
    uint64_t width = (uint64_t)p->groups * p->dim;
    float *multiplier = xmalloc(p->dim * sizeof(float));
    op_weights(batch, step->weight[0], 0, 0, p->dim, multiplier);
    for (uint32_t i = 0; i < p->dim; i++) {
        multiplier[i] = p->offset + multiplier[i]; /* in f32, as transformers' 1.0 + weight.float() */
    }
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        double *y = batch->y + r * width, *bound = batch->bound ? batch->bound + r * width : NULL;
        if (step->variant == VARIANT_COPY) {
            copy_row(row, width, y, bound);
            continue;
        }
        for (uint32_t g = 0; g < p->groups; g++) {
            const float *x = row->in[0] + g * p->dim;
            double mean = subtracts ? mean_of(x, p->dim) : 0;
            double inverse = row->inverse ? row->inverse[g] : inverse_of(p, x, mean, half);
            for (uint32_t i = 0; i < p->dim; i++) {
                y[g * p->dim + i] = (x[i] - mean) * inverse * multiplier[i];
            }
            if (bound) {
                struct norm_group group = {.arith = row->arith,
                                           .x = x,
                                           .multiplier = multiplier,
                                           .y = y + g * p->dim,
                                           .error = row->error[0] ? row->error[0] + g * p->dim : NULL,
                                           .mean_is_subtracted = subtracts,
                                           .mean = mean,
                                           .bound = bound + g * p->dim};
                rms_norm_bounds(p, &group);
            }
        }
    }
    free(multiplier);
}
