#include "workbench/diagnose/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/attention/failing_heads.h"
#include "workbench/diagnose/config_numbers.h"
#include "workbench/diagnose/diagnose_internal.h"
#include "workbench/diagnose/precision.h"
#include "workbench/diagnose/proof.h"
#include "workbench/diagnose/relations/relations.h"
#include "workbench/diagnose/solver.h"

#define MOST_WORK 1e7 /* multiplications of a row that is computed some hundred times */

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

/* Whether a failing row holds NaN or infinity. */
static bool any_nonfinite(const struct op_trial *trial, uint32_t n_failing)
{
    for (uint32_t i = 0; i < n_failing; i++) {
        const float *row = trace_row(trial->stage, trial->rows.rows[i].position);
        for (uint32_t d = 0; d < trial->stage->width; d++) {
            if (!isfinite(row[d])) {
                return true;
            }
        }
    }
    return false;
}

/* Whether the fault, made to this step, may explain its failing rows. */
static bool can_explain(const struct fault *fault, const struct op_trial *trial, const struct plan *plan, uint32_t step,
                        bool nonfinite)
{
    return fault_is_mutant(fault) && (!fault->nonfinite || nonfinite) && fault_applies(fault, plan, step) &&
           !(fault->exact_input && trial->rows.rows[0].error[0]);
}

/* Mutants of the step. spares_some: their bug may have spared rows that are right. */
static uint32_t try_mutants(const struct solve *solve, bool spares_some, struct diagnosis *found, uint32_t max)
{
    const struct span_failure failure = {
        .plan = solve->evidence->plan, .step = solve->evidence->step_index, .trace = solve->evidence->trace};
    struct op_trial *trial = solve->trial;
    const struct evidence *right = solve->evidence;
    uint32_t n = 0, n_faults;
    const struct fault *faults = fault_list(&n_faults);
    bool nonfinite = any_nonfinite(trial, trial->n_failing);
    for (uint32_t i = 0; i < n_faults && n < max; i++) {
        struct proof proof = {.spares_some = spares_some};
        if (!can_explain(&faults[i], trial, right->plan, right->step_index, nonfinite)) {
            continue;
        }
        struct arena arena = {0};
        struct step mutant = fault_mutant(&faults[i], right->plan, right->step_index, &arena);
        struct candidate candidate = trial_candidate(trial, &mutant);
        candidate.spares_some = spares_some;
        bool explains = trial_explains(trial, &candidate, right, &proof.worst);
        arena_free(&arena);
        if (!explains || (faults[i].alone && !exchange_is_elsewhere(&faults[i], &failure, failure.step))) {
            continue;
        }
        struct diagnosis *diagnosis = &found[n++];
        *diagnosis = (struct diagnosis){.how = HOW_REPRODUCED,
                                        .kind = faults[i].kind,
                                        .step = right->step_index,
                                        .postmortem = faults[i].postmortem};
        snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", faults[i].name);
        if (spares_some) {
            proof_tell(solve, &proof, diagnosis, "%s", faults[i].story);
            continue;
        }
        snprintf(diagnosis->text, sizeof(diagnosis->text),
                 "%s Computed with this bug, all %u rows come out as recorded (worst ratio %.3f); the right op fails "
                 "in %u.",
                 faults[i].story, trial->rows.n, proof.worst, trial->n_failing);
    }
    return n;
}

static bool step_explains(void *context, const struct step *step)
{
    double worst;
    const struct solve *solve = context;
    const struct candidate candidate = trial_candidate(solve->trial, step);
    return trial_explains(solve->trial, &candidate, solve->evidence, &worst);
}

static double row_distance(void *context, const struct step *step, bool highest)
{
    const struct solve *solve = context;
    const struct op_row *row = &solve->trial->rows.rows[highest ? solve->trial->n_failing - 1 : 0];
    double *y = xcalloc(step->width, sizeof(*y)), sum = 0;
    uint32_t weights_dtype = solve->trial->stage->weights_dtype;
    op_run(&(struct op_batch){.step = step, .weights_dtype = weights_dtype, .n_rows = 1, .rows = row, .y = y});
    for (uint32_t i = 0; i < step->width; i++) {
        sum += (y[i] - row->recorded[i]) * (y[i] - row->recorded[i]);
    }
    free(y);
    return isfinite(sum) ? sum : INFINITY;
}

/* Whether a row can be computed some hundred times. */
static bool row_is_cheap(const struct step *step, const struct op_row *row)
{
    bool reads_keys = step->op == OP_attention || step->op == OP_attention_probs;
    return row->recorded && (reads_keys ? row->position + 1.0 : 1) * step->width <= MOST_WORK;
}

