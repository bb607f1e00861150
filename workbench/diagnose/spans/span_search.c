#include "workbench/diagnose/spans/span_search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/products/product_samples.h"

#define MOST_EXPANDED (1u << 26) /* values of matrices that are decoded for a search */

/* stop: at the first row that fails. */
static void span_rows_compute(struct span_rows *span_rows, const struct plan *plan, uint32_t step_index,
                              struct spans *spans, bool stop)
{
    const struct step *step = &plan->steps[step_index];
    const struct trace_stage *output = trace_find_step(spans->trace, step);
    struct rows *rows = &span_rows->rows;
    rows_gather(rows, plan, step_index, spans->trace, spans);
    uint32_t at_once = rows_at_once(rows->n, step->width);
    span_rows->worst = rows->n > 0 ? 0 : INFINITY;
    span_rows->y = xmalloc(((uint64_t)rows->n * step->width + 1) * sizeof(double));
    span_rows->bound = xmalloc(((uint64_t)rows->n * step->width + 1) * sizeof(double));
    for (uint32_t first = 0; first < rows->n && !(stop && span_rows->worst > 1); first += at_once) {
        uint64_t at = (uint64_t)first * step->width;
        struct op_batch batch = {.step = step,
                                 .weights_dtype = output->weights_dtype,
                                 .n_rows = rows->n - first < at_once ? rows->n - first : at_once,
                                 .rows = rows->rows + first,
                                 .y = span_rows->y + at,
                                 .bound = spans->values_only ? NULL : span_rows->bound + at};
        op_run(&batch);
        for (uint64_t i = 0; !spans->values_only && i < (uint64_t)batch.n_rows * step->width; i++) {
            const float *row = trace_row(output, batch.rows[i / step->width].position);
            double ratio = judge(batch.y[i], row[i % step->width], batch.bound[i]);
            span_rows->worst = ratio > span_rows->worst ? ratio : span_rows->worst;
        }
    }
}

static void span_rows_free(struct span_rows *span_rows)
{
    rows_free(&span_rows->rows);
    free(span_rows->y);
    free(span_rows->bound);
}

/* Whether row i comes out as recorded. */
static bool row_is_right(const struct span_rows *span_rows, const struct trace_stage *output, uint32_t i)
{
    const float *row = trace_row(output, span_rows->rows.rows[i].position);
    for (uint32_t d = 0; d < output->width; d++) {
        uint64_t at = (uint64_t)i * output->width + d;
        if (judge(span_rows->y[at], row[d], span_rows->bound[at]) > 1) {
            return false;
        }
    }
    return true;
}

static uint32_t count_right(const struct span_rows *span_rows, const struct trace_stage *output)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < span_rows->rows.n; i++) {
        n += row_is_right(span_rows, output, i);
    }
    return n;
}

/* Whether an edited plan's rows are told apart from the right plan's, by the rows that fail: only then it explains
 * anything. In a long span the bounds may be so wide that several edits pass. */
static bool rows_tell(const struct span_search *search, const struct span_rows *edited)
{
    const struct step *step = &search->failure->plan->steps[search->failure->step];
    const struct trace_stage *output = trace_find_step(search->failure->trace, step);
    const struct span_rows *right = &search->right;
    struct contrast contrast = {0};
    for (uint32_t i = 0, k = 0; i < right->rows.n; i++) {
        uint32_t position = right->rows.rows[i].position;
        while (k < edited->rows.n && edited->rows.rows[k].position < position) {
            k++;
        }
        if (k == edited->rows.n || edited->rows.rows[k].position != position) {
            return false; /* it cannot compute a row that the right plan can */
        }
        const float *row = trace_row(output, position);
        for (uint32_t d = 0; d < step->width; d++) {
            uint64_t at_right = (uint64_t)i * step->width + d, at = (uint64_t)k * step->width + d;
            contrast_add(&contrast, &(struct contrast_value){row[d], right->y[at_right], right->bound[at_right],
                                                             edited->y[at], edited->bound[at]});
        }
    }
    return contrast_tells(&contrast);
}

/* The steps whose outputs depend on the edited ones. [n_steps], freed by the caller. */
static uint8_t *touched_by(const struct span_failure *failure, const uint8_t *edited)
{
    const struct plan *plan = failure->plan;
    uint8_t *touched = xcalloc(plan->n_steps, 1), *between = xcalloc(plan->n_steps, 1);
    for (uint32_t i = 0; i < failure->path->n_between; i++) {
        between[failure->path->between[i]] = 1;
    }
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        touched[s] = edited[s];
        for (unsigned i = 0; i < OP_MAX_INPUTS && between[s]; i++) {
            touched[s] |= plan->steps[s].input[i] >= 0 && touched[plan->steps[s].input[i]];
        }
    }
    free(between);
    return touched;
}

