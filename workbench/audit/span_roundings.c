#include "workbench/audit/span_roundings.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/hypotheses.h"

#define FAR 0.01       /* squared relative error of a row that no rounding to 8 or 16 bits makes in a span */
#define LESS_ERROR 0.5 /* of the squares of errors: what makes further roundings worth supposing */

/* Computes rows of a span, and adds them to a fit. judges: with their bounds. expected[n_positions, width]
 * receives what was computed; NULL: not wanted. */
static void add_rows(struct fit *fit, const struct step *step, const struct trace_stage *stage, const struct rows *rows,
                     bool judges, double *expected)
{
    uint32_t width = step->width, most = rows_at_once(rows->n > 0 ? rows->n : 1, width);
    double *y = xmalloc((uint64_t)most * width * sizeof(*y));
    double *bound = judges ? xmalloc((uint64_t)most * width * sizeof(*bound)) : NULL;
    for (uint32_t first = 0; first < rows->n && !stop_asked(); first += most) {
        struct op_batch batch = {.step = step,
                                 .weights_dtype = stage->weights_dtype,
                                 .n_rows = rows->n - first < most ? rows->n - first : most,
                                 .rows = rows->rows + first,
                                 .y = y,
                                 .bound = bound};
        op_run(&batch);
        for (uint32_t i = 0; i < batch.n_rows && !stop_asked(); i++) {
            uint64_t at = (uint64_t)i * width;
            const float *actual = trace_row(stage, batch.rows[i].position);
            bool judged = judges && !row_is_undecidable(&batch.rows[i], width, actual, y + at, bound + at);
            fit_add(fit, width, actual, y + at, judged ? bound + at : NULL);
            if (expected) {
                memcpy(expected + (uint64_t)batch.rows[i].position * width, y + at, width * sizeof(*y));
            }
        }
    }
    free(bound);
    free(y);
}

/* judges false: only the error is asked, which takes half as long. expected: as in add_rows. */
static struct fit fit_of(const struct search *search, uint32_t s, const struct trace *trace, bool judges,
                         double *expected)
{
    const struct step *step = &search->plan->steps[s];
    const struct trace_stage *stage = trace_find_step(trace, step);
    struct fit fit = {0};
    struct spans spans;
    struct rows rows;
    uint32_t n = 0;
    spans_open(&spans, search->plan, trace);
    spans.values_only = !judges;
    rows_gather(&rows, search->plan, s, trace, &spans);
    for (uint32_t i = 0; i < rows.n; i++) {
        if (rows.rows[i].decode == (search->phase == PHASE_DECODE)) {
            rows.rows[n++] = rows.rows[i];
        }
    }
    rows.n = n;
    add_rows(&fit, step, stage, &rows, judges, expected);
    rows_free(&rows);
    spans_close(&spans);
    return fit;
}

struct fit span_fit(const struct search *search, uint32_t step, const struct trace *trace)
{
    return fit_of(search, step, trace, true, NULL);
}

/* The cosine between the error of a row and what a supposition adds to it; NAN: one of them is 0, or not finite. */
static double row_cosine(uint32_t width, const float *actual, const double *before, const double *after)
{
    double product = 0, error = 0, added = 0;
    for (uint32_t d = 0; d < width; d++) {
        double e = actual[d] - before[d], a = after[d] - before[d];
        product += e * a;
        error += e * e;
        added += a * a;
    }
    return error > 0 && added > 0 ? product / sqrt(error) / sqrt(added) : NAN;
}

