/* Trying an op, right or wrong, on recorded rows. */
#include <math.h>
#include <stdlib.h>

#include "workbench/diagnose/diagnose_internal.h"

void trial_open(struct op_trial *trial, const struct plan *plan, uint32_t step, const struct trace *trace)
{
    *trial = (struct op_trial){.stage = trace_find_step(trace, &plan->steps[step])};
    rows_gather(&trial->rows, plan, step, trace, NULL);
    trial->at_once = rows_at_once(trial->rows.n, plan->steps[step].width);
    uint64_t n_values = (uint64_t)trial->at_once * plan->steps[step].width;
    trial->expected = xmalloc(n_values * sizeof(double));
    trial->bound = xmalloc(n_values * sizeof(double));
}

void trial_close(struct op_trial *trial)
{
    rows_free(&trial->rows);
    free(trial->expected);
    free(trial->bound);
}

void trial_run(struct op_trial *trial, const struct step *step, const struct op_row *rows, uint32_t n)
{
    struct op_batch batch = {.step = step,
                             .weights_dtype = trial->stage->weights_dtype,
                             .n_rows = n,
                             .rows = rows,
                             .y = trial->expected,
                             .bound = trial->bound};
    op_run(&batch);
}

double trial_row_ratio(const struct op_trial *trial, const struct op_row *rows, uint32_t i)
{
    uint32_t width = trial->stage->width;
    const float *actual = trial->stage->rows + (uint64_t)rows[i].position * width;
    double worst = 0;
    for (uint32_t d = 0; d < width; d++) {
        uint64_t at = (uint64_t)i * width + d;
        double ratio = judge(trial->expected[at], actual[d], trial->bound[at]);
        if (ratio > worst) {
            worst = ratio;
        }
    }
    return worst;
}

uint32_t trial_sort_failing_first(struct op_trial *trial, const struct step *right)
{
    uint32_t n_failing = 0, n_passing = 0, n_rows = trial->rows.n;
    struct op_row *sorted = xcalloc(n_rows, sizeof(*sorted));
    for (uint32_t first = 0; first < n_rows; first += trial->at_once) {
        uint32_t n = n_rows - first < trial->at_once ? n_rows - first : trial->at_once;
        trial_run(trial, right, trial->rows.rows + first, n);
        for (uint32_t i = 0; i < n; i++) {
            if (trial_row_ratio(trial, trial->rows.rows + first, i) > 1) {
                sorted[n_failing++] = trial->rows.rows[first + i];
            } else {
                sorted[n_rows - ++n_passing] = trial->rows.rows[first + i];
            }
        }
    }
    free(trial->rows.rows);
    trial->rows.rows = sorted;
    trial->n_failing = n_failing;
    return n_failing;
}

bool trial_any_nonfinite(const struct op_trial *trial)
{
    for (uint32_t i = 0; i < trial->n_failing; i++) {
        const float *row = trace_row(trial->stage, trial->rows.rows[i].position);
        for (uint32_t d = 0; d < trial->stage->width; d++) {
            if (!isfinite(row[d])) {
                return true;
            }
        }
    }
    return false;
}

struct candidate trial_candidate(const struct op_trial *trial, const struct step *step)
{
    return (struct candidate){.step = step, .weights_dtype = trial->stage->weights_dtype};
}

void contrast_add(struct contrast *contrast, const struct contrast_value *value)
{
    if (!isfinite(value->recorded) || !isfinite(value->right) || !isfinite(value->y)) {
        bool explained = isfinite(value->recorded) == isfinite(value->y);
        if (explained && isfinite(value->right) != isfinite(value->y)) {
            contrast->apart = contrast->nonzero = true;
            contrast->right_miss = INFINITY;
        }
        return;
    }
    double right = value->recorded - value->right, miss = value->recorded - value->y;
    contrast->right_miss += right * right;
    contrast->miss += miss * miss;
    bool apart =
        fabs(right) > value->right_bound && fabs(value->y - value->right) > fmax(value->bound, value->right_bound);
    contrast->apart |= apart;
    contrast->nonzero |= apart && fabs(value->recorded) > value->bound;
}