/* All parameters are 4 bytes wide. */
static void apply_numbers(const struct span_edit *edit, union step_params *params)
{
    const char *from = (const char *)&edit->from, *to = (const char *)&edit->to;
    for (size_t at = 0; at + 4 <= sizeof(edit->from); at += 4) {
        if (memcmp(from + at, to + at, 4) != 0) {
            memcpy((char *)params + at, to + at, 4);
        }
    }
}

void span_edit_apply(const struct span_edit *edit, struct plan *plan, struct arena *arena)
{
    struct plan before;
    plan_copy(&before, plan);
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (edit->steps[s] && edit->fault) {
            plan->steps[s] = fault_mutant(edit->fault, &before, s, arena);
        } else if (edit->steps[s] && edit->weights) {
            edit->weights->apply(&before, s, &plan->steps[s], arena);
        } else if (edit->steps[s] && !edit->trial) {
            apply_numbers(edit, &plan->steps[s].params);
        }
    }
    plan_free(&before);
}

/* An edited plan, and what of it is computed anew. */
struct edited {
    struct plan plan;
    struct arena arena;
    uint8_t *touched;
};

static void edited_open(struct edited *edited, const struct span_search *search, const struct plan *plan,
                        const struct span_edit *edit)
{
    *edited = (struct edited){0};
    plan_copy(&edited->plan, plan);
    span_edit_apply(edit, &edited->plan, &edited->arena);
    edited->touched = touched_by(search->failure, edit->steps);
}

static void edited_close(struct edited *edited)
{
    free(edited->touched);
    plan_free(&edited->plan);
    arena_free(&edited->arena);
}

/* Spans of the edited plan, beside those of the plan before edits. */
static void edited_spans(struct spans *spans, struct edited *edited, struct spans *base)
{
    spans_open(spans, &edited->plan, base->trace);
    spans->base = base;
    spans->touched = edited->touched;
}

double span_try(struct span_search *search, const struct span_edit *edit, uint32_t *n_right)
{
    struct edited edited;
    const struct span_failure *failure = search->failure;
    const struct trace_stage *output = trace_find_step(failure->trace, &failure->plan->steps[failure->step]);
    edited_open(&edited, search, failure->plan, edit);
    *n_right = 0;
    double worst = 0;
    for (int all = 0; all < 2 && worst <= 1; all++) { /* one failing row rules out most edits */
        struct spans spans;
        struct span_rows rows = {0};
        edited_spans(&spans, &edited, all ? search->base : &search->low.base);
        spans.trial = edit->trial;
        span_rows_compute(&rows, &edited.plan, failure->step, &spans, false);
        worst = rows.worst <= 1 && (!all || rows_tell(search, &rows)) ? rows.worst : INFINITY;
        *n_right = all ? count_right(&rows, output) : 0;
        span_rows_free(&rows);
        spans_close(&spans);
    }
    edited_close(&edited);
    return worst;
}

static void keep_value(const void *context, const struct tensor *tensor, uint64_t row, float *values)
{
    (void)context;
    weights_decode(tensor, row, 0, tensor_row_elems(tensor), values);
}

/* Decoding takes most of the time of one row: matrices are decoded once. A search alone reads them; proofs decode. */
static const struct plan *light_plan(struct span_search *search)
{
    const struct span_path *path = search->failure->path;
    if (search->light.steps) {
        return &search->light;
    }
    plan_copy(&search->light, search->failure->plan);
    uint64_t left = MOST_EXPANDED;
    for (uint32_t i = 0; i <= path->n_between; i++) {
        struct step *step = &search->light.steps[i < path->n_between ? path->between[i] : search->failure->step];
        uint64_t size = step->op == OP_matmul ? tensor_rows(step->weight[0]) * tensor_row_elems(step->weight[0]) : 0;
        if (size > 0 && size <= left) {
            step->weight[0] = weights_expand(&search->expanded, step->weight[0], keep_value, NULL);
            left -= size;
        }
    }
    return &search->light;
}

