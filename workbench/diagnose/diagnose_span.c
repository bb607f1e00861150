/* The diagnosis of a span: which known bug, in one of the ops whose stages are not recorded, explains what came out at
 * the end. Each mutant is made in the plan, the span is computed again through it, and what it gives is judged. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/audit/audit.h"
#include "workbench/diagnose/diagnose_internal.h"

/* What is to be explained. */
struct riddle {
    const struct plan *plan;
    uint32_t step;
    const struct trace *trace;
    struct trace one; /* the trace, as if of the step's output one failing row alone were recorded */
    struct spans base, base_of_one;
    const struct span_path *path;
};

/* The worst ratio of the step's recorded rows; infinity as soon as one fails. */
static double worst_ratio(const struct plan *plan, uint32_t step_index, const struct trace *trace, struct spans *spans)
{
    const struct step *step = &plan->steps[step_index];
    const struct trace_stage *output = trace_find_step(trace, step);
    struct rows rows;
    rows_gather(&rows, plan, step_index, trace, spans);
    uint32_t at_once = rows_at_once(rows.n, step->width);
    double *y = xmalloc(((uint64_t)at_once * step->width + 1) * sizeof *y), worst = rows.n > 0 ? 0 : INFINITY;
    double *bound = xmalloc(((uint64_t)at_once * step->width + 1) * sizeof *bound);
    for (uint32_t first = 0; first < rows.n && worst <= 1; first += at_once) {
        struct op_batch batch = {.step = step,
                                 .weights_dtype = output->weights_dtype,
                                 .n_rows = rows.n - first < at_once ? rows.n - first : at_once,
                                 .rows = rows.rows + first,
                                 .y = y,
                                 .bound = bound};
        op_run(&batch);
        for (uint64_t i = 0; i < (uint64_t)batch.n_rows * step->width && worst <= 1; i++) {
            double ratio =
                judge(y[i], trace_row(output, batch.rows[i / step->width].position)[i % step->width], bound[i]);
            worst = ratio > worst ? ratio : worst;
        }
    }
    free(bound);
    free(y);
    rows_free(&rows);
    return worst <= 1 ? worst : INFINITY;
}

/* What the edited steps reach. */
static uint8_t *touched_by(const struct riddle *riddle, const uint8_t *edited)
{
    const struct plan *plan = riddle->plan;
    uint8_t *touched = xcalloc(plan->n_steps, 1), *between = xcalloc(plan->n_steps, 1);
    for (uint32_t i = 0; i < riddle->path->n_between; i++)
        between[riddle->path->between[i]] = 1;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        touched[s] = edited[s];
        for (unsigned i = 0; i < OP_MAX_INPUTS && between[s]; i++)
            touched[s] |= plan->steps[s].input[i] >= 0 && touched[plan->steps[s].input[i]];
    }
    free(between);
    return touched;
}

/* The worst ratio with some steps edited by a fault: first of one failing row, which tells most mutants apart. */
static double try_edited(struct riddle *riddle, const struct fault *fault, const uint8_t *edited)
{
    struct plan mutant;
    struct arena arena = {0};
    plan_copy(&mutant, riddle->plan);
    for (uint32_t s = 0; s < mutant.n_steps; s++)
        if (edited[s])
            mutant.steps[s] = fault_mutant(fault, riddle->plan, s, &arena);
    uint8_t *touched = touched_by(riddle, edited);
    double worst = 0;
    for (int all = 0; all < 2 && worst <= 1; all++) {
        struct spans spans;
        spans_open(&spans, &mutant, all ? riddle->trace : &riddle->one);
        spans.base = all ? &riddle->base : &riddle->base_of_one;
        spans.touched = touched;
        worst = worst_ratio(&mutant, riddle->step, spans.trace, &spans);
        spans_close(&spans);
    }
    free(touched);
    plan_free(&mutant);
    arena_free(&arena);
    return worst;
}

/* Whether the op of a step can be computed as the fault has it, from inputs that are not exact. */
static bool can_mutate(const struct riddle *riddle, const struct fault *fault, uint32_t step, bool nonfinite)
{
    bool edits = !fault->relation || fault->edit == EDIT_EXCHANGE || fault->edit == EDIT_PAIR_ORDER;
    if (!edits || fault->edit == EDIT_TAMPER || (fault->nonfinite && !nonfinite) ||
        !fault_applies(fault, riddle->plan, step))
        return false;
    return !diagnose_needs_exact(fault) || !path_passes(riddle->path, (uint32_t)riddle->plan->steps[step].input[0]);
}

