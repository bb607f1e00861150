/* The FFN's activation as GELU's tanh form with other numbers: y = gate / 2 (1 + tanh(a gate + b gate^3)) up. */
#include <math.h>
#include <stdlib.h>

#include "workbench/diagnose/numbers/config_parameters.h"
#include "workbench/diagnose/proof.h"

/* a and b by least squares over the first failing row, where tanh is not saturated. */
static bool read_tanh(const struct evidence *evidence, double numbers[2])
{
    double xx = 0, xz = 0, zz = 0, xy = 0, zy = 0;
    for (uint32_t d = 0; d < evidence->stage->width; d++) {
        double g = evidence->rows[0].in[0][d], up = evidence->rows[0].in[1][d];
        double t = 2 * (double)evidence_actual(evidence, 0)[d] / (g * up) - 1;
        if (!(fabs(t) < 0.9 && fabs(g) > 0.05)) {
            continue;
        }
        double x = g, z = g * g * g, y = atanh(t);
        xx += x * x, xz += x * z, zz += z * z, xy += x * y, zy += z * y;
    }
    double determinant = xx * zz - xz * xz;
    numbers[0] = (xy * zz - zy * xz) / determinant;
    numbers[1] = (zy * xx - xy * xz) / determinant;
    return isfinite(numbers[0]) && isfinite(numbers[1]);
}

static bool tanh_holds(const struct solve *solve, double a, double b, struct proof *proof)
{
    uint32_t width = solve->evidence->step->width, n = solve->trial->rows.n;
    double *y = xmalloc((uint64_t)n * width * sizeof(*y)), *error = xmalloc((uint64_t)n * width * sizeof(*error));
    for (uint64_t at = 0; at < (uint64_t)n * width; at++) {
        const struct op_row *row = &solve->trial->rows.rows[at / width];
        double g = row->in[0][at % width], up = row->in[1][at % width], z = a * g + b * g * g * g, t = tanh(z);
        y[at] = g / 2 * (1 + t) * up;
        error[at] = 0x1p-24 * (fabs(up * g) / 2 * (5 * (1 - t * t) * fabs(z) + 3 * fabs(t) + 1) + 3 * fabs(y[at]));
    }
    bool explains = proof_of_values(solve, y, error, proof);
    free(error);
    free(y);
    return explains;
}

bool solve_activation_tanh(const struct solve *solve, struct diagnosis *found)
{
    const double root = sqrt(2 / M_PI);
    double numbers[2];
    struct proof proof;
    if (solve->evidence->step->variant != VARIANT_NONE || proof_is_blank(solve) ||
        !read_tanh(solve->evidence, numbers)) {
        return false;
    }
    for (int digits = 1; digits <= MOST_DIGITS + 2; digits++) {
        const double a[] = {root, round_digits(numbers[0], digits)};
        for (size_t i = 0; i < sizeof(a) / sizeof(*a); i++) {
            double cubic = round_digits(numbers[1] / a[i], digits);
            if (!tanh_holds(solve, a[i], a[i] * cubic, &proof)) {
                continue;
            }
            found->solved = solved_number("factor of gate^3 in GELU's tanh", 0.044715, cubic);
            proof_tell(solve, &proof, found,
                       "The activation is GELU's tanh form with other numbers: tanh(%.6g (gate + %.6g gate^3)), where "
                       "%.6g and 0.044715 are usual.",
                       a[i], cubic, root);
            return true;
        }
    }
    return false;
}
