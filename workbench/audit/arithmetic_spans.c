#include "workbench/audit/arithmetic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/integer_weights.h"
#include "workbench/audit/hypotheses.h"

#define FAR 0.01            /* squared relative error of a row that no rounding to 8 or 16 bits makes in a span */
#define SAMPLE_SPANS 3      /* spans that roundings are chosen by */
#define SAMPLE_POSITIONS 12 /* of a prompt, likewise */
#define SAMPLE_ROWS 3       /* of a span, likewise: the last of these positions */
#define LESS_ERROR 0.5      /* of the squares of errors: what makes further roundings worth supposing */
#define MOST_ERROR 0.5      /* of float32's sum of squares: what roundings that really happen leave at most */

/* What the products and attentions round whose stages the file lacks. */
struct supposed {
    struct roundings products; /* operands of ROUNDING_Q8_0: the 8-bit type that ggml pairs with the weights' dtype */
    struct roundings attention;
};

/* How a span's recorded rows of one phase follow from what they were computed of. */
struct fit {
    uint32_t n_rows, n_judged, n_failed;
    double error; /* sum over the rows, judged or not, of their sum of squared errors / sum of squares expected */
};

/* Spans of one trace whose arithmetic is unknown, and the phase that is looked at. */
struct search {
    const struct plan *plan;
    struct trace *trace;
    unsigned phase;
    uint32_t n;
    uint32_t *steps;  /* [n] */
    struct fit *fits; /* [n] in the arithmetic known so far */
    uint8_t *known;   /* [n_steps] the step's class rounds as the recorded steps of it do, in this phase */
};

/* Adds one row to a fit. bound NULL: it is not judged. */
static void add_row(struct fit *fit, uint32_t width, const float *actual, const double *y, const double *bound)
{
    double error = 0, size = 0;
    bool fails = false;
    for (uint32_t d = 0; d < width; d++) {
        fails |= bound && judge(y[d], actual[d], bound[d]) > 1;
        error += (actual[d] - y[d]) * (actual[d] - y[d]);
        size += y[d] * y[d];
    }
    fit->n_rows++;
    fit->n_judged += bound != NULL;
    fit->n_failed += fails;
    fit->error += size > 0 && isfinite(error) ? error / size : 0;
}

static struct fit fit_span(const struct search *search, uint32_t s, const struct trace *trace)
{
    const struct step *step = &search->plan->steps[s];
    const struct trace_stage *stage = trace_find_step(trace, step);
    uint32_t width = step->width, n = 0;
    struct fit fit = {0};
    struct rows rows;
    rows_gather(&rows, search->plan, s, trace, NULL);
    for (uint32_t i = 0; i < rows.n; i++) {
        if (rows.rows[i].decode == (search->phase == PHASE_DECODE)) {
            rows.rows[n++] = rows.rows[i];
        }
    }
    uint32_t most = rows_at_once(n > 0 ? n : 1, width);
    double *y = xmalloc((uint64_t)most * width * sizeof(*y)), *bound = xmalloc((uint64_t)most * width * sizeof(*bound));
    for (uint32_t first = 0; first < n && !stop_asked(); first += most) {
        struct op_batch batch = {.step = step,
                                 .weights_dtype = stage->weights_dtype,
                                 .n_rows = n - first < most ? n - first : most,
                                 .rows = rows.rows + first,
                                 .y = y,
                                 .bound = bound};
        op_run(&batch);
        for (uint32_t i = 0; i < batch.n_rows && !stop_asked(); i++) {
            uint64_t at = (uint64_t)i * width;
            const float *actual = trace_row(stage, batch.rows[i].position);
            bool judged = !row_is_undecidable(&batch.rows[i], width, actual, y + at, bound + at);
            add_row(&fit, width, actual, y + at, judged ? bound + at : NULL);
        }
    }
    free(bound);
    free(y);
    rows_free(&rows);
    return fit;
}

/* The 8-bit operands that ggml pairs with weights of a dtype; floats of 16 bits with floats of 16 bits. */
static uint8_t paired_operands(uint32_t weights)
{
    return weights == DTYPE_F16    ? ROUNDING_F16
           : weights == DTYPE_BF16 ? ROUNDING_BF16
                                   : (uint8_t)integer_operand_of(weights);
}

/* Roundings of one step, under a supposition. */
static struct roundings roundings_of(const struct step *step, const struct supposed *supposed)
{
    if (!op_is_product(step->op)) {
        return supposed->attention;
    }
    struct roundings roundings = supposed->products;
    if (roundings.operands > ROUNDING_BF16) {
        roundings.operands = paired_operands(step_weights_dtype(step));
        roundings.to_even &= roundings.operands > ROUNDING_BF16;
    }
    return roundings;
}

static bool is_class_step(const struct step *step)
{
    return op_is_product(step->op) || op_is_attention(step->op);
}