static void take(const struct riddle *riddle, const struct fault *fault, const uint8_t *edited, double worst,
                 struct span_diagnoses *found)
{
    char label[64], where[160] = "";
    uint32_t n = 0, first = 0;
    for (uint32_t s = 0; s < riddle->plan->n_steps; s++) {
        if (!edited[s])
            continue;
        first = n == 0 ? s : first;
        size_t length = strlen(where);
        if (n < 4)
            snprintf(where + length, sizeof where - length, "%s%s",
                     n == 0   ? ""
                     : n == 3 ? ", …"
                              : ", ",
                     n == 3 ? "" : step_label(&riddle->plan->steps[s], label));
        n++;
    }
    uint32_t at = found->n;
    while (at > 0 && found->worst[at - 1] > worst)
        at--;
    if (at == found->max)
        return;
    uint32_t moved = (found->n < found->max ? found->n : found->max - 1) - at;
    memmove(&found->list[at + 1], &found->list[at], moved * sizeof *found->list);
    memmove(&found->worst[at + 1], &found->worst[at], moved * sizeof *found->worst);
    found->n = at + moved + 1;
    found->worst[at] = worst;
    struct diagnosis *diagnosis = &found->list[at];
    *diagnosis = (struct diagnosis){.how = HOW_REPRODUCED, .postmortem = fault->postmortem, .step = first};
    snprintf(diagnosis->fault, sizeof diagnosis->fault, "%s", fault->name);
    snprintf(
        diagnosis->text, sizeof diagnosis->text,
        "%.300s; in %.110s, which is not recorded: computed so, what is recorded after it follows (worst ratio %.3f)",
        fault->story, where, worst);
}

/* A fault in all steps of the span that it can strike, and in each of them alone. */
static void try_fault(struct riddle *riddle, const struct fault *fault, bool nonfinite, struct span_diagnoses *found)
{
    const struct span_path *path = riddle->path;
    uint8_t *all = xcalloc(riddle->plan->n_steps, 1), *one = xcalloc(riddle->plan->n_steps, 1);
    uint32_t n = 0;
    for (uint32_t i = 0; i <= path->n_between; i++) {
        uint32_t s = i < path->n_between ? path->between[i] : riddle->step;
        n += all[s] = can_mutate(riddle, fault, s, nonfinite);
    }
    double worst = n > 1 ? try_edited(riddle, fault, all) : INFINITY;
    if (worst <= 1)
        take(riddle, fault, all, worst, found);
    for (uint32_t i = 0; i < path->n_between && worst > 1; i++) {
        uint32_t s = path->between[i];
        if (!all[s])
            continue;
        one[s] = 1;
        double alone = try_edited(riddle, fault, one);
        if (alone <= 1)
            take(riddle, fault, one, alone, found);
        one[s] = 0;
    }
    free(one);
    free(all);
}

/* The trace with one row of the step's output. Its other stages are the trace's. */
static void hide_but_one(struct riddle *riddle, uint32_t position)
{
    const struct trace *trace = riddle->trace;
    const struct step *step = &riddle->plan->steps[riddle->step];
    riddle->one = *trace;
    riddle->one.stages = xmalloc(trace->n_stages * sizeof *trace->stages);
    memcpy(riddle->one.stages, trace->stages, trace->n_stages * sizeof *trace->stages);
    struct trace_stage whole; /* the trace's own, which stays */
    trace_hide_others(trace, trace_find_step(&riddle->one, step), position, 1, &whole);
}

uint32_t diagnose_span(const struct plan *plan, uint32_t step, const struct trace *trace, const struct span_path *path,
                       uint32_t failing_position, bool nonfinite, struct diagnosis *found, uint32_t max)
{
    struct riddle riddle = {.plan = plan, .step = step, .trace = trace, .path = path};
    struct span_diagnoses list = {.list = found, .max = max, .worst = xcalloc((uint64_t)max + 1, sizeof(double))};
    hide_but_one(&riddle, failing_position);
    spans_open(&riddle.base, plan, trace);
    spans_open(&riddle.base_of_one, plan, &riddle.one);
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    for (uint32_t i = 0; i < n_faults; i++)
        try_fault(&riddle, &faults[i], nonfinite, &list);
    spans_close(&riddle.base_of_one);
    spans_close(&riddle.base);
    free(trace_find_step(&riddle.one, &plan->steps[step])->recorded);
    free(riddle.one.stages);
    free(list.worst);
    return list.n;
}
