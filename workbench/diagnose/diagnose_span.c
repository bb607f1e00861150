/* The diagnosis of a span: several ops of which only the last one's output is recorded. Each mutant is made in the
 * plan, the span is recomputed with it, and the span's recorded output is judged. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/diagnose_internal.h"

/* The step's rows in the trace's order: what a plan, right or edited, makes of them. */
struct span_rows {
    struct rows rows;
    double *y, *bound; /* [rows.n, width] */
    double worst;      /* ratio; infinity: a row fails, and the rows after it are not computed */
};

/* A failure, and what all mutants share. */
struct span_search {
    const struct span_failure *failure;
    struct trace one_row; /* the trace, but with one failing row of the step's output */
    struct spans base, base_of_one_row;
    struct span_rows right;
};

/* Diagnoses, those closest to the recorded rows first. */
struct ranked_diagnoses {
    struct diagnosis *list; /* [max] */
    double *worst;          /* [max] worst ratios */
    uint32_t n, max;
};

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
                                 .bound = span_rows->bound + at};
        op_run(&batch);
        for (uint64_t i = 0; i < (uint64_t)batch.n_rows * step->width; i++) {
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

/* The worst ratio with some steps edited by a fault. One failing row comes first: it rules out most mutants. */
static double try_edited(struct span_search *search, const struct fault *fault, const uint8_t *edited)
{
    struct plan mutant;
    struct arena arena = {0};
    plan_copy(&mutant, search->failure->plan);
    for (uint32_t s = 0; s < mutant.n_steps; s++) {
        if (edited[s]) {
            mutant.steps[s] = fault_mutant(fault, search->failure->plan, s, &arena);
        }
    }
    uint8_t *touched = touched_by(search->failure, edited);
    double worst = 0;
    for (int all = 0; all < 2 && worst <= 1; all++) {
        struct spans spans;
        spans_open(&spans, &mutant, all ? search->failure->trace : &search->one_row);
        spans.base = all ? &search->base : &search->base_of_one_row;
        spans.touched = touched;
        struct span_rows rows = {0};
        span_rows_compute(&rows, &mutant, search->failure->step, &spans, true);
        worst = rows.worst <= 1 && (!all || rows_tell(search, &rows)) ? rows.worst : INFINITY;
        span_rows_free(&rows);
        spans_close(&spans);
    }
    free(touched);
    plan_free(&mutant);
    arena_free(&arena);
    return worst;
}

/* Whether the op of a step can be computed with the bug, from inputs that are not exact. */
static bool can_mutate(const struct span_failure *failure, const struct fault *fault, uint32_t step)
{
    const struct plan *plan = failure->plan;
    if ((!fault_is_mutant(fault) && !fault->mutant_in_spans) || (fault->nonfinite && !failure->nonfinite) ||
        !fault_applies(fault, plan, step)) {
        return false;
    }
    return !fault->exact_input || !span_path_passes(failure->path, (uint32_t)plan->steps[step].input[0]);
}

/* The first three edited steps in words, and "…" if there are more. Returns the first one's index. */
static uint32_t name_edited(const struct plan *plan, const uint8_t *edited, char where[160])
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

/* Makes room in the list for a diagnosis of this ratio, and returns it; NULL: the list is full of better ones. */
static struct diagnosis *insert_ranked(struct ranked_diagnoses *found, double worst)
{
    uint32_t at = found->n;
    while (at > 0 && found->worst[at - 1] > worst) {
        at--;
    }
    if (at == found->max) {
        return NULL;
    }
    uint32_t moved = (found->n < found->max ? found->n : found->max - 1) - at;
    memmove(&found->list[at + 1], &found->list[at], moved * sizeof(*found->list));
    memmove(&found->worst[at + 1], &found->worst[at], moved * sizeof(*found->worst));
    found->n = at + moved + 1;
    found->worst[at] = worst;
    return &found->list[at];
}

/* Whether edited steps differ in their parameters: layers of both kinds are among them. */
static bool both_kinds(const struct plan *plan, const uint8_t *edited)
{
    const struct step *first = NULL;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (edited[s] && first && memcmp(&first->params, &plan->steps[s].params, sizeof(first->params)) != 0) {
            return true;
        }
        first = edited[s] && !first ? &plan->steps[s] : first;
    }
    return false;
}

