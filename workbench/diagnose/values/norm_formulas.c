#include "workbench/diagnose/values/norm_formulas.h"

#include <math.h>

static double mean_square(const float *x, uint32_t first, uint32_t last, double n)
{
    double squares = 0;
    for (uint32_t d = first; d < last; d++) {
        squares += (double)x[d] * x[d];
    }
    return squares / n;
}

static double own_mean(const struct rms_norm_params *params, const float *x, uint32_t group)
{
    return mean_square(x, group * params->dim, (group + 1) * params->dim, params->dim);
}

double norm_over_run(const struct rms_norm_params *params, const float *x, uint32_t group,
                     const struct norm_formula *formula)
{
    uint32_t first = group * params->dim / formula->run * formula->run;
    return 1 / sqrt(mean_square(x, first, first + formula->run, formula->run) + params->eps);
}

double norm_of_range(const struct rms_norm_params *params, const float *x, uint32_t group,
                     const struct norm_formula *formula)
{
    uint32_t start = group * params->dim;
    double n = formula->by_count ? formula->last - formula->first : params->dim;
    return 1 / sqrt(mean_square(x, start + formula->first, start + formula->last, n) + params->eps);
}

static double of_first_group(const struct rms_norm_params *params, const float *x, uint32_t group,
                             const struct norm_formula *formula)
{
    (void)group;
    (void)formula;
    return 1 / sqrt(own_mean(params, x, 0) + params->eps);
}

static double of_sum(const struct rms_norm_params *params, const float *x, uint32_t group,
                     const struct norm_formula *formula)
{
    (void)formula;
    return 1 / sqrt(own_mean(params, x, group) * params->dim + params->eps);
}

static double of_one_less(const struct rms_norm_params *params, const float *x, uint32_t group,
                          const struct norm_formula *formula)
{
    (void)formula;
    return 1 / sqrt(own_mean(params, x, group) * params->dim / (params->dim - 1.0) + params->eps);
}

static double eps_outside(const struct rms_norm_params *params, const float *x, uint32_t group,
                          const struct norm_formula *formula)
{
    (void)formula;
    return 1 / (sqrt(own_mean(params, x, group)) + params->eps);
}

static double eps_added_to_sum(const struct rms_norm_params *params, const float *x, uint32_t group,
                               const struct norm_formula *formula)
{
    (void)formula;
    return 1 / sqrt(own_mean(params, x, group) + (double)params->eps / params->dim);
}

static double eps_as_floor(const struct rms_norm_params *params, const float *x, uint32_t group,
                           const struct norm_formula *formula)
{
    (void)formula;
    return 1 / sqrt(fmax(own_mean(params, x, group), params->eps));
}

static double no_eps(const struct rms_norm_params *params, const float *x, uint32_t group,
                     const struct norm_formula *formula)
{
    (void)formula;
    return 1 / sqrt(own_mean(params, x, group));
}

static double no_root(const struct rms_norm_params *params, const float *x, uint32_t group,
                      const struct norm_formula *formula)
{
    (void)formula;
    return 1 / (own_mean(params, x, group) + params->eps);
}

double norm_eps_outside(const struct rms_norm_params *params, const float *x, uint32_t group,
                        const struct norm_formula *formula)
{
    return 1 / (sqrt(own_mean(params, x, group)) + formula->eps);
}

/* Mean of the values of a group, or of their magnitudes. */
static double mean_value(const struct rms_norm_params *params, const float *x, uint32_t group, bool magnitudes)
{
    double sum = 0;
    for (uint32_t d = group * params->dim; d < (group + 1) * params->dim; d++) {
        sum += magnitudes ? fabs(x[d]) : x[d];
    }
    return sum / params->dim;
}

static double of_variance(const struct rms_norm_params *params, const float *x, uint32_t group,
                          const struct norm_formula *formula)
{
    (void)formula;
    double mean = mean_value(params, x, group, false);
    return 1 / sqrt(own_mean(params, x, group) - mean * mean + params->eps);
}

static double of_magnitudes(const struct rms_norm_params *params, const float *x, uint32_t group,
                            const struct norm_formula *formula)
{
    (void)formula;
    return 1 / (mean_value(params, x, group, true) + params->eps);
}

static double rounded(const struct rms_norm_params *params, const float *x, uint32_t group,
                      const struct norm_formula *formula)
{
    return round_number(formula->type, 1 / sqrt(own_mean(params, x, group) + params->eps));
}

static double of_rounded_mean(const struct rms_norm_params *params, const float *x, uint32_t group,
                              const struct norm_formula *formula)
{
    return 1 / sqrt(round_number(formula->type, own_mean(params, x, group)) + params->eps);
}

static const struct norm_other others[] = {
    {{.inverse = of_first_group}, "Every head is divided by the first head's root mean square.", KIND_FORMULA},
    {{.inverse = of_sum}, "The squares are summed, but the sum is not divided by their number.", KIND_FORMULA},
    {{.inverse = no_eps}, "eps is not added.", KIND_FORMULA},
    {{.inverse = eps_outside}, "eps is added to the root instead of under it.", KIND_FORMULA},
    {{.inverse = eps_added_to_sum},
     "eps is added to the sum of squares before it is divided by their number.",
     KIND_FORMULA},
    {{.inverse = eps_as_floor}, "eps is the least mean square instead of being added.", KIND_FORMULA},
    {{.inverse = of_one_less}, "The sum of squares is divided by one less than their number.", KIND_FORMULA},
    {{.inverse = no_root}, "The root of the mean square is not taken.", KIND_FORMULA},
    {{.inverse = of_variance},
     "Values are divided by their standard deviation, which subtracts the mean.",
     KIND_FORMULA},
    {{.inverse = of_magnitudes}, "Values are divided by the mean of their magnitudes.", KIND_FORMULA},
    {{.inverse = rounded, .type = ROUNDING_BF16}, "The inverse root is rounded to bf16.", KIND_PRECISION},
    {{.inverse = rounded, .type = ROUNDING_F16}, "The inverse root is rounded to f16.", KIND_PRECISION},
    {{.inverse = of_rounded_mean, .type = ROUNDING_BF16}, "The mean square is rounded to bf16.", KIND_PRECISION},
    {{.inverse = of_rounded_mean, .type = ROUNDING_F16}, "The mean square is rounded to f16.", KIND_PRECISION},
};

const struct norm_other *norm_others(uint32_t *n)
{
    *n = sizeof(others) / sizeof(*others);
    return others;
}
