#include "workbench/audit/arithmetic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/audit/hypotheses.h"
#include "workbench/audit/span_roundings.h"
#include "workbench/audit/weights/rounding_evidence.h"

#define MOST_ERROR 0.5    /* of the squares of float32's errors: what roundings that really happen leave at most */
#define LITTLE_ERROR 0.01 /* of the same: so little that no other supposition is tried */

bool arithmetic_may_explain_span(const struct finding *finding)
{
    return finding->span && (span_may_be_rounded(&finding->fit[0]) || span_may_be_rounded(&finding->fit[1]));
}

/* Classes of which a step passes that was judged from its recorded inputs: what it rounds is known. */
static void find_known(struct search *search, const struct audit *audit, uint32_t t)
{
    const struct plan *plan = search->plan;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct finding *finding = audit_finding(audit, s, t);
        const struct step *step = &plan->steps[s];
        if (!supposition_is_about(step) || finding->state != FINDING_AUDITED || finding->span ||
            finding_failed(finding)) {
            continue;
        }
        const struct trace_stage *stage = trace_find_step(search->trace, step);
        const struct unrecorded_class class = {step->op, step_weights_dtype(step), search->phase,
                                               *trace_stage_arith(stage, search->phase)};
        trace_set_unrecorded(search->trace, &class);
        for (uint32_t other = 0; other < plan->n_steps; other++) {
            search->known[other] |=
                plan->steps[other].op == step->op && step_weights_dtype(&plan->steps[other]) == class.weights;
        }
    }
}

/* The spans with rows in the phase. Returns how many fail by no more than roundings may. */
static uint32_t find_spans(struct search *search, const struct audit *audit, uint32_t t)
{
    uint32_t n_failing = 0;
    for (uint32_t s = 0; s < search->plan->n_steps && !stop_asked(); s++) {
        const struct finding *finding = audit_finding(audit, s, t);
        if (finding->state != FINDING_AUDITED || !finding->span || finding->rows_judged == 0) {
            continue;
        }
        const struct trace_stage *stage = trace_find_step(search->trace, &search->plan->steps[s]);
        uint32_t n_rows = 0;
        for (uint32_t p = 0; p < search->trace->n_positions; p++) {
            n_rows += stage->recorded[p] && search->trace->phase[p] == search->phase;
        }
        if (n_rows > 0) {
            struct fit *fit = &search->fits[search->n];
            *fit = finding->rows_failed == 0         ? (struct fit){0}
                   : search->trace->n_unrecorded > 0 ? span_fit(search, s, search->trace)
                                                     : finding->fit[search->phase];
            search->steps[search->n++] = s;
            n_failing += span_may_be_rounded(fit);
        }
    }
    return n_failing;
}

/* Whether a span begins at stages that no span before began at, and passes over no attention, whose rows share keys. So
 * rows of one are independent of those of others. Marks where it begins in begun[n_steps]. */
static bool is_independent(const struct search *search, uint32_t step, uint8_t *begun)
{
    struct span_path path;
    span_path_find(&path, search->plan, step, search->trace);
    bool independent = !op_is_attention(search->plan->steps[step].op);
    for (uint32_t i = 0; i < path.n_between; i++) {
        independent &= !op_is_attention(search->plan->steps[path.between[i]].op);
    }
    for (uint32_t i = 0; i < path.n_from; i++) {
        independent &= !begun[path.from[i]];
    }
    for (uint32_t i = 0; i < path.n_from && independent; i++) {
        begun[path.from[i]] = 1;
    }
    span_path_free(&path);
    return independent;
}

/* Whether a supposition points where the errors do, more than by chance. A rounding that did not happen adds what is
 * independent of the error that is there: the cosine of a row is as likely positive as negative. The sum of such
 * cosines exceeds sqrt(2 UNLIKELY) times the root of their squares' sum with a chance of exp(-UNLIKELY) (Efron 1969,
 * for symmetric numbers). So 64 rows are needed at least. */
static bool surely_nearer(const struct nearness *nearness)
{
    return nearness->sum > 0 && nearness->sum > sqrt(2 * UNLIKELY * nearness->squares);
}

/* How well a supposition does. Logarithms, because one span may have a bug, whose size would hide what the others tell.
 */
struct merit {
    bool holds;               /* it explains the spans, and leaves far less error in those that failed */
    uint32_t n_explained;     /* spans */
    double log_error;         /* what it leaves: the sum of its logarithms over the spans that failed */
    double log_left;          /* of it, the mean logarithm of the share of the error before */
    struct nearness nearness; /* of values that were rounded for the file */
};

/* Adds a span that failed, if its values were rounded for the file. */
static void add_nearness(struct nearness *nearness, const struct search *search, uint32_t step,
                         const struct trace *supposed, uint8_t *begun)
{
    if (span_is_rounded(search, step) && is_independent(search, step, begun)) {
        span_add_nearness(nearness, search, step, supposed);
    }
}

/* Whether roundings that really happen left so much of the error before. Of values that were rounded for the file they
 * leave more, because recorded inputs may round to another neighbour than those of the run. */
static bool leaves_little(const struct merit *merit)
{
    return merit->log_left < log(MOST_ERROR) || (merit->nearness.log_left < 0 && surely_nearer(&merit->nearness));
}

