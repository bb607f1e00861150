/* Which spans roundings are chosen by. A bug makes larger errors than roundings do, and is soon told from them: by what
 * the coarsest roundings move. */
#include <math.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/audit/hypotheses.h"
#include "workbench/audit/span_roundings.h"

#define REACH 4             /* times the squares of what the coarsest roundings move a row: more is no rounding */
#define MOST_TESTED 12      /* spans */
#define SAMPLE_POSITIONS 12 /* of a prompt */
#define SAMPLE_ROWS 3       /* of a span: the last of these positions */

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

void span_sample_open(const struct search *search, struct trace *sample)
{
    trace_copy(sample, search->trace);
    shorten(sample, positions_before(search->trace, search->phase) + SAMPLE_POSITIONS);
}

uint32_t span_sample_rows(const struct search *search, const struct trace *sample, uint32_t *first)
{
    uint32_t end = sample->n_positions;
    while (end > 0 && sample->phase[end - 1] != search->phase) {
        end--;
    }
    *first = end > SAMPLE_ROWS ? end - SAMPLE_ROWS : 0;
    return end - *first;
}

/* What a sample's rows of a span come out as under a supposition: y [SAMPLE_ROWS, width]. Returns how many rows. */
static uint32_t sample_values(const struct search *search, uint32_t s, struct trace *sample,
                              const struct supposition *supposition, double *y)
{
    const struct step *step = &search->plan->steps[s];
    struct trace_stage whole, *stage = trace_find_step(sample, step);
    struct spans spans;
    struct rows rows;
    uint32_t first, n = span_sample_rows(search, sample, &first);
    span_suppose(search, sample, supposition);
    trace_hide_others(sample, stage, first, n, &whole);
    spans_open(&spans, search->plan, sample);
    spans.values_only = true;
    rows_gather(&rows, search->plan, s, sample, &spans);
    op_run(&(struct op_batch){
        .step = step, .weights_dtype = stage->weights_dtype, .n_rows = rows.n, .rows = rows.rows, .y = y});
    n = rows.n;
    rows_free(&rows);
    spans_close(&spans);
    trace_show_all(stage, &whole);
    return n;
}

/* The coarsest of what is tried: attention in bfloat16 throughout, and products in it, or of 8-bit operands. */
static struct supposition coarsest(const struct plan *plan, const struct supposition *none, bool integers)
{
    struct supposition coarse = *none;
    struct roundings attentions[SPAN_ATTENTIONS_MOST];
    const struct roundings products = {.operands = integers ? ROUNDING_Q8_0 : ROUNDING_BF16,
                                       .weights = integers ? ROUNDING_NONE : ROUNDING_BF16};
    uint32_t n = span_attentions_list(plan, ROUNDING_BF16, attentions);
    supposition_vary(&coarse, PART_ATTENTION, &attentions[n - 1]);
    supposition_vary(&coarse, PART_PRODUCTS, &products);
    return coarse;
}

static double squared_distance(const double *a, const double *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return sum;
}

/* Whether a span may err by roundings alone: some row of it is no further from the right one than a few times what the
 * coarsest roundings move it. */
static bool is_in_reach(const struct search *search, uint32_t s, struct trace *sample)
{
    const struct supposition none = supposition_none(search->plan, search->known);
    const struct supposition coarse[] = {coarsest(search->plan, &none, false), coarsest(search->plan, &none, true)};
    const struct trace_stage *stage = trace_find_step(sample, &search->plan->steps[s]);
    uint32_t width = stage->width, first, n;
    uint64_t size = (uint64_t)SAMPLE_ROWS * width;
    double *y = xcalloc(4 * size, sizeof(*y)), *moved[] = {y + size, y + 2 * size}, *recorded = y + 3 * size;
    n = sample_values(search, s, sample, &none, y);
    bool complete = n == span_sample_rows(search, sample, &first);
    for (unsigned c = 0; c < 2; c++) {
        complete &= sample_values(search, s, sample, &coarse[c], moved[c]) == n;
    }
    bool reaches = !complete; /* a row that cannot be computed says nothing */
    for (uint32_t i = 0; i < n && complete; i++) {
        uint64_t at = (uint64_t)i * width;
        const float *row = trace_row(stage, first + i);
        for (uint32_t d = 0; row && d < width; d++) {
            recorded[at + d] = row[d];
        }
        double change =
            fmax(squared_distance(y + at, moved[0] + at, width), squared_distance(y + at, moved[1] + at, width));
        reaches |= row && !(squared_distance(y + at, recorded + at, width) > REACH * change);
    }
    free(y);
    return reaches;
}

bool span_is_missed_anew(const struct search *search, uint32_t step, uint8_t *missed)
{
    struct span_path path;
    bool anew = true;
    span_path_find(&path, search->plan, step, search->trace);
    for (uint32_t i = 0; i < path.n_between; i++) {
        anew &= !missed[path.between[i]];
        missed[path.between[i]] = 1;
    }
    span_path_free(&path);
    return anew;
}

void span_samples_find(struct search *search)
{
    struct trace sample;
    uint32_t n_missed = 0, n_tested = 0;
    uint8_t *missed = xcalloc(search->plan->n_steps, 1);
    span_sample_open(search, &sample);
    for (uint32_t i = 0; i < search->n && n_tested < MOST_TESTED && !stop_asked(); i++) {
        uint32_t s = search->steps[i];
        if (!span_may_be_rounded(&search->fits[i])) {
            continue;
        }
        n_tested++;
        bool rounded = span_is_rounded(search, s); /* the file's own rounding may be coarser than what it hides */
        if (rounded || is_in_reach(search, s, &sample)) {
            if (search->n_samples < (rounded ? SPAN_SAMPLES_ROUNDED : SPAN_SAMPLES)) {
                search->samples[search->n_samples++] = s;
            }
            continue;
        }
        n_missed += span_is_missed_anew(search, s, missed);
        if (!arithmetic_may_miss(n_missed, search->n)) {
            search->n_samples = 0;
            break;
        }
    }
    trace_free(&sample);
    free(missed);
}
