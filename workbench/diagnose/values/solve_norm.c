/* A norm with another formula. Its multiplier of each group, r = 1 / sqrt(mean(x^2) + eps), is read off the recorded
 * rows and compared with what other formulas give; so is the number that is added to the weight. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/values/norm.h"

#define MOST_GROUPS 64  /* of failing rows, compared before a proof */
#define ALL_RANGES 1024 /* longer groups: ranges of squares begin or end at multiples of 8 */
#define FEWEST_GROUPS 4 /* that can tell one range from others */

/* Reads r of a group off by least squares: y = r x m. */
static void read_group(struct norm *norm, uint32_t i, uint32_t group)
{
    const struct evidence *evidence = norm->solve->evidence;
    uint32_t dim = norm->params->dim;
    const float *x = evidence->rows[i].in[0] + (uint64_t)group * dim;
    const float *y = evidence_actual(evidence, i) + (uint64_t)group * dim;
    double product = 0, square = 0;
    for (uint32_t d = 0; d < dim; d++) {
        double unscaled = (double)x[d] * norm->multiplier[d];
        product += unscaled * y[d];
        square += unscaled * unscaled;
    }
    norm->x[norm->n] = evidence->rows[i].in[0];
    norm->group[norm->n] = group;
    norm->read[norm->n++] = product / square;
}

static void norm_open(struct norm *norm, const struct solve *solve)
{
    const struct step *step = solve->evidence->step;
    const struct rms_norm_params *params = &step->params.rms_norm;
    *norm = (struct norm){.solve = solve,
                          .params = params,
                          .multiplier = xcalloc(params->dim, sizeof(float)),
                          .x = xcalloc(MOST_GROUPS, sizeof(*norm->x)),
                          .group = xcalloc(MOST_GROUPS, sizeof(*norm->group)),
                          .read = xcalloc(MOST_GROUPS, sizeof(*norm->read)),
                          .tolerance = fmax(1e-5, 4 * trace_stage_coarsest(solve->evidence->stage))};
    weights_decode(step->weight[0], 0, 0, params->dim, norm->multiplier);
    for (uint32_t d = 0; d < params->dim; d++) {
        norm->multiplier[d] += params->offset;
    }
    for (uint32_t i = 0; i < solve->evidence->n; i++) {
        for (uint32_t g = 0; g < params->groups && norm->n < MOST_GROUPS; g++) {
            read_group(norm, i, g);
        }
    }
}

static void norm_close(struct norm *norm)
{
    free(norm->multiplier);
    free(norm->x);
    free(norm->group);
    free(norm->read);
}

/* Whether a formula gives r as it was read off, and then every row. */
static bool holds(const struct norm *norm, const struct norm_formula *formula, struct proof *proof)
{
    const struct rms_norm_params *params = norm->params;
    uint32_t n = norm->solve->trial->rows.n;
    for (uint32_t k = 0; k < norm->n; k++) {
        double inverse = formula->inverse(params, norm->x[k], norm->group[k], formula);
        if (!(fabs(inverse - norm->read[k]) <= norm->tolerance * fabs(norm->read[k]))) {
            return false;
        }
    }
    struct op_row *rows = proof_rows(norm->solve);
    double *inverses = xcalloc((uint64_t)n * params->groups, sizeof(*inverses));
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t g = 0; g < params->groups; g++) {
            inverses[(uint64_t)i * params->groups + g] = formula->inverse(params, rows[i].in[0], g, formula);
        }
        rows[i].inverse = inverses + (uint64_t)i * params->groups;
    }
    struct candidate candidate = trial_candidate(norm->solve->trial, norm->solve->evidence->step);
    candidate.rows = rows;
    bool explains = proof_find(norm->solve, &candidate, proof);
    free(inverses);
    free(rows);
    return explains;
}

/* Heads are normalised together, or a row in parts. */
static bool is_other_run(const struct norm *norm, struct diagnosis *found)
{
    uint32_t width = norm->params->groups * norm->params->dim;
    struct proof proof;
    for (uint32_t run = width; run >= 2 && norm->params->groups > 1; run--) {
        struct norm_formula formula = {.inverse = norm_over_run, .run = run};
        bool whole_groups = width % run == 0 && (run % norm->params->dim == 0);
        if (!whole_groups || run == norm->params->dim || !holds(norm, &formula, &proof)) {
            continue;
        }
        found->solved = solved_number("values that are normalised together", norm->params->dim, run);
        proof_tell(norm->solve, &proof, found,
                   "The norm goes over %s%u values at once, %u heads, instead of over each head's %u.",
                   run == width ? "all " : "", run, run / norm->params->dim, norm->params->dim);
        return true;
    }
    return false;
}

static bool is_other_formula(const struct norm *norm, struct diagnosis *found)
{
    uint32_t n;
    const struct norm_other *others = norm_others(&n);
    struct proof proof;
    for (uint32_t f = 0; f < n; f++) {
        if (holds(norm, &others[f].formula, &proof)) {
            found->kind = others[f].kind;
            proof_tell(norm->solve, &proof, found, "%s", others[f].what);
            return true;
        }
    }
    return false;
}

/* Another eps, added to the root instead of under it. */
static bool is_eps_outside(const struct norm *norm, struct diagnosis *found)
{
    struct norm_formula formula = {.inverse = norm_eps_outside};
    struct proof proof;
    double least = INFINITY;
    for (uint32_t k = 0; k < norm->n; k++) { /* clearest where the root is smallest */
        double root = 1 / norm_eps_outside(norm->params, norm->x[k], norm->group[k], &(struct norm_formula){0});
        if (root < least) {
            least = root;
            formula.eps = 1 / norm->read[k] - root;
        }
    }
    char rounded[32];
    snprintf(rounded, sizeof(rounded), "%.2g", formula.eps);
    formula.eps = strtod(rounded, NULL);
    if (!(formula.eps > 0) || norm->n < FEWEST_GROUPS || !holds(norm, &formula, &proof)) {
        return false;
    }
    found->solved = solved_number("eps added to the root", 0, formula.eps);
    proof_tell(norm->solve, &proof, found,
               "An eps of %.6g is added to the root of the mean square instead of %.6g under it.", formula.eps,
               norm->params->eps);
    return true;
}

