#include "workbench/audit/audit.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/audit/drift.h"
#include "workbench/audit/weights/factor.h"

/* Rows of all traces that share a weight dtype; one op call judges them. */
struct judge_batch {
    uint32_t n;
    struct op_row *rows;
    uint32_t *trace; /* [n] the trace of each row */
};

/* Statistics of the recorded values, over whole rows and nothing beyond them. Postmortems: in 2025-12-17
 * positive-bias-hidden-states only five values were read, in 2025-12-30 buffer-pool-trace-false-positives padding was.
 */
static void measure(struct finding *finding, const struct trace_stage *stage, uint32_t n_positions)
{
    double squares = 0;
    uint64_t n = 0;
    for (uint32_t p = 0; p < n_positions; p++) {
        const float *row = trace_row(stage, p);
        for (uint32_t i = 0; row && i < stage->width; i++) {
            double value = row[i];
            finding->nonfinite += !isfinite(value);
            if (!isfinite(value)) {
                continue;
            }
            squares += value * value;
            finding->max_abs = fmax(finding->max_abs, fabs(value));
            n++;
        }
    }
    finding->rms = n ? sqrt(squares / (double)n) : NAN;
}

/* Judges one row, and adds the result to the finding. Rows come in order of position. */
static void judge_row(struct finding *finding, uint32_t position, uint32_t width, const float *actual,
                      const double *expected, const double *bound)
{
    uint32_t worst = 0, n_judged = 0;
    double worst_ratio = -1, max_error = 0;
    for (uint32_t i = 0; i < width; i++) {
        double ratio = judge(expected[i], actual[i], bound[i]);
        if (isnan(ratio)) {
            continue;
        }
        n_judged++;
        double error = fabs(actual[i] - expected[i]);
        max_error = fmax(max_error, isnan(error) ? INFINITY : error);
        if (ratio > worst_ratio) {
            worst_ratio = ratio;
            worst = i;
        }
    }
    if (n_judged == 0) {
        finding->rows_inherited++;
        return;
    }
    bool first = finding->rows_judged == 0;
    bool first_failure = worst_ratio > 1 && finding->rows_failed == 0;
    finding->rows_judged++;
    finding->rows_failed += worst_ratio > 1;
    if (first || worst_ratio > finding->max_ratio) {
        finding->max_ratio = worst_ratio;
        finding->worst_position = position;
        finding->worst_dim = worst;
    }
    finding->max_abs_error = fmax(finding->max_abs_error, max_error);
    if (!first && !first_failure && (finding->rows_failed > 0 || worst_ratio <= finding->ratio)) {
        return;
    }
    finding->position = position;
    finding->dim = worst;
    finding->expected = expected[worst];
    finding->actual = actual[worst];
    finding->bound = bound[worst];
    finding->abs_error = fabs(finding->actual - finding->expected);
    finding->ratio = worst_ratio;
}

bool tells_nothing(const double *expected, const double *bound, uint32_t width)
{
    double size = 0, doubt = 0;
    for (uint32_t i = 0; i < width; i++) {
        size += expected[i] * expected[i];
        doubt += bound[i] * bound[i];
    }
    return doubt >= size;
}

/* Splits a row's difference from the golden's row: what the op adds, and what its inputs bring. golden NULL: no row. */
static void add_to_ledger(struct finding *finding, uint32_t width, const float *actual, const double *expected,
                          const float *golden)
{
    for (uint32_t i = 0; golden && i < width; i++) {
        double introduced = actual[i] - expected[i], inherited = expected[i] - golden[i];
        if (!isfinite(introduced) || !isfinite(inherited)) {
            continue;
        }
        finding->introduced_squares += introduced * introduced;
        finding->inherited_squares += inherited * inherited;
        finding->golden_squares += (double)golden[i] * golden[i];
    }
}

/* The golden's row at a position of another trace; NULL: there is none. By custom the golden is the last trace. */
static const float *golden_row(const struct step *step, const struct trace *const *traces, uint32_t n_traces,
                               uint32_t trace, uint32_t position)
{
    const struct trace *golden = traces[n_traces - 1];
    const struct trace_stage *stage = trace_find_step(golden, step);
    bool other = trace + 1 < n_traces && golden->n_positions == traces[trace]->n_positions;
    return other && stage ? trace_row(stage, position) : NULL;
}

/* Whether a recorded value is not finite, though no value within the bound overflows the type that is stored. */
static bool is_surely_nonfinite(const struct op_row *row, uint32_t width, const float *actual, const double *expected,
                                const double *bound)
{
    double largest = row->arith->eta > FLT_MIN ? 65504 : FLT_MAX; /* of float16; of float32, and nearly of bfloat16 */
    for (uint32_t i = 0; i < width; i++) {
        if (!isfinite(actual[i]) && fabs(expected[i]) + bound[i] < largest / 2) {
            return true;
        }
    }
    return false;
}