/* already: rows of another phase that the same supposition brings nearer. */
static struct merit judge_supposition(const struct search *search, const struct supposition *supposition,
                                      const struct nearness *already)
{
    struct trace copy;
    struct merit merit = {.nearness = *already};
    uint32_t n_missed = 0, n_failed = 0, n_less = 0;
    uint8_t *missed = xcalloc(search->plan->n_steps, 1), *begun = xcalloc(search->plan->n_steps, 1);
    trace_copy(&copy, search->trace);
    span_suppose(search, &copy, supposition);
    for (uint32_t i = 0; i < search->n && arithmetic_may_miss(n_missed, search->n) && !stop_asked(); i++) {
        const struct fit fit = span_fit(search, search->steps[i], &copy);
        const struct fit *before = &search->fits[i];
        bool explained = fit.n_failed == 0 && fit.n_judged > 0;
        n_missed += !explained && span_is_missed_anew(search, search->steps[i], missed);
        merit.n_explained += explained;
        if (before->n_failed == 0) {
            continue;
        }
        double log_error = log(fit.error + FLT_EPSILON * FLT_EPSILON * fit.n_rows);
        n_failed++;
        double most = span_is_rounded(search, search->steps[i]) ? 1 : MOST_ERROR;
        n_less += explained && fit.error < most * before->error;
        add_nearness(&merit.nearness, search, search->steps[i], &copy, begun);
        merit.nearness.log_left += log_error - log(before->error);
        merit.log_error += log_error;
        merit.log_left += log_error - log(before->error);
    }
    trace_free(&copy);
    free(missed);
    free(begun);
    merit.log_left /= n_failed > 0 ? n_failed : 1;
    merit.holds = arithmetic_may_miss(n_missed, search->n) && n_less >= 2 && leaves_little(&merit);
    return merit;
}

/* Whether one supposition is to be taken in place of another: it comes nearer. If it explains fewer spans it comes far
 * nearer: roundings that did not happen make bounds wide, which hides bugs; those that did leave hardly any error. Of
 * values that were rounded for the file (they have a nearness) bounds are wide anyway: it must come nearer at least. */
static bool is_better(const struct merit *merit, const struct merit *than, uint32_t n)
{
    if (!merit->holds || !than->holds) {
        return merit->holds;
    }
    double less = merit->nearness.squares > 0 ? 0 : n * -log(MOST_ERROR);
    return merit->n_explained == than->n_explained  ? merit->log_error < than->log_error
           : merit->n_explained < than->n_explained ? merit->log_error < than->log_error - less
                                                    : merit->log_error < than->log_error + less;
}

/* Tells the classes of a supposition that holds. */
static void tell(const struct search *search, const struct supposition *supposition, struct arithmetic *arithmetic,
                 uint32_t n_explained)
{
    for (uint32_t s = 0; s < search->plan->n_steps; s++) {
        const struct step *step = &search->plan->steps[s];
        struct arithmetic_class class = {.op = step->op,
                                         .weights = step_weights_dtype(step),
                                         .n_explained = n_explained,
                                         .n_steps = search->n,
                                         .spans = true};
        if (!supposition_is_about(step) || search->known[s]) {
            continue;
        }
        class.roundings = supposition_of(supposition, step);
        class.phase[search->phase] = true;
        if (roundings_any(&class.roundings)) {
            arithmetic_add(arithmetic, &class);
        }
    }
}

/* What was found of a phase, and is tried first in the next one. */
struct found {
    struct supposition supposition;
    struct nearness nearness;
};

/* One phase; *found: of the other one. Returns whether anything was inferred. */
static bool infer_phase(struct search *search, const struct audit *audit, uint32_t t, struct arithmetic *arithmetic,
                        struct found *found)
{
    struct supposition *supposition = &found->supposition;
    struct nearness already = found->nearness;
    struct supposition tried = *supposition;
    struct merit best = {0};
    bool more = find_spans(search, audit, t) >= 2;
    if (more) {
        span_samples_find(search);
    }
    for (unsigned attempt = 0; more && !stop_asked(); attempt++) {
        struct merit merit = {0};
        if (supposition_rounds(&tried)) {
            merit = judge_supposition(search, &tried, &already);
        }
        if (is_better(&merit, &best, search->n)) {
            *supposition = tried;
            best = merit;
        }
        already = (struct nearness){0}; /* of that supposition alone */
        bool surely = best.n_explained == search->n && best.log_left < log(LITTLE_ERROR);
        more = !surely && span_choose(search, attempt, &tried);
    }
    found->nearness = best.nearness;
    if (best.holds) {
        span_suppose(search, search->trace, supposition);
        tell(search, supposition, arithmetic, best.n_explained);
    }
    return best.holds;
}

void arithmetic_infer_spans(struct arithmetic *arithmetic, struct audit *audit, const struct trace *const *traces,
                            uint32_t t, struct trace *trace)
{
    const struct plan *plan = audit->plan;
    uint8_t *spans = xcalloc(plan->n_steps, 1);
    struct found found = {0};
    bool any = false, changed = false;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct finding *finding = audit_finding(audit, s, t);
        spans[s] = finding->state == FINDING_AUDITED && finding->span;
        any |= spans[s] && finding->rows_failed > 0;
    }
    for (unsigned phase = PHASE_PREFILL; any && phase <= PHASE_DECODE && !stop_asked(); phase++) {
        struct search search = {.plan = plan, .trace = trace, .phase = phase};
        search.steps = xcalloc(plan->n_steps, sizeof(*search.steps));
        search.fits = xcalloc(plan->n_steps, sizeof(*search.fits));
        search.known = xcalloc(plan->n_steps, 1);
        find_known(&search, audit, t);
        changed |= infer_phase(&search, audit, t, arithmetic, &found);
        free(search.steps);
        free(search.fits);
        free(search.known);
    }
    if (any && (changed || trace->n_unrecorded > 0)) {
        audit_again(audit, traces, spans);
    }
    free(spans);
}