/* Prefix sums of the squares of each group that was read off: [n, dim + 1]. */
static double *sum_squares(const struct norm *norm)
{
    uint32_t dim = norm->params->dim;
    double *sums = xcalloc((uint64_t)norm->n * (dim + 1), sizeof(*sums));
    for (uint32_t k = 0; k < norm->n; k++) {
        const float *x = norm->x[k] + (uint64_t)norm->group[k] * dim;
        for (uint32_t d = 0; d < dim; d++) {
            sums[(uint64_t)k * (dim + 1) + d + 1] = sums[(uint64_t)k * (dim + 1) + d] + (double)x[d] * x[d];
        }
    }
    return sums;
}

static bool range_fits(const struct norm *norm, const double *sums, const struct norm_formula *range)
{
    uint32_t dim = norm->params->dim;
    double n = range->by_count ? range->last - range->first : dim;
    for (uint32_t k = 0; k < norm->n; k++) {
        const double *sum = sums + (uint64_t)k * (dim + 1);
        double inverse = 1 / sqrt((sum[range->last] - sum[range->first]) / n + norm->params->eps);
        if (!(fabs(inverse - norm->read[k]) <= norm->tolerance * fabs(norm->read[k]))) {
            return false;
        }
    }
    return true;
}

/* Only a range of the squares is summed. */
static bool is_missing_squares(const struct norm *norm, struct diagnosis *found)
{
    uint32_t dim = norm->params->dim, grain = dim > ALL_RANGES ? 8 : 1;
    struct proof proof;
    bool explains = false;
    double *sums = sum_squares(norm);
    for (int by_count = 0; by_count < 2; by_count++) {
        for (uint32_t first = 0; first < dim && !explains; first++) {
            for (uint32_t last = first + 1; last <= dim && !explains; last++) {
                struct norm_formula range = {
                    .inverse = norm_of_range, .first = first, .last = last, .by_count = by_count};
                bool edge = (first == 0) != (last == dim);
                bool inner = first > 0 && last < dim && first % grain == 0 && last % grain == 0;
                explains = (edge || inner) && norm->n >= FEWEST_GROUPS && range_fits(norm, sums, &range) &&
                           holds(norm, &range, &proof);
                if (explains) {
                    found->kind = KIND_MISSING_TERMS;
                    found->solved = solved_number("squares in the sum", dim, last - first);
                    proof_tell(norm->solve, &proof, found,
                               "The mean of the squares is not complete: of %u values, only those from %u to %u are in "
                               "the sum, which is divided by %u.",
                               dim, first, last - 1, by_count ? last - first : dim);
                }
            }
        }
    }
    free(sums);
    return explains;
}

/* Another number than MODEL's family has is added to the weight, or the weight is not used. */
static bool is_other_weight(const struct norm *norm, struct diagnosis *found)
{
    const struct evidence *evidence = norm->solve->evidence;
    uint32_t dim = norm->params->dim;
    double product = 0, square = 0;
    struct proof proof;
    struct step step = *evidence->step;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double m = norm->multiplier[d % dim], expected = evidence_expected(evidence, i)[d];
            double plain = m != 0 ? expected / m : 0;
            product += (evidence_actual(evidence, i)[d] - expected) * plain;
            square += plain * plain;
        }
    }
    double offset = norm->params->offset + product / square, near = round(offset * 1000) / 1000;
    step.params.rms_norm.offset = (float)near;
    struct candidate candidate = trial_candidate(norm->solve->trial, &step);
    if (isfinite(offset) && proof_find(norm->solve, &candidate, &proof)) {
        found->kind = KIND_PARAMETER;
        found->solved = solved_number("number added to the norm's weight", norm->params->offset, near);
        proof_tell(norm->solve, &proof, found, "The norm multiplies by %.6g + w where this family has %.6g + w.", near,
                   norm->params->offset);
        return true;
    }
    float *zeros = xcalloc(dim, sizeof(*zeros));
    struct tensor none = *step.weight[0];
    none.dtype = DTYPE_F32;
    none.layout = LAYOUT_ROWS;
    none.scales = NULL;
    none.bytes = (const uint8_t *)zeros;
    none.n_bytes = dim * sizeof(*zeros);
    step.weight[0] = &none;
    step.params.rms_norm.offset = 1;
    bool unused = proof_find(norm->solve, &candidate, &proof);
    if (unused) {
        proof_tell(norm->solve, &proof, found, "The norm's weight is not used.");
    }
    free(zeros);
    return unused;
}

bool solve_norm(const struct solve *solve, struct diagnosis *found)
{
    const struct step *step = solve->evidence->step;
    if (step->variant != VARIANT_NONE || proof_is_blank(solve)) {
        return false;
    }
    struct norm norm;
    norm_open(&norm, solve);
    bool explains = norm_copies(&norm, found) || is_other_run(&norm, found) || is_other_formula(&norm, found) ||
                    is_eps_outside(&norm, found) || is_other_weight(&norm, found) ||
                    norm_rounded_inside(&norm, found) || norm_in_parts(&norm, found) ||
                    is_missing_squares(&norm, found);
    norm_close(&norm);
    return explains;
}