void span_add_nearness(struct nearness *nearness, const struct search *search, uint32_t s, const struct trace *supposed)
{
    const struct step *step = &search->plan->steps[s];
    const struct trace_stage *stage = trace_find_step(search->trace, step);
    uint64_t n = (uint64_t)search->trace->n_positions * step->width;
    double *before = xmalloc(2 * n * sizeof(*before)), *after = before + n;
    for (uint64_t i = 0; i < n; i++) {
        before[i] = after[i] = NAN; /* rows that cannot be computed */
    }
    fit_of(search, s, search->trace, false, before);
    fit_of(search, s, supposed, false, after);
    for (uint32_t p = 0; p < search->trace->n_positions; p++) {
        uint64_t at = (uint64_t)p * step->width;
        const float *actual = trace_row(stage, p);
        double cosine = actual ? row_cosine(step->width, actual, before + at, after + at) : NAN;
        if (isfinite(cosine)) {
            nearness->sum += cosine;
            nearness->squares += cosine * cosine;
        }
    }
    free(before);
}

void span_suppose(const struct search *search, struct trace *trace, const struct supposition *supposition)
{
    for (uint32_t s = 0; s < search->plan->n_steps; s++) {
        const struct step *step = &search->plan->steps[s];
        if (!supposition_is_about(step) || search->known[s]) {
            continue;
        }
        const struct roundings roundings = supposition_of(supposition, step);
        struct unrecorded_class class = {step->op, step_weights_dtype(step), search->phase,
                                         *trace_declared(trace, search->phase)};
        class.arith.roundings = roundings_join(&class.arith.roundings, &roundings);
        trace_set_unrecorded(trace, &class);
        struct trace_stage *stage = trace_find_step(trace, step);
        if (stage) {
            struct arith *inferred = &stage->inferred[search->phase];
            *inferred = *trace_stage_declared(stage, search->phase);
            inferred->roundings = roundings_join(&inferred->roundings, &roundings);
            stage->is_inferred[search->phase] = roundings_any(&roundings);
        }
    }
}

bool span_is_rounded(const struct search *search, uint32_t step)
{
    return trace_find_step(search->trace, &search->plan->steps[step])->arith.u_rounded > 0;
}

bool span_may_be_rounded(const struct fit *fit)
{
    return fit->n_failed > 0 && fit->error < FAR * fit->n_rows;
}

/* What is tried by a supposition: a trace cut to its first positions, and the classes of products in its spans. */
struct sample {
    double less; /* of the squares of errors: what makes roundings of products worth supposing */
    const struct search *search;
    struct trace *trace;
    bool has_class[SUPPOSED_MOST + 1]; /* the last: steps of no class */
};

/* The classes of products that the spans of a sample pass over. Only what they round shows there. Returns their number.
 */
static uint32_t find_classes(struct sample *sample, const struct supposition *supposition)
{
    const struct search *search = sample->search;
    uint32_t n = 0;
    for (uint32_t i = 0; i < search->n_samples; i++) {
        struct span_path path;
        uint32_t step = search->samples[i];
        span_path_find(&path, search->plan, step, search->trace);
        sample->has_class[supposition_class(supposition, &search->plan->steps[step])] = true;
        for (uint32_t k = 0; k < path.n_between; k++) {
            sample->has_class[supposition_class(supposition, &search->plan->steps[path.between[k]])] = true;
        }
        span_path_free(&path);
    }
    for (uint32_t i = 0; i < supposition->n; i++) {
        n += sample->has_class[i];
    }
    return n;
}

/* The error that a supposition leaves in the sample: the logarithm of the product over its spans, because one of them
 * may have a bug as well, whose size would hide what the others tell. */
static double sample_error(const struct sample *of, const struct supposition *supposition)
{
    const struct search *search = of->search;
    struct trace *sample = of->trace;
    double error = 0;
    uint32_t first, n = span_sample_rows(search, sample, &first);
    span_suppose(search, sample, supposition);
    for (uint32_t i = 0; i < search->n_samples && !stop_asked(); i++) {
        struct trace_stage whole, *stage = trace_find_step(sample, &search->plan->steps[search->samples[i]]);
        trace_hide_others(sample, stage, first, n, &whole);
        error += log(fit_of(search, search->samples[i], sample, false, NULL).error + DBL_MIN);
        trace_show_all(stage, &whole);
    }
    return error;
}

/* Of both types. */
static uint32_t list_attentions(const struct plan *plan, struct roundings *list)
{
    uint32_t n = span_attentions_list(plan, ROUNDING_F16, list);
    return n + span_attentions_list(plan, ROUNDING_BF16, list + n);
}

