/* Norms whose rows are no multiples of the right ones: a row that is normalised in parts; a normalised row that is
 * rounded before it is multiplied by the weight. */
#include <math.h>
#include <stdlib.h>

#include "reference/bounds.h"
#include "workbench/diagnose/values/norm.h"

/* What a row is computed by. */
struct row_formula {
    uint32_t part;            /* values that are normalised together */
    enum rounding_type inner; /* of the normalised values */
    bool outer;               /* their products with the weight are rounded to it as well */
};

/* Whether rounding may go either way: the value lies nearer to a boundary than it is known. Then both are possible. */
static void round_both(enum rounding_type type, double off, double *y, double *error)
{
    if (type == ROUNDING_NONE) {
        *error += off;
        return;
    }
    double low = round_number(type, *y - off - *error), high = round_number(type, *y + off + *error);
    *y = (low + high) / 2;
    *error = (high - low) / 2;
}

static void compute(const struct norm *norm, const struct row_formula *formula, const float *x, double *y,
                    double *error)
{
    uint32_t dim = norm->params->dim, width = dim * norm->params->groups;
    double u = 0x1p-24, off = BOUND_LAMBDA * u * sqrt(formula->part) / 6 + 8 * u; /* the norm's bound */
    for (uint32_t first = 0; first < width; first += formula->part) {
        double squares = 0;
        for (uint32_t d = first; d < first + formula->part; d++) {
            squares += (double)x[d] * x[d];
        }
        double inverse = 1 / sqrt(squares / formula->part + norm->params->eps);
        for (uint32_t d = first; d < first + formula->part; d++) {
            double m = norm->multiplier[d % dim];
            y[d] = x[d] * inverse;
            error[d] = 0;
            round_both(formula->inner, off * fabs(y[d]), &y[d], &error[d]);
            y[d] *= m;
            error[d] = error[d] * fabs(m) + 2 * u * fabs(y[d]);
            if (formula->outer) {
                round_both(formula->inner, 0, &y[d], &error[d]);
            }
        }
    }
}

static bool holds(const struct norm *norm, const struct row_formula *formula, struct proof *proof)
{
    uint32_t n = norm->solve->trial->rows.n, width = norm->solve->evidence->step->width;
    double *y = xmalloc((uint64_t)n * width * sizeof(*y)), *error = xmalloc((uint64_t)n * width * sizeof(*error));
    for (uint32_t i = 0; i < n; i++) {
        compute(norm, formula, norm->solve->trial->rows.rows[i].in[0], y + (uint64_t)i * width,
                error + (uint64_t)i * width);
    }
    bool explains = proof_of_values(norm->solve, y, error, proof);
    free(error);
    free(y);
    return explains;
}

bool norm_copies(const struct norm *norm, struct diagnosis *found)
{
    uint32_t n = norm->solve->trial->rows.n, width = norm->solve->evidence->step->width;
    double *y = xmalloc((uint64_t)n * width * sizeof(*y)), *error = xcalloc((uint64_t)n * width, sizeof(*error));
    struct proof proof;
    for (uint64_t at = 0; at < (uint64_t)n * width; at++) {
        y[at] = norm->solve->trial->rows.rows[at / width].in[0][at % width];
    }
    bool explains = proof_of_values(norm->solve, y, error, &proof);
    if (explains) {
        proof_tell(norm->solve, &proof, found, "Nothing is normalised: the norm's input is copied.");
    }
    free(error);
    free(y);
    return explains;
}

bool norm_in_parts(const struct norm *norm, struct diagnosis *found)
{
    uint32_t dim = norm->params->dim;
    for (uint32_t n = 2; n <= dim / 2 && n <= 64; n++) {
        struct proof proof;
        const uint32_t part = dim / n;
        if (dim % n == 0 && holds(norm, &(struct row_formula){.part = part}, &proof)) {
            found->solved = solved_number("values that are normalised together", dim, part);
            proof_tell(norm->solve, &proof, found,
                       "The norm goes over %u parts of %u values, each by itself, instead of over all %u.", n, part,
                       dim);
            return true;
        }
    }
    return false;
}

bool norm_rounded_inside(const struct norm *norm, struct diagnosis *found)
{
    static const enum rounding_type types[] = {ROUNDING_BF16, ROUNDING_F16};
    for (unsigned k = 0; k < 4; k++) {
        struct proof proof;
        const struct row_formula formula = {.part = norm->params->dim, .inner = types[k / 2], .outer = k % 2};
        if (holds(norm, &formula, &proof)) {
            found->kind = KIND_PRECISION;
            proof_tell(norm->solve, &proof, found,
                       "The normalised values are rounded to %s before they are multiplied by the weight%s.",
                       rounding_name(types[k / 2]), k % 2 ? ", and once more after it" : "");
            return true;
        }
    }
    return false;
}
