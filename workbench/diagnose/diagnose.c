#include "workbench/diagnose/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/config_numbers.h"
#include "workbench/diagnose/diagnose_internal.h"
#include "workbench/diagnose/precision.h"
#include "workbench/diagnose/relations.h"
#include "workbench/trace/sample.h"

const char *diagnosis_how_name(enum diagnosis_how how)
{
    static const char *const names[] = {"reproduced", "relation", "consistent"};
    ASSERT((unsigned)how < sizeof(names) / sizeof(*names));
    return names[how];
}

/* The rows of a step that can be judged, and room for the results of some of them at once. */
struct bench {
    const struct trace_stage *stage;
    struct rows rows;
    uint32_t at_once;
    double *expected, *bound; /* [at_once, width] */
};

static void bench_open(struct bench *bench, const struct plan *plan, uint32_t step, const struct trace *trace)
{
    *bench = (struct bench){.stage = trace_find_step(trace, &plan->steps[step])};
    rows_gather(&bench->rows, plan, step, trace, NULL);
    bench->at_once = rows_at_once(bench->rows.n, plan->steps[step].width);
    uint64_t n_values = (uint64_t)bench->at_once * plan->steps[step].width;
    bench->expected = xmalloc(n_values * sizeof(double));
    bench->bound = xmalloc(n_values * sizeof(double));
}

static void bench_close(struct bench *bench)
{
    rows_free(&bench->rows);
    free(bench->expected);
    free(bench->bound);
}

/* Computes rows [first, first + n) by a step, the right one or a mutant of it. */
static void bench_run(struct bench *bench, const struct step *step, const struct op_row *rows, uint32_t n)
{
    struct op_batch batch = {.step = step,
                             .weights_dtype = bench->stage->weights_dtype,
                             .n_rows = n,
                             .rows = rows,
                             .y = bench->expected,
                             .bound = bench->bound};
    op_run(&batch);
}

/* The worst ratio of row i of what was just computed. Values that are nonfinite on both sides agree. */
static double row_ratio(const struct bench *bench, const struct op_row *rows, uint32_t i)
{
    uint32_t width = bench->stage->width;
    const float *actual = bench->stage->rows + (uint64_t)rows[i].position * width;
    double worst = 0;
    for (uint32_t d = 0; d < width; d++) {
        uint64_t at = (uint64_t)i * width + d;
        double ratio = judge(bench->expected[at], actual[d], bench->bound[at]);
        if (ratio > worst) {
            worst = ratio;
        }
    }
    return worst;
}

/* Moves the failing rows to the front, in order. Returns how many there are. */
static uint32_t failing_to_front(struct bench *bench, const struct step *step)
{
    uint32_t n_failing = 0, n_rows = bench->rows.n;
    struct op_row *sorted = xcalloc(n_rows, sizeof(*sorted));
    uint32_t n_passing = 0;
    for (uint32_t first = 0; first < n_rows; first += bench->at_once) {
        uint32_t n = n_rows - first < bench->at_once ? n_rows - first : bench->at_once;
        bench_run(bench, step, bench->rows.rows + first, n);
        for (uint32_t i = 0; i < n; i++) {
            if (row_ratio(bench, bench->rows.rows + first, i) > 1) {
                sorted[n_failing++] = bench->rows.rows[first + i];
            } else {
                sorted[n_rows - ++n_passing] = bench->rows.rows[first + i];
            }
        }
    }
    free(bench->rows.rows);
    bench->rows.rows = sorted;
    return n_failing;
}

/* Whether a mutant explains the whole recorded stage: every row that can be judged, failing ones first. */
static bool mutant_reproduces(struct bench *bench, const struct step *mutant, double *worst)
{
    *worst = 0;
    for (uint32_t first = 0, n; first < bench->rows.n; first += n) { /* one row tells most mutants apart */
        n = first == 0 ? 1 : bench->rows.n - first < bench->at_once ? bench->rows.n - first : bench->at_once;
        bench_run(bench, mutant, bench->rows.rows + first, n);
        for (uint32_t i = 0; i < n; i++) {
            *worst = fmax(*worst, row_ratio(bench, bench->rows.rows + first, i));
            if (*worst > 1) {
                return false;
            }
        }
    }
    return true;
}

/* Whether a failing row holds a value that is not finite. */
static bool any_nonfinite(const struct bench *bench, uint32_t n_failing)
{
    for (uint32_t i = 0; i < n_failing; i++) {
        const float *row = trace_row(bench->stage, bench->rows.rows[i].position);
        for (uint32_t d = 0; d < bench->stage->width; d++) {
            if (!isfinite(row[d])) {
                return true;
            }
        }
    }
    return false;
}