/* Sets a supposition in a trace: for the classes that are not known, and for spans that end in one of their steps. */
static void suppose(const struct search *search, struct trace *trace, const struct supposed *supposed)
{
    for (uint32_t s = 0; s < search->plan->n_steps; s++) {
        const struct step *step = &search->plan->steps[s];
        if (!is_class_step(step) || search->known[s]) {
            continue;
        }
        const struct roundings roundings = roundings_of(step, supposed);
        struct unrecorded_class class = {step->op, step_weights_dtype(step), search->phase, trace->arith};
        class.arith.roundings = roundings_join(&trace->arith.roundings, &roundings);
        trace_set_unrecorded(trace, &class);
        struct trace_stage *stage = trace_find_step(trace, step);
        if (stage) {
            stage->inferred[search->phase] = stage->arith;
            stage->inferred[search->phase].roundings = roundings_join(&stage->arith.roundings, &roundings);
            stage->is_inferred[search->phase] = roundings_any(&roundings);
        }
    }
}

/* Whether a span fails by so little that roundings may be the reason. */
static bool may_be_rounded(const struct fit *fit)
{
    return fit->n_failed > 0 && fit->error < FAR * fit->n_rows;
}

/* The error that a supposition leaves in the sample: the logarithm of the product over its spans, because one of them
 * may have a bug as well, whose size would hide what the others tell. */
static double sample_error(const struct search *search, struct trace *sample, const struct supposed *supposed)
{
    double error = 0;
    uint32_t n = 0, end = sample->n_positions;
    while (end > 0 && sample->phase[end - 1] != search->phase) {
        end--;
    }
    uint32_t first = end > SAMPLE_ROWS ? end - SAMPLE_ROWS : 0;
    suppose(search, sample, supposed);
    for (uint32_t i = 0; i < search->n && n < SAMPLE_SPANS && !stop_asked(); i++) {
        struct trace_stage whole, *stage = trace_find_step(sample, &search->plan->steps[search->steps[i]]);
        if (!may_be_rounded(&search->fits[i]) || !stage) {
            continue;
        }
        trace_hide_others(sample, stage, first, end - first, &whole);
        error += log(fit_span(search, search->steps[i], sample).error + DBL_MIN);
        trace_show_all(stage, &whole);
        n++;
    }
    return error;
}

/* The part of a supposition that is varied. */
static void take(struct supposed *supposed, bool products, const struct roundings *roundings)
{
    *(products ? &supposed->products : &supposed->attention) = *roundings;
}

/* Varies one part; *error: what the supposition leaves. Returns whether another one leaves clearly less. */
static bool improve(const struct search *search, struct trace *sample, bool products, const struct roundings *list,
                    uint32_t n, struct supposed *supposed, double *error)
{
    struct supposed best = *supposed;
    bool any = false;
    for (uint32_t i = 0; i < n && !stop_asked(); i++) {
        struct supposed other = *supposed;
        take(&other, products, &list[i]);
        double left = sample_error(search, sample, &other);
        if (left < *error + log(LESS_ERROR)) {
            best = other;
            *error = left;
            any = true;
        }
    }
    *supposed = best;
    return any;
}

/* The first positions of a trace, in place: later rows do not change earlier ones. */
static void shorten(struct trace *trace, uint32_t n_positions)
{
    if (trace->n_positions <= n_positions) {
        return;
    }
    trace->n_positions = n_positions;
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        struct trace_stage *stage = &trace->stages[i];
        stage->n_recorded = 0;
        for (uint32_t p = 0; p < n_positions; p++) {
            stage->n_recorded += stage->recorded[p];
        }
    }
}

static uint32_t positions_before(const struct trace *trace, unsigned phase)
{
    uint32_t n = 0;
    while (n < trace->n_positions && trace->phase[n] != phase) {
        n++;
    }
    return n;
}

/* Products and attention by turns. */
static void choose_by_turns(const struct search *search, struct trace *sample, struct supposed *best)
{
    struct roundings products[SPAN_PRODUCTS_MOST], attention[SPAN_ATTENTIONS_MOST];
    uint32_t n_products = span_products_list(products), n_attention = span_attentions_list(ROUNDING_F16, attention);
    n_attention += span_attentions_list(ROUNDING_BF16, attention + n_attention);
    double error = sample_error(search, sample, best);
    improve(search, sample, true, products, n_products, best, &error);
    if (improve(search, sample, false, attention, n_attention, best, &error) &&
        improve(search, sample, true, products, n_products, best, &error)) {
        improve(search, sample, false, attention, n_attention, best, &error);
    }
}