/* An exchange of two kinds of layers that one kind alone has: it is told as what it is there, another window. */
static void tell_alone(const struct plan *plan, const struct fault *fault, const char *where, struct diagnosis *found)
{
    char is[16] = "none", had[16] = "none";
    struct step wrong = fault_mutant(fault, plan, found->step, NULL);
    const struct step *right = &plan->steps[found->step];
    uint32_t window = wrong.params.attention.window, right_window = right->params.attention.window;
    if (window != 0) {
        snprintf(is, sizeof(is), "%u", window);
    }
    if (right_window != 0) {
        snprintf(had, sizeof(had), "%u", right_window);
    }
    found->solved = solved_number("sliding_window", right_window, window);
    found->postmortem = "";
    snprintf(found->fault, sizeof(found->fault), "%s", fault->alone);
    snprintf(found->text, sizeof(found->text),
             "sliding_window is %s where MODEL has %s, here in %.110s, which is not recorded: computed so, the rows "
             "recorded "
             "after it come out as recorded. No layer of the other kind is found to have it.",
             is, had, where);
}

static void add_found(const struct span_failure *failure, const struct fault *fault, const uint8_t *edited,
                      double worst, struct ranked_diagnoses *found)
{
    char where[160];
    const struct plan *plan = failure->plan;
    uint32_t first = name_edited(plan, edited, where);
    struct diagnosis *diagnosis = insert_ranked(found, worst);
    if (diagnosis == NULL) {
        return;
    }
    *diagnosis =
        (struct diagnosis){.how = HOW_REPRODUCED, .kind = fault->kind, .postmortem = fault->postmortem, .step = first};
    snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", fault->name);
    snprintf(
        diagnosis->text, sizeof(diagnosis->text),
        "%.240s Here in %.110s, which is not recorded: computed with this bug, the rows recorded after it come out as "
        "recorded (worst ratio %.3f).",
        fault->story, where, worst);
    if (fault->alone && !failure->is_exchange && !both_kinds(plan, edited) &&
        !exchange_is_elsewhere(fault, failure, first)) {
        tell_alone(plan, fault, where, diagnosis);
    }
}

/* A fault in all steps of the span that it can strike; if that fails, in each of them alone. */
static void try_fault(struct span_search *search, const struct fault *fault, struct ranked_diagnoses *found)
{
    const struct span_failure *failure = search->failure;
    const struct span_path *path = failure->path;
    uint8_t *all = xcalloc(failure->plan->n_steps, 1), *one = xcalloc(failure->plan->n_steps, 1);
    uint32_t n = 0;
    for (uint32_t i = 0; i <= path->n_between; i++) {
        uint32_t s = i < path->n_between ? path->between[i] : failure->step;
        n += all[s] = can_mutate(failure, fault, s);
    }
    double worst = n > 1 ? try_edited(search, fault, all) : INFINITY;
    if (worst <= 1) {
        add_found(failure, fault, all, worst, found);
    }
    for (uint32_t i = 0; i < path->n_between && worst > 1; i++) {
        uint32_t s = path->between[i];
        if (!all[s]) {
            continue;
        }
        one[s] = 1;
        double alone = try_edited(search, fault, one);
        if (alone <= 1) {
            add_found(failure, fault, one, alone, found);
        }
        one[s] = 0;
    }
    free(one);
    free(all);
}

/* Makes the trace with one row of the step's output. Its other stages are borrowed. */
static void keep_one_row(struct span_search *search)
{
    const struct trace *trace = search->failure->trace;
    const struct step *step = &search->failure->plan->steps[search->failure->step];
    search->one_row = *trace;
    search->one_row.stages = xmalloc(trace->n_stages * sizeof(*trace->stages));
    memcpy(search->one_row.stages, trace->stages, trace->n_stages * sizeof(*trace->stages));
    struct trace_stage whole; /* the trace's own, which stays as it is */
    trace_hide_others(trace, trace_find_step(&search->one_row, step), search->failure->failing_position, 1, &whole);
}

uint32_t diagnose_span(const struct span_failure *failure, struct diagnosis *found, uint32_t max)
{
    struct span_search search = {.failure = failure};
    struct ranked_diagnoses ranked = {.list = found, .max = max, .worst = xcalloc((uint64_t)max + 1, sizeof(double))};
    keep_one_row(&search);
    spans_open(&search.base, failure->plan, failure->trace);
    spans_open(&search.base_of_one_row, failure->plan, &search.one_row);
    span_rows_compute(&search.right, failure->plan, failure->step, &search.base, false);
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    for (uint32_t i = 0; i < n_faults; i++) {
        try_fault(&search, &faults[i], &ranked);
    }
    span_rows_free(&search.right);
    spans_close(&search.base_of_one_row);
    spans_close(&search.base);
    free(trace_find_step(&search.one_row, &failure->plan->steps[failure->step])->recorded);
    free(search.one_row.stages);
    free(ranked.worst);
    return ranked.n;
}
