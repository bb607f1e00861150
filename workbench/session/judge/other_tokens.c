#include "workbench/session/judge/other_tokens.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/bounds.h"
#include "workbench/audit/hypotheses.h"
#include "workbench/session/diagnose_bugs.h"
#include "workbench/trace/sample.h"

/* A source's logits, and the step that makes them. */
struct choices {
    const struct trace *trace;
    const struct trace_stage *logits;
    enum rounding_type type; /* that the source computes in */
};

/* What the run of a type rounds in one step. */
static struct roundings roundings_in(const struct step *step, enum rounding_type type)
{
    uint8_t t = (uint8_t)type;
    return op_is_product(step->op)     ? (struct roundings){.operands = t, .weights = t}
           : op_is_attention(step->op) ? (struct roundings){.queries = t, .keys_values = t, .probs = t}
                                       : (struct roundings){0};
}

/* Runs a trace's tokens through the reference, everything rounded to a type. Returns the rows of the step, malloc'ed.
 */
static float *run_in(const struct plan *plan, uint32_t step, const struct trace *of, enum rounding_type type)
{
    struct trace tokens;
    struct spans spans;
    uint64_t size = (uint64_t)of->n_positions * plan->steps[step].width * sizeof(float);
    float *rows = xmalloc(size);
    uint8_t *need = xmalloc(of->n_positions);
    memset(need, 1, of->n_positions);
    trace_init(&tokens, "run", of->model_type, of->n_layers, of->n_positions, of->tokens, of->phase);
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        struct unrecorded_class class = {.op = plan->steps[s].op, .weights = step_weights_dtype(&plan->steps[s])};
        class.arith = tokens.arith;
        class.arith.roundings = roundings_in(&plan->steps[s], type);
        for (class.phase = PHASE_PREFILL; class.phase <= PHASE_DECODE && roundings_any(&class.arith.roundings);
             class.phase++) {
            trace_set_unrecorded(&tokens, &class);
        }
    }
    spans_open(&spans, plan, &tokens);
    spans.values_only = spans.whole_run = true;
    spans.stored = (uint8_t)type;
    memcpy(rows, spans_get(&spans, step, need)->stage.rows, size);
    spans_close(&spans);
    trace_free(&tokens);
    free(need);
    return rows;
}

/* The variance of a logit of every position in a source's arithmetic. Returns [n_positions], malloc'ed. */
static double *find_variance(const struct plan *plan, uint32_t step, const struct choices *source, const float *exact)
{
    uint32_t width = plan->steps[step].width, n = source->trace->n_positions;
    double *variance = xcalloc(n, sizeof(*variance));
    if (source->type == ROUNDING_NONE) {
        return variance;
    }
    float *rounded = run_in(plan, step, source->trace, source->type);
    for (uint64_t at = 0; at < (uint64_t)n * width; at++) {
        double off = (double)rounded[at] - exact[at];
        variance[at / width] += off * off / width;
    }
    free(rounded);
    return variance;
}

static bool is_judged(const struct comparison *comparison, uint32_t step, uint32_t t)
{
    const struct finding *finding = audit_finding(&comparison->audit, step, t);
    return finding->rows_judged > 0 && !finding_failed(finding);
}

/* logits_final, or logits, whose largest is the same. */
static struct choices choices_of(const struct comparison *comparison, uint32_t t)
{
    const struct trace *trace = comparison->list[t];
    const struct trace_stage *final = trace_find(trace, LAYER_NONE, STAGE_logits_final);
    const struct trace_stage *logits = final ? final : trace_find(trace, LAYER_NONE, STAGE_logits);
    double stored = trace->arith.u_storage;
    bool judged = logits && is_judged(comparison, (uint32_t)plan_find(comparison->plan, LAYER_NONE, logits->stage), t);
    return (struct choices){.trace = trace,
                            .logits = logits,
                            .type = stored == 0x1p-8                  ? ROUNDING_BF16
                                    : stored == 0x1p-11               ? ROUNDING_F16
                                    : trace->arith.roundings.operands ? trace->arith.roundings.operands
                                    : judged                          ? ROUNDING_NONE
                                                                      : ROUNDING_BF16};
}