bool row_is_undecidable(const struct op_row *row, uint32_t width, const float *actual, const double *expected,
                        const double *bound)
{
    return row_is_span(row) && tells_nothing(expected, bound, width) &&
           !is_surely_nonfinite(row, width, actual, expected, bound);
}

void fit_add(struct fit *fit, uint32_t width, const float *actual, const double *expected, const double *bound)
{
    double error = 0, size = 0;
    bool fails = false;
    for (uint32_t d = 0; d < width; d++) {
        fails |= bound && judge(expected[d], actual[d], bound[d]) > 1;
        error += (actual[d] - expected[d]) * (actual[d] - expected[d]);
        size += expected[d] * expected[d];
    }
    fit->n_rows++;
    fit->n_judged += bound != NULL;
    fit->n_failed += fails;
    fit->error += size > 0 && isfinite(error) ? error / size : 0;
}

/* Judges one row of the batch, unless its span is too long. */
static void take_row(struct finding *finding, const struct op_row *row, uint32_t width, const float *actual,
                     const double *expected, const double *bound)
{
    bool undecidable = row_is_undecidable(row, width, actual, expected, bound);
    finding->span |= row_is_span(row);
    fit_add(&finding->fit[row->decode ? PHASE_DECODE : PHASE_PREFILL], width, actual, expected,
            undecidable ? NULL : bound);
    if (undecidable) {
        finding->rows_unaudited++;
        finding->rows_undecidable++;
    } else {
        judge_row(finding, row->position, width, actual, expected, bound);
    }
}

/* Computes the rows of a batch in pieces that fit the memory, and judges each row. */
static void judge_rows(const struct step *step, uint32_t weights_dtype, const struct judge_batch *batch,
                       const struct trace *const *traces, uint32_t n_traces, struct finding *findings)
{
    uint32_t at_once = rows_at_once(batch->n, step->width);
    double *expected = xmalloc((uint64_t)at_once * step->width * sizeof(*expected));
    double *bound = xmalloc((uint64_t)at_once * step->width * sizeof(*bound));
    for (uint32_t first = 0; first < batch->n; first += at_once) {
        uint32_t n = batch->n - first < at_once ? batch->n - first : at_once;
        struct op_batch piece = {.step = step,
                                 .weights_dtype = weights_dtype,
                                 .n_rows = n,
                                 .rows = batch->rows + first,
                                 .y = expected,
                                 .bound = bound};
        op_run(&piece);
        if (stop_asked()) {
            break; /* the caller asks, too */
        }
        for (uint32_t i = 0; i < n; i++) {
            uint32_t trace = batch->trace[first + i], position = batch->rows[first + i].position;
            const float *actual = trace_row(trace_find_step(traces[trace], step), position);
            take_row(&findings[trace], &batch->rows[first + i], step->width, actual,
                     expected + (uint64_t)i * step->width, bound + (uint64_t)i * step->width);
            add_to_ledger(&findings[trace], step->width, actual, expected + (uint64_t)i * step->width,
                          golden_row(step, traces, n_traces, trace, position));
        }
    }
    free(expected);
    free(bound);
}

static void batch_add(struct judge_batch *batch, const struct rows *rows, uint32_t trace)
{
    if (rows->n == 0) {
        return;
    }
    batch->rows = xrealloc(batch->rows, (batch->n + rows->n) * sizeof(*batch->rows));
    batch->trace = xrealloc(batch->trace, (batch->n + rows->n) * sizeof(*batch->trace));
    for (uint32_t i = 0; i < rows->n; i++) {
        batch->rows[batch->n] = rows->rows[i];
        batch->trace[batch->n++] = trace;
    }
}

/* Audits one step of all traces. findings[n_traces]; spans[n_traces]: the inputs that were computed for each trace. */
static void audit_one(const struct plan *plan, uint32_t step_index, const struct trace *const *traces,
                      uint32_t n_traces, struct spans *spans, struct finding *findings)
{
    const struct step *step = &plan->steps[step_index];
    struct judge_batch batches[DTYPE_COUNT] = {0};
    struct rows *gathered = xcalloc(n_traces, sizeof(*gathered)); /* the batches point into them */
    for (uint32_t t = 0; t < n_traces; t++) {
        const struct trace_stage *stage = trace_find_step(traces[t], step);
        struct finding *finding = &findings[t];
        *finding = (struct finding){.state = FINDING_MISSING};
        if (!stage || stage->n_recorded == 0) {
            continue;
        }
        struct rows *rows = &gathered[t];
        finding->rows_recorded = stage->n_recorded;
        measure(finding, stage, traces[t]->n_positions);
        rows_gather(rows, plan, step_index, traces[t], &spans[t]);
        finding->rows_inherited = rows->n_inherited;
        finding->rows_unaudited = rows->n_unaudited;
        finding->state = rows->n + rows->n_inherited > 0 ? FINDING_AUDITED : FINDING_UNAUDITED;
        batch_add(&batches[stage->weights_dtype], rows, t);
    }
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        if (batches[dtype].n > 0) {
            judge_rows(step, dtype, &batches[dtype], traces, n_traces, findings);
        }
        free(batches[dtype].rows);
        free(batches[dtype].trace);
    }
    for (uint32_t t = 0; t < n_traces; t++) {
        struct finding *finding = &findings[t];
        if (finding->state == FINDING_AUDITED && finding->rows_judged + finding->rows_inherited == 0) {
            finding->state = FINDING_UNAUDITED;
        }
        factor_judge(finding, plan, step_index, traces[t], &gathered[t]);
        rows_free(&gathered[t]);
    }
    free(gathered);
}

