#include "workbench/diagnose/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/attention/failing_heads.h"
#include "workbench/diagnose/diagnose_internal.h"
#include "workbench/diagnose/numbers/config_numbers.h"
#include "workbench/diagnose/precision.h"
#include "workbench/diagnose/proof.h"
#include "workbench/diagnose/relations/relations.h"
#include "workbench/diagnose/solver.h"

const char *diagnosis_how_name(enum diagnosis_how how)
{
    static const char *const names[] = {"reproduced", "relation", "consistent"};
    ASSERT((unsigned)how < sizeof(names) / sizeof(*names));
    return names[how];
}

struct solved solved_number(const char *name, double expected, double found)
{
    struct solved solved = {.expected = expected, .found = found};
    snprintf(solved.name, sizeof(solved.name), "%s", name);
    return solved;
}

/* Adds by what factor the failing rows are too small or too large, where it is conspicuous. */
static void add_magnitude(const struct evidence *evidence, struct diagnosis *found)
{
    double actual = 0, expected = 0;
    if (stage_is_integer(evidence->step->stage)) {
        return;
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            actual += (double)evidence_actual(evidence, i)[d] * evidence_actual(evidence, i)[d];
            expected += evidence_expected(evidence, i)[d] * evidence_expected(evidence, i)[d];
        }
    }
    double factor = sqrt(expected / actual);
    size_t length = strlen(found->text);
    if (isfinite(factor) && (factor > 1.25 || (factor < 0.8 && factor > 0))) {
        snprintf(found->text + length, sizeof(found->text) - length, " By rms the rows are %s by a factor of %.3g.",
                 factor > 1 ? "smaller" : "larger", factor > 1 ? factor : 1 / factor);
    }
}

/* Mutants of the ops inside the span that ends at the step. */
static uint32_t try_span(const struct op_trial *trial, struct span_failure failure, struct diagnosis *found,
                         uint32_t max)
{
    struct span_path path;
    struct spans spans; /* where the trial needed none: its inputs are recorded, and were rounded for the file alone */
    bool needs_spans = trial->rows.own == NULL;
    span_path_find(&path, failure.plan, failure.step, failure.trace);
    failure.path = &path;
    if (needs_spans) {
        spans_open(&spans, failure.plan, failure.trace);
    }
    failure.spans = needs_spans ? &spans : trial->rows.own;
    failure.failing_position = trial->rows.rows[0].position;
    failure.nonfinite = trial_any_nonfinite(trial);
    if (stage_is_integer(failure.plan->steps[failure.step].stage)) {
        failure.is_exchange = true;
    }
    uint32_t n = diagnose_span(&failure, found, max);
    if (needs_spans) {
        spans_close(&spans);
    }
    span_path_free(&path);
    return n;
}

/* The rows of the phase that fails, where the other phase's rows all pass: prefill and decode have kernels of their
 * own. Returns false where that is not so. part->rows.rows must be freed. */
static bool part_of_phase(struct op_trial *part, const struct op_trial *trial)
{
    bool decode = trial->rows.rows[0].decode;
    for (uint32_t i = 0; i < trial->n_failing; i++) {
        if (trial->rows.rows[i].decode != decode) {
            return false;
        }
    }
    *part = *trial;
    part->rows.rows = xcalloc(trial->rows.n, sizeof(*part->rows.rows));
    part->rows.n = 0;
    for (uint32_t i = 0; i < trial->rows.n; i++) {
        if (trial->rows.rows[i].decode == decode) {
            part->rows.rows[part->rows.n++] = trial->rows.rows[i];
        }
    }
    return true;
}

/* A bug that all rows of one phase have. */
static uint32_t explain_phase(const struct op_trial *trial, struct evidence *evidence, struct diagnosis *found,
                              uint32_t max)
{
    struct op_trial part;
    struct solve solve = {.trial = &part, .evidence = evidence};
    if (!part_of_phase(&part, trial)) {
        return 0;
    }
    uint32_t n = 0;
    if (part.rows.n < trial->rows.n) {
        n = mutants_try(&solve, false, found, max);
        n += n == 0 && (numbers_try(&solve, found) || solvers_try(&solve, found));
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t length = strlen(found[i].text);
        snprintf(found[i].text + length, sizeof(found[i].text) - length, " Only %s rows are wrong.",
                 part.rows.rows[0].decode ? "decode" : "prefill");
        found[i].step = evidence->step_index;
    }
    free(part.rows.rows);
    return n;
}

/* A bug that some heads alone have. */
static bool explain_heads(const struct solve *all, struct diagnosis *found)
{
    struct failing_heads failing;
    if (!failing_heads_open(&failing, all)) {
        return false;
    }
    bool explains = numbers_try(&failing.solve, found) || solvers_try(&failing.solve, found);
    if (explains) {
        failing_heads_tell(&failing, found);
    }
    failing_heads_close(&failing);
    return explains;
}

