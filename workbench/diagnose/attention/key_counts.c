/* How often each key counts in a row, where the keys are no range. With c_j the count of key j, e its exponential, s
 * the sink's and y what was recorded: sum of c_j e_j v_j = y (sum of c_j e_j + s), so for every head and dim
 *     sum over j of c_j e_j (v_j - y) - y s = 0.
 * The counts are the same for all heads, so there are far more equations than keys. The solution is the vector that a
 * matrix sends nearest to 0; its entries, scaled, must be whole numbers. Columns have length 1 first, so that keys of
 * small weight count as much. */
#include <math.h>
#include <stdlib.h>

#include "workbench/diagnose/attention/visible_keys.h"

#define MOST_COUNT 4 /* times that one key may count */
#define ITERATIONS 6 /* of inverse iteration; the smallest eigenvalue is far below all others or there is no answer */

/* The column of key j (the sink: j = n), one equation for each output. */
static void fill_column(const struct attention_row *a, uint32_t j, double *column)
{
    uint32_t n = a->end - a->first, dim = a->p->dim, shared = a->p->heads / a->p->kv_heads;
    for (uint32_t h = 0; h < a->p->heads; h++) {
        double score = j < n ? a->scores[(uint64_t)h * n + j] : a->sinks[h], weight = exp(score - a->largest[h]);
        uint64_t at = ((uint64_t)(a->first + j) * a->p->kv_heads + h / shared) * dim;
        for (uint32_t i = 0; i < dim; i++) {
            double v = j < n ? a->row->in[2][at + i] : 0;
            column[(uint64_t)h * dim + i] = weight * (v - a->row->recorded[(uint64_t)h * dim + i]);
        }
    }
}

/* Divides a vector by its length, which it returns. */
static double normalise(double *vector, uint64_t n)
{
    double squares = 0;
    for (uint64_t i = 0; i < n; i++) {
        squares += vector[i] * vector[i];
    }
    double length = sqrt(squares);
    for (uint64_t i = 0; i < n && length > 0; i++) {
        vector[i] /= length;
    }
    return length;
}

/* Cholesky's factor of a symmetric matrix, in place in its lower half. false: it is not positive. */
static bool factorise(double *matrix, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            double sum = matrix[(uint64_t)i * n + j];
            for (uint32_t k = 0; k < j; k++) {
                sum -= matrix[(uint64_t)i * n + k] * matrix[(uint64_t)j * n + k];
            }
            if (i == j && !(sum > 0)) {
                return false;
            }
            matrix[(uint64_t)i * n + j] = i == j ? sqrt(sum) : sum / matrix[(uint64_t)j * n + j];
        }
    }
    return true;
}

/* The eigenvector of the smallest eigenvalue, by inverse iteration with Cholesky's factor. */
static void find_smallest(const double *factor, uint32_t n, double *x)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = 1 + 0.01 * i;
    }
    for (unsigned iteration = 0; iteration < ITERATIONS; iteration++) {
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t k = 0; k < i; k++) {
                x[i] -= factor[(uint64_t)i * n + k] * x[k];
            }
            x[i] /= factor[(uint64_t)i * n + i];
        }
        for (uint32_t i = n; i-- > 0;) {
            for (uint32_t k = i + 1; k < n; k++) {
                x[i] -= factor[(uint64_t)k * n + i] * x[k];
            }
            x[i] /= factor[(uint64_t)i * n + i];
        }
        (void)normalise(x, n);
    }
}

/* Solves for the counts up to a factor. counts: [n_columns]; the sink's is the last. */
static bool solve_counts(const struct attention_row *a, uint32_t n_columns, double *counts)
{
    uint64_t width = (uint64_t)a->p->heads * a->p->dim;
    double *columns = xmalloc(n_columns * width * sizeof(*columns)), *lengths = xcalloc(n_columns, sizeof(*lengths));
    double *matrix = xcalloc((uint64_t)n_columns * n_columns, sizeof(*matrix));
    for (uint32_t j = 0; j < n_columns; j++) {
        fill_column(a, j, columns + j * width);
        lengths[j] = normalise(columns + j * width, width);
    }
    for (uint32_t i = 0; i < n_columns; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            for (uint64_t k = 0; k < width; k++) {
                matrix[(uint64_t)i * n_columns + j] += columns[i * width + k] * columns[j * width + k];
            }
        }
        matrix[(uint64_t)i * n_columns + i] += 1e-14;
    }
    bool solved = factorise(matrix, n_columns);
    if (solved) {
        find_smallest(matrix, n_columns, counts);
    }
    for (uint32_t j = 0; j < n_columns; j++) {
        counts[j] = lengths[j] > 0 ? counts[j] / lengths[j] : 0;
    }
    free(matrix);
    free(lengths);
    free(columns);
    return solved;
}

/* Writes the keys whose counts are whole numbers once key `unit` counts `times`. 0: they are none. */
static uint32_t list_counts(const struct attention_row *a, const double *counts, double unit, uint32_t *keys,
                            uint32_t most)
{
    uint32_t n = 0;
    for (uint32_t j = 0; j < a->end - a->first; j++) {
        double count = counts[j] / unit, whole = round(count);
        if (!(whole >= 0 && whole <= MOST_COUNT)) {
            return 0;
        }
        for (uint32_t k = 0; k < (uint32_t)whole; k++) {
            if (n == most) {
                return 0;
            }
            keys[n++] = a->first + j;
        }
    }
    return n;
}

uint32_t key_counts_find(const struct solve *solve, const struct attention_row *a, uint32_t *keys, uint32_t most)
{
    bool has_sink = a->p->has_sinks;
    uint32_t n = a->end - a->first, n_columns = n + has_sink, n_keys = 0;
    if ((uint64_t)2 * n_columns > (uint64_t)a->p->heads * a->p->dim) {
        return 0;
    }
    double *counts = xcalloc(n_columns, sizeof(*counts));
    bool fits = false;
    if (solve_counts(a, n_columns, counts)) {
        for (uint32_t unit = n_columns; unit-- > 0 && !fits;) { /* the sink, or else the nearest key, counts once */
            n_keys = counts[unit] != 0 ? list_counts(a, counts, counts[unit], keys, most) : 0;
            const struct attention_trial trial = {.keys = keys, .n_keys = n_keys};
            fits = n_keys > 0 && attention_row_fits(solve, a->row, &trial);
        }
    }
    free(counts);
    return fits ? n_keys : 0;
}