bool contrast_tells(const struct contrast *contrast)
{
    return contrast->apart && 16 * contrast->miss <= contrast->right_miss;
}

/* Compares rows [first, first + n) just computed with the right op's, where they are among the failing ones. */
static void add_contrast(const struct op_trial *trial, const struct evidence *right, uint32_t first, uint32_t n,
                         struct contrast *contrast)
{
    uint32_t width = trial->stage->width;
    for (uint32_t i = 0; i < n && first + i < right->n; i++) {
        const float *recorded = evidence_actual(right, first + i);
        for (uint32_t d = 0; d < width; d++) {
            uint64_t at = (uint64_t)i * width + d;
            contrast_add(contrast, &(struct contrast_value){recorded[d], evidence_expected(right, first + i)[d],
                                                            evidence_bound(right, first + i)[d], trial->expected[at],
                                                            trial->bound[at]});
        }
    }
}

bool trial_row_is_spared(const struct op_trial *trial, uint32_t i)
{
    const struct op_row *rows = trial->rows.rows, *row = &rows[i];
    bool same_phase = false;
    if (i < trial->n_failing) {
        return false;
    }
    for (uint32_t k = 0; k < trial->n_failing && !same_phase; k++) {
        same_phase = rows[k].decode == row->decode;
    }
    return !same_phase || row->position < rows[0].position || row->position > rows[trial->n_failing - 1].position;
}

bool trial_explains(struct op_trial *trial, const struct candidate *candidate, const struct evidence *right,
                    double *worst)
{
    const struct op_row *rows = candidate->rows ? candidate->rows : trial->rows.rows;
    struct contrast contrast = {0};
    *worst = 0;
    for (uint32_t first = 0, n; first < trial->rows.n; first += n) { /* the first row alone rules out most */
        n = first == 0 ? 1 : trial->rows.n - first < trial->at_once ? trial->rows.n - first : trial->at_once;
        op_run(&(struct op_batch){.step = candidate->step,
                                  .weights_dtype = candidate->weights_dtype,
                                  .n_rows = n,
                                  .rows = rows + first,
                                  .y = trial->expected,
                                  .bound = trial->bound});
        for (uint32_t i = 0; i < n; i++) {
            if (candidate->spares_some && trial_row_is_spared(trial, first + i)) {
                continue;
            }
            *worst = fmax(*worst, trial_row_ratio(trial, rows + first, i));
            if (*worst > 1) {
                return false;
            }
        }
        add_contrast(trial, right, first, n, &contrast);
    }
    bool earned = contrast.nonzero || trial->n_failing > 1 || trial->rows.n == 1;
    return contrast_tells(&contrast) && earned;
}

uint32_t diagnose_n_failing(const struct plan *plan, uint32_t step, const struct trace *trace)
{
    struct op_trial trial;
    trial_open(&trial, plan, step, trace);
    uint32_t n = trial_sort_failing_first(&trial, &plan->steps[step]);
    trial_close(&trial);
    return n;
}

void evidence_open(struct evidence *evidence, const struct op_trial *trial, const struct plan *plan, uint32_t index,
                   const struct trace *trace)
{
    const struct step *step = &plan->steps[index];
    uint32_t n = trial->n_failing < trial->at_once ? trial->n_failing : trial->at_once;
    uint64_t n_values = (uint64_t)n * step->width;
    *evidence = (struct evidence){.plan = plan,
                                  .step_index = index,
                                  .step = step,
                                  .trace = trace,
                                  .stage = trial->stage,
                                  .n = n,
                                  .rows = trial->rows.rows,
                                  .expected = xmalloc(n_values * sizeof(double)),
                                  .bound = xmalloc(n_values * sizeof(double))};
    op_run(&(struct op_batch){.step = step,
                              .weights_dtype = trial->stage->weights_dtype,
                              .n_rows = n,
                              .rows = trial->rows.rows,
                              .y = evidence->expected,
                              .bound = evidence->bound});
}

void evidence_close(struct evidence *evidence)
{
    free(evidence->expected);
    free(evidence->bound);
}