bool diagnose_needs_exact(const struct fault *fault)
{
    return fault->edit == EDIT_VARIANT &&
           ((uint32_t)fault->value == VARIANT_READ_AS_F16 || (uint32_t)fault->value == VARIANT_QUERY_AS_F32);
}

static bool is_mutant(const struct fault *fault, const struct plan *plan, uint32_t step, bool nonfinite)
{
    return !fault->relation && fault->edit != EDIT_TAMPER && (!fault->nonfinite || nonfinite) &&
           fault_applies(fault, plan, step);
}

static uint32_t try_mutants(struct bench *bench, const struct plan *plan, uint32_t step, uint32_t n_failing,
                            struct diagnosis *found, uint32_t max)
{
    uint32_t n = 0, n_faults;
    const struct fault *faults = fault_list(&n_faults);
    bool nonfinite = any_nonfinite(bench, n_failing);
    for (uint32_t i = 0; i < n_faults && n < max; i++) {
        double worst;
        if (!is_mutant(&faults[i], plan, step, nonfinite)) {
            continue;
        }
        if (diagnose_needs_exact(&faults[i]) && bench->rows.rows[0].error[0]) {
            continue;
        }
        struct arena arena = {0};
        struct step mutant = fault_mutant(&faults[i], plan, step, &arena);
        bool reproduces = mutant_reproduces(bench, &mutant, &worst);
        arena_free(&arena);
        if (!reproduces) {
            continue;
        }
        struct diagnosis *diagnosis = &found[n++];
        snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", faults[i].name);
        snprintf(diagnosis->text, sizeof(diagnosis->text),
                 "%s; computed so, all %u rows come out as recorded (worst ratio %.3f), where the right op fails in %u",
                 faults[i].story, bench->rows.n, worst, n_failing);
        diagnosis->how = HOW_REPRODUCED;
        diagnosis->step = step;
        diagnosis->postmortem = faults[i].postmortem;
    }
    return n;
}

static bool step_holds(void *context, const struct step *step)
{
    double worst;
    return mutant_reproduces(context, step, &worst);
}

/* A parameter that is another than the model's. One row would be too little: any factor of it fits some eps. */
static bool try_parameters(struct bench *bench, const struct step *step, uint32_t step_index, uint32_t n_failing,
                           struct diagnosis *found)
{
    const struct op_row *rows = bench->rows.rows;
    struct parameters_case failing = {.step = step,
                                      .weights_dtype = bench->stage->weights_dtype,
                                      .lowest = &rows[0],
                                      .highest = &rows[n_failing - 1],
                                      .holds = step_holds,
                                      .context = bench};
    struct parameters_found parameter;
    if (n_failing < 2 || !parameters_find(&failing, &parameter)) {
        return false;
    }
    *found = (struct diagnosis){.how = HOW_REPRODUCED, .step = step_index, .postmortem = ""};
    snprintf(found->fault, sizeof(found->fault), "%s", parameter.name);
    snprintf(found->text, sizeof(found->text),
             "%s; computed so, all %u rows come out as recorded, where MODEL's value fails in %u", parameter.text,
             bench->rows.n, n_failing);
    return true;
}

/* Whether a relation that was found is the trace of a fault: at a stage that it strikes, in its phase, and as large. */
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
    if (fault->edit == EDIT_ROW_TIMES) {
        int64_t dim = evidence_only_dim(evidence);
        return fabs(evidence_actual(evidence, 0)[dim]) > 10 * fabs(evidence_expected(evidence, 0)[dim]);
    }
    char label[64];
    if (fault->edit != EDIT_TAMPER || (enum tamper)fault->value != TAMPER_SHARED_SLOT) {
        return true;
    }
    int32_t with = plan_find(evidence->plan, evidence->step->layer + 1, STAGE_q_proj);
    return strstr(relation->text, step_label(&evidence->plan->steps[with], label)) != NULL;
}

/* Gives relations the names of the faults that leave them. */
static void name_relations(const struct evidence *evidence, struct diagnosis *found, uint32_t n)
{
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n_faults; k++) {
            if (!relation_fits(&faults[k], evidence, &found[i])) {
                continue;
            }
            char evidence_text[512];
            memcpy(evidence_text, found[i].text, sizeof(evidence_text));
            snprintf(found[i].text, sizeof(found[i].text), "%.250s; as where %.240s", evidence_text, faults[k].story);
            snprintf(found[i].fault, sizeof(found[i].fault), "%s", faults[k].name);
            found[i].postmortem = faults[k].postmortem;
            break;
        }
    }
}

/* How much smaller or larger the failing rows are than they should be, where that is what strikes the eye. */
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
        snprintf(found->text + length, sizeof(found->text) - length, "; by rms the rows are %s by a factor %.3g",
                 factor > 1 ? "smaller" : "larger", factor > 1 ? factor : 1 / factor);
    }
}