/* Solvers, on a step whose rows are judged from stages ahead of the optional ones that a file holds: the same step
 * judged from the optional stages, if it fails there as well. */
static bool try_solvers_near(const struct span_failure *failure, struct diagnosis *found)
{
    struct trace near = *failure->trace;
    struct span_failure nearest = *failure;
    struct op_trial trial;
    bool solved = false;
    near.from_file = false;
    nearest.trace = &near;
    trial_open(&trial, failure->plan, failure->step, &near);
    bool fails = failure->trace->from_file && trial.rows.n > 0 && !row_is_span(&trial.rows.rows[0]) &&
                 trial_sort_failing_first(&trial, &failure->plan->steps[failure->step]) > 0;
    if (fails) {
        struct evidence evidence;
        struct solve solve = {.trial = &trial, .evidence = &evidence};
        evidence_open(&evidence, &trial, nearest.plan, nearest.step, nearest.trace);
        solved = solvers_try(&solve, found);
        evidence_close(&evidence);
    }
    trial_close(&trial);
    return solved;
}

/* Explains the failing rows, which stand first. */
static uint32_t explain(struct op_trial *trial, const struct span_failure *failure, struct diagnosis *found,
                        uint32_t max)
{
    struct evidence evidence;
    struct solve solve = {.trial = trial, .evidence = &evidence};
    bool is_span = row_is_span(&trial->rows.rows[0]);
    evidence_open(&evidence, trial, failure->plan, failure->step, failure->trace);
    uint32_t n = failure->no_mutants ? 0 : mutants_try(&solve, false, found, max);
    if (n == 0 && !failure->no_mutants && !is_span && trial->n_failing < trial->rows.n) {
        n = mutants_try(&solve, true, found, max);
    }
    if (is_span) {
        n += try_span(trial, *failure, found + n, max - n);
    }
    bool is_solved = n == 0 && (is_span ? try_solvers_near(failure, found)
                                        : numbers_try(&solve, found) || solvers_try(&solve, found));
    n += is_solved;
    if (n == 0 && !is_span) {
        n = explain_phase(trial, &evidence, found, max);
        n += n == 0 && explain_heads(&solve, found);
        is_solved = n > 0;
    }
    uint32_t n_with_step = n; /* these say which step is wrong */
    if (n == 0 && !is_span) {
        n = precision_find(&evidence, found, max);
        n += n == 0 ? precision_of_attention(&solve, found, max) : 0;
        n += n == 0 ? precision_of_activation(&solve, found, max) : 0;
    }
    uint32_t n_relations = is_solved ? 0 : relations_find(&evidence, found + n, max - n);
    relations_name(&evidence, found + n, n_relations);
    n += n_relations;
    if (n == 0 && !is_span) {
        n = precision_within(&evidence, found, max);
    }
    for (uint32_t i = n_with_step; i < n; i++) {
        found[i].step = failure->step;
    }
    if (n > 0) {
        add_magnitude(&evidence, &found[0]);
    }
    evidence_close(&evidence);
    return n;
}

uint32_t diagnose_failure(const struct span_failure *failure, struct diagnosis *found, uint32_t max)
{
    struct op_trial trial;
    if (!trace_find_step(failure->trace, &failure->plan->steps[failure->step]) || max == 0) {
        return 0;
    }
    trial_open(&trial, failure->plan, failure->step, failure->trace);
    bool fails = trial_sort_failing_first(&trial, &failure->plan->steps[failure->step]) > 0;
    uint32_t n = fails ? explain(&trial, failure, found, max) : 0;
    trial_close(&trial);
    return n > 0 ? n : factor_explain(failure, found);
}

uint32_t diagnose_step(const struct plan *plan, uint32_t step, const struct trace *trace, struct diagnosis *found,
                       uint32_t max)
{
    return diagnose_failure(&(struct span_failure){.plan = plan, .step = step, .trace = trace}, found, max);
}

bool diagnose_is_same(const struct plan *plan, uint32_t step, const struct trace *trace, const struct diagnosis *known)
{
    const struct fault *fault = fault_by_name(known->fault);
    bool at_itself = known->step == known->introduced;
    struct diagnosis found[2]; /* of two bugs in one span, the known one is the first */
    if (!trace_find_step(trace, &plan->steps[step])) {
        return false;
    }
    if (at_itself && known->how == HOW_REPRODUCED && fault != NULL && fault_is_mutant(fault)) {
        return fault_reproduces(fault, plan, step, trace);
    }
    /* No mutant explained the known step, so none is tried: they take most of the time. */
    const struct span_failure failure = {
        .plan = plan, .step = step, .trace = trace, .no_mutants = at_itself, .known = known};
    return diagnose_failure(&failure, found, 2) > 0 && strcmp(found[0].fault, known->fault) == 0 &&
           found[0].how == known->how;
}