static struct audit audit_of(const struct plan *plan, uint32_t n_traces)
{
    uint64_t n = (uint64_t)plan->n_steps * n_traces;
    struct audit audit = {.plan = plan, .n_traces = n_traces};
    audit.findings = xcalloc(n, sizeof(*audit.findings));
    audit.relative_rms = xcalloc(n, sizeof(*audit.relative_rms));
    return audit;
}

/* Audits the steps in steps[n_steps], in plan order; NULL: all of them. */
static void audit_steps(struct audit *audit, const struct trace *const *traces, const uint8_t *steps,
                        progress_function *progress, void *context)
{
    const struct plan *plan = audit->plan;
    uint32_t n_traces = audit->n_traces;
    struct spans *spans = xcalloc(n_traces, sizeof(*spans));
    for (uint32_t t = 0; t < n_traces; t++) {
        spans_open(&spans[t], plan, traces[t]);
    }
    for (uint32_t s = 0; s < plan->n_steps && !stop_asked(); s++) {
        if (steps == NULL || steps[s]) {
            audit_one(plan, s, traces, n_traces, spans, &audit->findings[(uint64_t)s * n_traces]);
        }
        for (uint32_t t = 0; t < n_traces; t++) {
            spans_forget(&spans[t], s + 1);
        }
        if (progress) {
            progress(context, s + 1, plan->n_steps);
        }
    }
    for (uint32_t t = 0; t < n_traces; t++) {
        spans_close(&spans[t]);
    }
    free(spans);
}

void audit_run(struct audit *audit, const struct plan *plan, const struct trace *const *traces, uint32_t n_traces,
               progress_function *progress, void *context)
{
    ASSERT(n_traces > 0);
    *audit = audit_of(plan, n_traces);
    audit_steps(audit, traces, NULL, progress, context);
    for (uint32_t s = 0; s < plan->n_steps && !stop_asked(); s++) {
        for (uint32_t t = 0; t < n_traces; t++) {
            audit->relative_rms[(uint64_t)s * n_traces + t] =
                drift_of_step(&plan->steps[s], traces[t], traces[n_traces - 1]);
        }
    }
}

bool audit_while(struct audit *audit, const struct plan *plan, const struct trace *trace, audit_goes_on *goes_on,
                 void *context)
{
    bool all = true;
    struct spans spans;
    *audit = audit_of(plan, 1);
    spans_open(&spans, plan, trace);
    for (uint32_t s = 0; s < plan->n_steps && all && !stop_asked(); s++) {
        audit_one(plan, s, &trace, 1, &spans, &audit->findings[s]);
        spans_forget(&spans, s + 1);
        all = !finding_failed(&audit->findings[s]) || goes_on(context, &plan->steps[s], &audit->findings[s]);
    }
    spans_close(&spans);
    return all;
}

void audit_again(struct audit *audit, const struct trace *const *traces, const uint8_t *steps)
{
    audit_steps(audit, traces, steps, NULL, NULL);
}

void audit_measure(struct audit *audit, const struct plan *plan, const struct trace *const *traces, uint32_t n_traces)
{
    *audit = audit_of(plan, n_traces);
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        for (uint32_t t = 0; t < n_traces; t++) {
            const struct trace_stage *stage = trace_find_step(traces[t], &plan->steps[s]);
            struct finding *finding = &audit->findings[(uint64_t)s * n_traces + t];
            *finding = (struct finding){.state = FINDING_MISSING};
            if (!stage || stage->n_recorded == 0) {
                continue;
            }
            finding->state = FINDING_UNAUDITED;
            measure(finding, stage, traces[t]->n_positions);
        }
    }
}

struct finding audit_step(const struct plan *plan, uint32_t step, const struct trace *trace)
{
    struct finding finding;
    struct spans spans;
    spans_open(&spans, plan, trace);
    audit_one(plan, step, &trace, 1, &spans, &finding);
    spans_close(&spans);
    return finding;
}

const struct finding *audit_finding(const struct audit *audit, uint32_t step, uint32_t trace)
{
    return &audit->findings[(uint64_t)step * audit->n_traces + trace];
}

bool finding_failed(const struct finding *finding)
{
    return finding->state == FINDING_AUDITED && finding->rows_failed > 0 && !finding->other_precision;
}

void audit_free(struct audit *audit)
{
    free(audit->findings);
    free(audit->relative_rms);
    *audit = (struct audit){0};
}