double span_miss(struct span_search *search, const struct span_edit *edit, bool highest)
{
    struct edited edited;
    struct spans spans;
    struct span_rows rows = {0};
    struct span_row *row = highest ? &search->high : &search->low;
    const struct step *step = &search->failure->plan->steps[search->failure->step];
    edited_open(&edited, search, light_plan(search), edit);
    edited_spans(&spans, &edited, &row->base);
    spans.values_only = true;
    spans.trial = edit->trial;
    span_rows_compute(&rows, &edited.plan, search->failure->step, &spans, false);
    double miss = rows.rows.n == 1 ? 0 : INFINITY;
    const float *recorded = trace_row(trace_find_step(&row->trace, step), row->position);
    for (uint32_t d = 0; d < step->width && rows.rows.n == 1; d++) {
        miss += (rows.y[d] - recorded[d]) * (rows.y[d] - recorded[d]);
    }
    span_rows_free(&rows);
    spans_close(&spans);
    edited_close(&edited);
    return isfinite(miss) ? miss : INFINITY;
}

/* The trace with one row of the step's output. Its other stages are borrowed. */
static void row_open(struct span_row *row, const struct span_failure *failure)
{
    const struct trace *trace = failure->trace;
    row->trace = *trace;
    row->trace.stages = xmalloc(trace->n_stages * sizeof(*trace->stages));
    memcpy(row->trace.stages, trace->stages, trace->n_stages * sizeof(*trace->stages));
    struct trace_stage whole; /* the trace's own, which stays as it is */
    trace_hide_others(trace, trace_find_step(&row->trace, &failure->plan->steps[failure->step]), row->position, 1,
                      &whole);
    spans_open(&row->base, failure->plan, &row->trace);
}

static void row_close(struct span_row *row, const struct span_failure *failure)
{
    spans_close(&row->base);
    free(trace_find_step(&row->trace, &failure->plan->steps[failure->step])->recorded);
    free(row->trace.stages);
}

bool span_search_open(struct span_search *search, const struct span_failure *failure)
{
    *search = (struct span_search){.failure = failure, .base = failure->spans};
    const struct trace_stage *output = trace_find_step(failure->trace, &failure->plan->steps[failure->step]);
    bool fails = false;
    span_rows_compute(&search->right, failure->plan, failure->step, search->base, false);
    for (uint32_t i = 0; i < search->right.rows.n; i++) {
        if (row_is_right(&search->right, output, i)) {
            continue;
        }
        search->high.position = search->right.rows.rows[i].position;
        search->low.position = fails ? search->low.position : search->high.position;
        fails = true;
    }
    row_open(&search->low, failure);
    row_open(&search->high, failure);
    return fails;
}

void span_search_close(struct span_search *search)
{
    for (uint32_t i = 0; i < search->n_parts; i++) {
        free(search->parts[i].edit.steps);
    }
    if (search->light.steps) {
        plan_free(&search->light);
        arena_free(&search->expanded);
    }
    row_close(&search->high, search->failure);
    row_close(&search->low, search->failure);
    span_rows_free(&search->right);
}

void span_part_keep(struct span_search *search, const struct span_edit *edit, uint32_t n_right,
                    const struct diagnosis *told)
{
    uint32_t at = search->n_parts, n_steps = search->failure->plan->n_steps;
    while (at > 0 && search->parts[at - 1].n_right < n_right) {
        at--;
    }
    if (at == SPAN_MOST_PARTS) {
        return;
    }
    if (search->n_parts == SPAN_MOST_PARTS) {
        free(search->parts[--search->n_parts].edit.steps);
    }
    memmove(&search->parts[at + 1], &search->parts[at], (search->n_parts - at) * sizeof(*search->parts));
    search->parts[at] = (struct span_part){.edit = *edit, .n_right = n_right, .told = *told};
    search->parts[at].edit.steps = xmalloc(n_steps);
    memcpy(search->parts[at].edit.steps, edit->steps, n_steps);
    search->n_parts++;
}

uint32_t span_name_edited(const struct plan *plan, const uint8_t *edited, char where[160])
{
    char label[64];
    uint32_t n = 0, first = 0;
    where[0] = '\0';
    for (uint32_t s = 0; s < plan->n_steps && n < 4; s++) {
        if (!edited[s]) {
            continue;
        }
        first = n == 0 ? s : first;
        size_t length = strlen(where);
        snprintf(where + length, 160 - length, "%s%s", n == 0 ? "" : ", ",
                 n == 3 ? "…" : step_label(&plan->steps[s], label));
        n++;
    }
    return first;
}