/* Varies one part; *error: what the supposition leaves. Returns whether another one leaves clearly less. */
static bool improve(const struct sample *sample, unsigned part, struct supposition *supposition, double *error)
{
    struct roundings list[SPAN_PRODUCTS_MOST + SPAN_ATTENTIONS_MOST];
    uint32_t n = part == PART_ATTENTION ? list_attentions(sample->search->plan, list) : span_products_list(list);
    struct supposition best = *supposition;
    bool any = false;
    for (uint32_t i = 0; i < n && !stop_asked(); i++) {
        struct supposition other = *supposition;
        supposition_vary(&other, part, &list[i]);
        double left = sample_error(sample, &other);
        if (left < *error + log(part == PART_ATTENTION ? LESS_ERROR : sample->less)) {
            best = other;
            *error = left;
            any = true;
        }
    }
    *supposition = best;
    return any;
}

/* Products, all or one class of them, and attention by turns. */
static void choose_by_turns(const struct sample *sample, unsigned products, struct supposition *best)
{
    double error = sample_error(sample, best);
    improve(sample, products, best, &error);
    if (improve(sample, PART_ATTENTION, best, &error) && improve(sample, products, best, &error)) {
        improve(sample, PART_ATTENTION, best, &error);
    }
}

/* Products and attention together, in one type: where both round much, neither is found without the other. */
static void choose_together(const struct sample *sample, unsigned products, struct supposition *best)
{
    static const uint8_t floats[] = {ROUNDING_F16, ROUNDING_BF16};
    const struct supposition none = *best;
    double error = sample_error(sample, best);
    for (unsigned f = 0; f < 4; f++) {
        uint8_t type = floats[f / 2];
        const struct roundings operands = {.operands = type, .weights = f % 2 ? type : ROUNDING_NONE};
        struct roundings attentions[SPAN_ATTENTIONS_MOST];
        uint32_t n = span_attentions_list(sample->search->plan, type, attentions);
        for (uint32_t i = 0; i < n && !stop_asked(); i++) {
            struct supposition other = none;
            supposition_vary(&other, PART_ATTENTION, &attentions[i]);
            supposition_vary(&other, products, &operands);
            double left = sample_error(sample, &other);
            if (left < error + log(LESS_ERROR)) {
                *best = other;
                error = left;
            }
        }
    }
}

/* The other classes of products, each by itself. */
static void choose_others(const struct sample *sample, unsigned products, struct supposition *best)
{
    double error = sample_error(sample, best);
    for (unsigned part = PART_CLASS; part < PART_CLASS + best->n && products != PART_PRODUCTS; part++) {
        if (part != products && sample->has_class[part - PART_CLASS] && improve(sample, part, best, &error)) {
            improve(sample, PART_ATTENTION, best, &error);
        }
    }
}

bool span_choose(const struct search *search, unsigned attempt, struct supposition *best)
{
    *best = supposition_none(search->plan, search->known);
    /* All products alike, then each class first, where there are several. */
    unsigned products = PART_PRODUCTS + attempt / 2;
    if (attempt / 2 > (best->n > 1 ? best->n : 0) || search->n_samples == 0) {
        return false;
    }
    struct trace trace;
    span_sample_open(search, &trace);
    bool rounded = search->n > 0 && span_is_rounded(search, search->steps[0]);
    struct sample sample = {.less = rounded ? 1 : LESS_ERROR, .search = search, .trace = &trace};
    uint32_t n_classes = find_classes(&sample, best);
    /* One class alone is all products; one that the spans do not pass over leaves the same error whatever it rounds. */
    bool tells = products == PART_PRODUCTS || (n_classes > 1 && sample.has_class[products - PART_CLASS]);
    if (tells) {
        (attempt % 2 ? choose_together : choose_by_turns)(&sample, products, best);
        choose_others(&sample, products, best);
    }
    trace_free(&trace);
    return true;
}