/* Products and attention together, in one type: where both round much, neither is found without the other. */
static void choose_together(const struct search *search, struct trace *sample, struct supposed *best)
{
    double error = sample_error(search, sample, best);
    static const uint8_t floats[] = {ROUNDING_F16, ROUNDING_BF16};
    for (unsigned f = 0; f < 2; f++) {
        uint8_t type = floats[f];
        const struct roundings products[] = {{.operands = type}, {.operands = type, .weights = type}};
        struct roundings attention[SPAN_ATTENTIONS_MOST];
        uint32_t n = span_attentions_list(type, attention);
        for (uint32_t i = 0; i < n; i++) {
            struct supposed other = {.attention = attention[i]};
            double left = error;
            if (improve(search, sample, true, products, 2, &other, &left)) {
                *best = other;
                error = left;
            }
        }
    }
}

/* The supposition that comes nearest to the recorded values of a sample. */
static struct supposed choose(const struct search *search, bool together)
{
    struct supposed best = {0};
    struct trace sample;
    trace_copy(&sample, search->trace);
    shorten(&sample, positions_before(search->trace, search->phase) + SAMPLE_POSITIONS);
    (together ? choose_together : choose_by_turns)(search, &sample, &best);
    trace_free(&sample);
    return best;
}

/* Classes of which a step passes that was judged from its recorded inputs: what it rounds is known. */
static void find_known(struct search *search, const struct audit *audit, uint32_t t)
{
    const struct plan *plan = search->plan;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct finding *finding = audit_finding(audit, s, t);
        const struct step *step = &plan->steps[s];
        if (!is_class_step(step) || finding->state != FINDING_AUDITED || finding->span || finding_failed(finding)) {
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
            *fit = finding->rows_failed > 0 ? fit_span(search, s, search->trace) : (struct fit){0};
            search->steps[search->n++] = s;
            n_failing += may_be_rounded(fit);
        }
    }
    return n_failing;
}

/* Whether a supposition explains the spans, and leaves far less error than before in those that failed. *n_explained:
 * how many it explains. */
static bool holds(const struct search *search, const struct supposed *supposed, uint32_t *n_explained)
{
    struct trace copy;
    double before = 0, after = 0;
    uint32_t n_missed = 0, n_needed = 0;
    trace_copy(&copy, search->trace);
    suppose(search, &copy, supposed);
    *n_explained = 0;
    for (uint32_t i = 0; i < search->n && arithmetic_may_miss(n_missed, search->n) && !stop_asked(); i++) {
        const struct fit fit = fit_span(search, search->steps[i], &copy);
        bool explained = fit.n_failed == 0 && fit.n_judged > 0;
        n_missed += !explained;
        *n_explained += explained;
        if (explained && search->fits[i].n_failed > 0) {
            n_needed++;
            before += search->fits[i].error;
            after += fit.error;
        }
    }
    trace_free(&copy);
    return arithmetic_may_miss(n_missed, search->n) && n_needed >= 2 && after < MOST_ERROR * before;
}

/* Tells the classes of a supposition that holds. */
static void tell(const struct search *search, const struct supposed *supposed, struct arithmetic *arithmetic,
                 uint32_t n_explained)
{
    for (uint32_t s = 0; s < search->plan->n_steps; s++) {
        const struct step *step = &search->plan->steps[s];
        struct arithmetic_class class = {.op = step->op,
                                         .weights = step_weights_dtype(step),
                                         .n_explained = n_explained,
                                         .n_steps = search->n,
                                         .spans = true};
        if (!is_class_step(step) || search->known[s]) {
            continue;
        }
        class.roundings = roundings_of(step, supposed);
        class.phase[search->phase] = true;
        if (roundings_any(&class.roundings)) {
            arithmetic_add(arithmetic, &class);
        }
    }
}

static bool is_none(const struct supposed *supposed)
{
    return !roundings_any(&supposed->products) && !roundings_any(&supposed->attention);
}

/* One phase; *supposed: what holds for the other one, tried first. Returns whether anything was inferred. */
static bool infer_phase(struct search *search, const struct audit *audit, uint32_t t, struct arithmetic *arithmetic,
                        struct supposed *supposed)
{
    uint32_t n_explained = 0, n_failing = find_spans(search, audit, t);
    bool found = n_failing >= 2 && !is_none(supposed) && holds(search, supposed, &n_explained);
    for (unsigned together = 0; together <= 1 && !found && n_failing >= 2 && !stop_asked(); together++) {
        *supposed = choose(search, together);
        found = !is_none(supposed) && holds(search, supposed, &n_explained);
    }
    if (found) {
        suppose(search, search->trace, supposed);
        tell(search, supposed, arithmetic, n_explained);
    }
    return found;
}

void arithmetic_infer_spans(struct arithmetic *arithmetic, struct audit *audit, const struct trace *const *traces,
                            uint32_t t, struct trace *trace)
{
    const struct plan *plan = audit->plan;
    uint8_t *spans = xcalloc(plan->n_steps, 1);
    struct supposed supposed = {0};
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
        changed |= infer_phase(&search, audit, t, arithmetic, &supposed);
        free(search.steps);
        free(search.fits);
        free(search.known);
    }
    if (any && (changed || trace->n_unrecorded > 0)) {
        audit_again(audit, traces, spans);
    }
    free(spans);
}