/* Judges every position at which both chose; fills in the finding of the trace's logits, and which rows fail. */
static void judge_positions(struct finding *finding, const struct choices *ours, const struct choices *theirs,
                            const float *exact, const double *variance, char rows[48])
{
    uint32_t *position = xcalloc(ours->trace->n_positions, sizeof(*position));
    uint8_t *phase = xcalloc(ours->trace->n_positions, 1), *failed = xcalloc(ours->trace->n_positions, 1);
    uint32_t width = ours->logits->width;
    struct finding found = {.state = FINDING_AUDITED, .span = true, .rows_recorded = finding->rows_recorded};
    for (uint32_t p = 0; p < ours->trace->n_positions; p++) {
        const float *a = trace_row(ours->logits, p), *b = trace_row(theirs->logits, p);
        if (!a || !b) {
            continue;
        }
        uint32_t i = argmax(a, width), k = argmax(b, width);
        double limit = BOUND_LAMBDA * sqrt(2 * variance[p]);
        double ratio = i == k ? 0 : judge(0, ((double)a[i] - a[k]) + ((double)b[k] - b[i]), limit);
        position[found.rows_judged] = p;
        phase[found.rows_judged] = ours->trace->phase[p];
        failed[found.rows_judged++] = ratio > 1;
        if (ratio > 1 && found.rows_failed++ == 0) {
            found.position = p;
            found.dim = i;
            found.expected = exact[(uint64_t)p * width + i];
            found.actual = a[i];
            found.abs_error = fabs(found.actual - found.expected);
            found.bound = limit;
            found.ratio = ratio;
        }
        if (ratio > found.max_ratio) {
            found.max_ratio = ratio;
            found.worst_position = p;
            found.worst_dim = i;
        }
    }
    if (found.rows_failed > 0) {
        found.rms = finding->rms;
        found.max_abs = finding->max_abs;
        *finding = found;
        extent_rows(&(struct judged_rows){found.rows_judged, position, phase, failed}, rows);
    }
    free(failed);
    free(phase);
    free(position);
}

static bool any_fails(const struct comparison *comparison)
{
    bool any = false;
    for (uint32_t i = 0; i < comparison->plan->n_steps * comparison->n_traces; i++) {
        any |= finding_failed(&comparison->audit.findings[i]);
    }
    return any;
}

static bool choose_alike(const struct choices *ours, const struct choices *theirs)
{
    bool alike = true;
    for (uint32_t p = 0; p < ours->trace->n_positions && alike; p++) {
        const float *a = trace_row(ours->logits, p), *b = trace_row(theirs->logits, p);
        alike = !a || !b || argmax(a, ours->logits->width) == argmax(b, ours->logits->width);
    }
    return alike;
}

bool other_tokens_judge(struct comparison *comparison)
{
    uint32_t last = comparison->n_traces - 1;
    const struct plan *plan = comparison->plan;
    bool any = false;
    if (comparison->sources[last] != SOURCE_GOLDEN || comparison->golden_differs || any_fails(comparison)) {
        return false;
    }
    for (uint32_t t = 0; t < last && !stop_asked(); t++) {
        struct choices ours = choices_of(comparison, t), theirs = choices_of(comparison, last);
        if (!ours.logits || !theirs.logits || ours.trace->n_positions != theirs.trace->n_positions) {
            continue;
        }
        uint32_t step = (uint32_t)plan_find(plan, LAYER_NONE, ours.logits->stage);
        struct finding *finding = &comparison->audit.findings[(uint64_t)step * comparison->n_traces + t];
        if (is_judged(comparison, step, t) || choose_alike(&ours, &theirs)) {
            continue;
        }
        float *exact = run_in(plan, step, ours.trace, ROUNDING_NONE);
        double *variance = find_variance(plan, step, &ours, exact);
        double *of_golden = find_variance(plan, step, &theirs, exact);
        for (uint32_t p = 0; p < ours.trace->n_positions; p++) {
            variance[p] += of_golden[p];
        }
        judge_positions(finding, &ours, &theirs, exact, variance, comparison->diagnoses[0].extent.rows);
        any |= finding_failed(finding);
        free(of_golden);
        free(variance);
        free(exact);
    }
    return any;
}

void other_tokens_tell(struct comparison *comparison)
{
    const struct introduced *first = verdict_first(&comparison->verdict);
    const struct finding *finding = audit_finding(&comparison->audit, first->step, first->trace);
    struct diagnosis *told = &comparison->diagnoses[comparison->n_diagnoses];
    const struct extent extent = comparison->diagnoses[0].extent; /* as other_tokens_judge left it */
    *told = (struct diagnosis){.how = HOW_CONSISTENT,
                               .kind = KIND_SYMPTOM,
                               .postmortem = "",
                               .step = first->step,
                               .introduced = first->step,
                               .trace = first->trace};
    snprintf(told->fault, sizeof(told->fault), DIAGNOSIS_OTHER_TOKENS);
    snprintf(
        told->text, sizeof(told->text),
        "The place is unknown: no stage before the logits can be judged. At %u of %u positions another token is chosen "
        "than the golden's, by up to %.3g times what roundings explain. Record layer_out of every layer.",
        finding->rows_failed, finding->rows_judged, finding->max_ratio);
    diagnose_add(comparison, 1);
    told->extent = extent;
}