/* Mutants of the ops that a failing step's span passes over. */
static uint32_t try_span(const struct bench *bench, const struct plan *plan, uint32_t step, const struct trace *trace,
                         uint32_t n_failing, struct diagnosis *found, uint32_t max)
{
    struct span_path path;
    span_path_find(&path, plan, step, trace);
    uint32_t n = diagnose_span(plan, step, trace, &path, bench->rows.rows[0].position, any_nonfinite(bench, n_failing),
                               found, max);
    span_path_free(&path);
    return n;
}

uint32_t diagnose_step(const struct plan *plan, uint32_t step_index, const struct trace *trace, struct diagnosis *found,
                       uint32_t max)
{
    const struct step *step = &plan->steps[step_index];
    struct bench bench;
    if (!trace_find(trace, step->layer, step->stage) || max == 0) {
        return 0;
    }
    bench_open(&bench, plan, step_index, trace);
    uint32_t n_failing = failing_to_front(&bench, step);
    uint32_t n = 0;
    if (n_failing > 0) {
        bool is_span = row_is_span(&bench.rows.rows[0]);
        n = try_mutants(&bench, plan, step_index, n_failing, found, max);
        if (is_span) {
            n += try_span(&bench, plan, step_index, trace, n_failing, found + n, max - n);
        }
        bool is_parameter = n == 0 && !is_span && try_parameters(&bench, step, step_index, n_failing, found);
        n += is_parameter;
        uint32_t n_mutants = n;
        uint32_t shown = n_failing < bench.at_once ? n_failing : bench.at_once;
        bench_run(&bench, step, bench.rows.rows, shown);
        struct evidence evidence = {.plan = plan,
                                    .step_index = step_index,
                                    .step = step,
                                    .trace = trace,
                                    .stage = bench.stage,
                                    .n = shown,
                                    .rows = bench.rows.rows,
                                    .expected = bench.expected,
                                    .bound = bench.bound};
        if (n == 0 && !is_span) {
            n = precision_find(&evidence, found, max);
        }
        uint32_t n_relations = is_parameter ? 0 : relations_find(&evidence, found + n, max - n);
        name_relations(&evidence, found + n, n_relations);
        n += n_relations;
        for (uint32_t i = n_mutants; i < n; i++) {
            found[i].step = step_index;
        }
        if (n > 0) {
            add_magnitude(&evidence, &found[0]);
        }
    }
    bench_close(&bench);
    return n;
}

/* Whether a mutant leaves the bound in any row; by a value that is not finite, if that is how it shows. */
static bool mutant_shows(struct bench *bench, const struct step *mutant, bool nonfinite)
{
    for (uint32_t i = 0; i < bench->rows.n; i++) {
        struct op_row row = bench->rows.rows[i];
        row.recorded = NULL; /* no mutant is to choose what comes closest to the healthy row */
        bench_run(bench, mutant, &row, 1);
        bool shows = !nonfinite && row_ratio(bench, bench->rows.rows + i, 0) > 1;
        for (uint32_t d = 0; nonfinite && d < bench->stage->width; d++) {
            shows = shows || !isfinite(bench->expected[d]);
        }
        if (shows) {
            return true;
        }
    }
    return false;
}

/* Whether the padding token's logit is the largest somewhere where a token was sampled. */
static bool pad_wins(const struct plan *plan, uint32_t step, const struct trace *healthy)
{
    const struct trace_stage *logits = trace_find(healthy, LAYER_NONE, STAGE_logits_final);
    const struct trace_stage *token = trace_find(healthy, LAYER_NONE, STAGE_sample_token);
    int32_t pad = plan->steps[step].op == OP_sample_token ? plan->steps[step].params.sample_token.masked_id : -1;
    for (uint32_t p = 0; logits && token && p < healthy->n_positions; p++) {
        const float *row = trace_row(logits, p);
        if (row && trace_row(token, p) && sample_greedy(row, logits->width, -1) == pad) {
            return true;
        }
    }
    return false;
}

bool fault_shows(const struct fault *fault, const struct plan *plan, uint32_t step, const struct trace *healthy)
{
    struct bench bench;
    struct arena arena = {0};
    if (fault->edit == EDIT_TAMPER && (enum tamper)fault->value == TAMPER_PAD_CHOSEN) {
        return pad_wins(plan, step, healthy);
    }
    if (fault->relation || fault->edit == EDIT_TAMPER) {
        return true;
    }
    bench_open(&bench, plan, step, healthy);
    struct step mutant = fault_mutant(fault, plan, step, &arena);
    bool shows = mutant_shows(&bench, &mutant, fault->nonfinite);
    bench_close(&bench);
    arena_free(&arena);
    return shows;
}
