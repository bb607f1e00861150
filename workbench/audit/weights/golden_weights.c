#include "workbench/audit/weights/golden_weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/audit/weights/rounding_evidence.h"

const char *golden_weights_name(enum golden_weights_kind kind)
{
    static const char *const names[] = {NULL, "same", "other-precision", "other"};
    ASSERT((unsigned)kind < sizeof(names) / sizeof(*names));
    return names[kind];
}

const char *golden_weights_tensor(const struct step *step)
{
    return step->weight[0] ? step->weight[0]->name : "";
}

/* Whether a span that ends at the step covers an op with rounded weights, its own included. */
static bool covers_rounded(const struct plan *plan, uint32_t step, const struct trace *golden)
{
    struct span_path path;
    bool covers = rounding_has_weights(&plan->steps[step]);
    span_path_find(&path, plan, step, golden);
    for (uint32_t i = 0; i < path.n_between; i++) {
        covers |= rounding_has_weights(&plan->steps[path.between[i]]);
    }
    span_path_free(&path);
    return covers;
}

static enum golden_step judge_step(const struct plan *plan, uint32_t step, const struct trace *golden,
                                   const struct finding *finding, struct rounding_evidence *evidence, char why[160])
{
    const struct step *at = &plan->steps[step];
    *evidence = (struct rounding_evidence){0};
    if (rounding_has_weights(at)) {
        rounding_evidence_gather(evidence, plan, step, golden);
        if (evidence->n_values > 0) {
            return rounding_explains(evidence, why) ? GOLDEN_STEP_ROUNDING : GOLDEN_STEP_OTHER;
        }
    }
    if (finding->span && covers_rounded(plan, step, golden)) {
        return GOLDEN_STEP_COVERED;
    }
    snprintf(why, 160, at->weight[0] ? "MODEL holds it in %s, and the golden does not follow from it" : "%s",
             at->weight[0] ? dtype_info(at->weight[0]->dtype)->name : "it has no weights");
    return GOLDEN_STEP_OTHER;
}

enum golden_step golden_step_judge(const struct plan *plan, uint32_t step, const struct trace *golden,
                                   const struct finding *finding, char why[160])
{
    struct rounding_evidence evidence;
    return judge_step(plan, step, golden, finding, &evidence, why);
}

static struct finding *finding_of(struct audit *audit, uint32_t step, uint32_t t)
{
    return &audit->findings[(uint64_t)step * audit->n_traces + t];
}

static void take_rms(struct golden_weights *weights, const struct rounding_evidence *evidence)
{
    double rms = rounding_limits(evidence).rms;
    weights->least_rms = weights->n_rounding == 0 ? rms : fmin(weights->least_rms, rms);
    weights->most_rms = weights->n_rounding == 0 ? rms : fmax(weights->most_rms, rms);
    weights->n_rounding++;
}

/* Judges every failing step of the golden. verdicts[n_steps]: what each is. */
static void judge_steps(struct golden_weights *weights, const struct audit *audit, uint32_t t,
                        const struct trace *golden, uint8_t *verdicts)
{
    for (uint32_t s = 0; s < audit->plan->n_steps && !stop_asked(); s++) {
        const struct finding *finding = audit_finding(audit, s, t);
        struct rounding_evidence evidence;
        struct golden_accusation accusation = {.step = s};
        verdicts[s] = GOLDEN_STEP_OTHER;
        if (!finding_failed(finding)) {
            continue;
        }
        verdicts[s] = (uint8_t)judge_step(audit->plan, s, golden, finding, &evidence, accusation.why);
        if (verdicts[s] == GOLDEN_STEP_ROUNDING) {
            take_rms(weights, &evidence);
        } else if (verdicts[s] == GOLDEN_STEP_COVERED) {
            weights->n_covered++;
        } else if (audit->plan->steps[s].weight[0]) { /* where an op has no weights, the golden itself is wrong */
            weights->accused = xrealloc(weights->accused, (weights->n_accused + 1) * sizeof(*weights->accused));
            weights->accused[weights->n_accused++] = accusation;
        }
    }
}

void golden_weights_judge(struct golden_weights *weights, struct audit *audit, uint32_t t, const struct trace *golden,
                          const struct audit *own)
{
    uint32_t n_steps = audit->plan->n_steps;
    uint8_t *verdicts = xmalloc(n_steps);
    *weights = (struct golden_weights){0};
    ASSERT(!own || (own->n_traces == 1 && own->plan->n_steps == n_steps));
    for (uint32_t s = 0; s < n_steps; s++) {
        finding_of(audit, s, t)->other_precision = false; /* of an earlier judgement */
    }
    judge_steps(weights, audit, t, golden, verdicts);
    /* What cannot be told is excused only where something could be told, and was rounding. */
    bool excuses = weights->n_rounding > 0 && weights->n_accused == 0;
    weights->kind = weights->n_accused > 0                  ? GOLDEN_WEIGHTS_OTHER
                    : weights->n_rounding > 0               ? GOLDEN_WEIGHTS_PRECISION
                    : weights->n_covered > 0 && own == NULL ? GOLDEN_WEIGHTS_OTHER
                    : weights->n_covered > 0                ? GOLDEN_WEIGHTS_PRECISION
                                                            : GOLDEN_WEIGHTS_SAME;
    for (uint32_t s = 0; s < n_steps; s++) {
        struct finding *finding = finding_of(audit, s, t);
        bool rounding =
            verdicts[s] == GOLDEN_STEP_ROUNDING || (verdicts[s] == GOLDEN_STEP_COVERED && (excuses || own != NULL));
        bool failed = finding_failed(finding);
        bool accused = failed && !rounding && audit->plan->steps[s].weight[0];
        if (own && !accused) {
            *finding = *audit_finding(own, s, 0);
        } else if (failed && rounding) {
            finding->other_precision = true;
        }
    }
    free(verdicts);
}

void golden_weights_free(struct golden_weights *weights)
{
    free(weights->accused);
    *weights = (struct golden_weights){0};
}