/* A number of the config that is not MODEL's. One failing row is too little: some eps explains any factor of it. */
static bool try_config_numbers(struct solve *solve, struct diagnosis *found)
{
    const struct op_trial *trial = solve->trial;
    const struct op_row *rows = trial->rows.rows, *lowest = &rows[0], *highest = &rows[trial->n_failing - 1];
    struct config_search search = {.step = solve->evidence->step,
                                   .lowest = lowest->position,
                                   .highest = highest->position,
                                   .distance = row_distance,
                                   .reproduces = step_explains,
                                   .context = solve};
    struct config_number number;
    if (trial->n_failing < 2 || !row_is_cheap(search.step, lowest) || !row_is_cheap(search.step, highest) ||
        !config_number_find(&search, &number)) {
        return false;
    }
    config_number_name(&number, solve->evidence->step_index, found);
    snprintf(found->text, sizeof(found->text),
             "%s. Computed with it, all %u rows come out as recorded; MODEL's value fails in %u.", number.text,
             trial->rows.n, trial->n_failing);
    return true;
}

/* Whether a relation that was found is the mark of a fault: at a stage that the fault can strike, in the phase where it
 * shows, and as large as it makes it. */
static bool relation_fits(const struct fault *fault, const struct evidence *evidence, const struct diagnosis *relation)
{
    if (!fault->relation || strcmp(fault->relation, relation->fault) != 0 ||
        !fault_applies(fault, evidence->plan, evidence->step_index)) {
        return false;
    }
    for (uint32_t i = 0; i < evidence->n && fault->decode_only; i++) {
        if (!evidence->rows[i].decode) {
            return false;
        }
    }
    if (fault->larger_than > 0) {
        int64_t dim = evidence_only_dim(evidence);
        return fabs(evidence_actual(evidence, 0)[dim]) > fault->larger_than * fabs(evidence_expected(evidence, 0)[dim]);
    }
    if (fault->tamper != TAMPER_SHARED_SLOT) {
        return true;
    }
    struct step edited = fault_mutant(fault, evidence->plan, evidence->step_index, NULL);
    char label[64]; /* of the step whose rows overwrite this one's */
    return strstr(relation->text, step_label(&evidence->plan->steps[edited.tamper.with], label)) != NULL;
}

/* Gives relations the names of the faults whose mark they are. */
static void name_relations(const struct evidence *evidence, struct diagnosis *found, uint32_t n)
{
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n_faults; k++) {
            if (!relation_fits(&faults[k], evidence, &found[i])) {
                continue;
            }
            char relation[512];
            memcpy(relation, found[i].text, sizeof(relation));
            snprintf(found[i].text, sizeof(found[i].text), "%.250s A known cause: %.240s", relation, faults[k].story);
            snprintf(found[i].fault, sizeof(found[i].fault), "%s", faults[k].name);
            found[i].kind = faults[k].kind;
            found[i].postmortem = faults[k].postmortem;
            break;
        }
    }
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
    span_path_find(&path, failure.plan, failure.step, failure.trace);
    failure.path = &path;
    failure.spans = trial->rows.own;
    failure.failing_position = trial->rows.rows[0].position;
    failure.nonfinite = any_nonfinite(trial, trial->n_failing);
    if (stage_is_integer(failure.plan->steps[failure.step].stage)) {
        failure.is_exchange = true;
    }
    uint32_t n = diagnose_span(&failure, found, max);
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
        n = try_mutants(&solve, false, found, max);
        n += n == 0 && (try_config_numbers(&solve, found) || solvers_try(&solve, found));
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
    bool explains = try_config_numbers(&failing.solve, found) || solvers_try(&failing.solve, found);
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
    uint32_t n = failure->no_mutants ? 0 : try_mutants(&solve, false, found, max);
    if (n == 0 && !failure->no_mutants && !is_span && trial->n_failing < trial->rows.n) {
        n = try_mutants(&solve, true, found, max);
    }
    if (is_span) {
        n += try_span(trial, *failure, found + n, max - n);
    }
    bool is_solved = n == 0 && (is_span ? try_solvers_near(failure, found)
                                        : try_config_numbers(&solve, found) || solvers_try(&solve, found));
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
    }
    uint32_t n_relations = is_solved ? 0 : relations_find(&evidence, found + n, max - n);
    name_relations(&evidence, found + n, n_relations);
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

bool fault_reproduces(const struct fault *fault, const struct plan *plan, uint32_t step, const struct trace *trace)
{
    struct op_trial trial;
    double worst;
    bool reproduces = false;
    trial_open(&trial, plan, step, trace);
    uint32_t n_failing = trial_sort_failing_first(&trial, &plan->steps[step]);
    if (n_failing > 0) {
        struct evidence evidence;
        evidence_open(&evidence, &trial, plan, step, trace);
        if (can_explain(fault, &trial, plan, step, any_nonfinite(&trial, n_failing))) {
            struct arena arena = {0};
            struct step mutant = fault_mutant(fault, plan, step, &arena);
            const struct candidate candidate = trial_candidate(&trial, &mutant);
            reproduces = trial_explains(&trial, &candidate, &evidence, &worst);
            arena_free(&arena);
        }
        evidence_close(&evidence);
    }
    trial_close(&trial);
    return reproduces;
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
