#include "workbench/audit/verdict.h"

#include <math.h>
#include <stdlib.h>

const char *source_name(enum source source)
{
    static const char *const names[SOURCE_COUNT] = {"engine", "trace", "reference", "golden"};
    ASSERT((unsigned)source < SOURCE_COUNT);
    return names[source];
}

const char *outlier_name(enum outlier outlier)
{
    static const char *const names[] = {"none", "engine", "reference", "trace", "golden-or-weights", "several"};
    ASSERT((unsigned)outlier < sizeof(names) / sizeof(*names));
    return names[outlier];
}

const char *conclusion_name(enum conclusion conclusion)
{
    static const char *const names[] = {"parity", "diverged", "undecided"};
    ASSERT((unsigned)conclusion < sizeof(names) / sizeof(*names));
    return names[conclusion];
}

enum status conclusion_status(enum conclusion conclusion)
{
    static const enum status statuses[] = {
        [CONCLUSION_PARITY] = STATUS_OK,
        [CONCLUSION_DIVERGED] = STATUS_DIVERGED,
        [CONCLUSION_UNDECIDED] = STATUS_UNDECIDED,
    };
    return statuses[conclusion];
}

enum outlier outlier_alone(enum source source)
{
    static const enum outlier alone[SOURCE_COUNT] = {OUTLIER_ENGINE, OUTLIER_TRACE, OUTLIER_REFERENCE,
                                                     OUTLIER_GOLDEN_OR_WEIGHTS};
    ASSERT((unsigned)source < SOURCE_COUNT);
    return alone[source];
}

/* The audited trace of a source, or -1. */
static int32_t trace_of(const enum source *sources, uint32_t n_traces, enum source source)
{
    for (uint32_t t = 0; t < n_traces; t++) {
        if (sources[t] == source) {
            return (int32_t)t;
        }
    }
    return -1;
}

/* Marks the steps of a trace that introduce an error. Returns [n_steps], malloc'ed; cleared: [n_steps], as in struct
 * verdict. If an op is wrong, all spans that cover it fail. Only the first of them is reported, unless a passing span
 * clears the op. */
static uint8_t *find_introducing(const struct audit *audit, uint32_t t, const struct trace *trace, uint8_t *cleared)
{
    uint32_t n_steps = audit->plan->n_steps;
    uint8_t *introduces = xcalloc(n_steps, 1), *accused = xcalloc(n_steps, 1);
    for (int passing = 1; passing >= 0; passing--) {
        for (uint32_t s = 0; s < n_steps; s++) {
            const struct finding *finding = audit_finding(audit, s, t);
            bool failed = finding_failed(finding), reported = false;
            introduces[s] |= failed && !finding->span;
            if (!finding->span || finding->rows_judged == 0 || failed == (bool)passing) {
                continue;
            }
            struct span_path path;
            span_path_find(&path, audit->plan, s, trace);
            for (uint32_t i = 0; i < path.n_between; i++) {
                uint32_t between = path.between[i];
                reported |= accused[between] && !cleared[between];
                cleared[between] |= passing;
            }
            for (uint32_t i = 0; i < path.n_between && failed && !reported; i++) {
                accused[path.between[i]] = 1;
            }
            introduces[s] |= failed && !reported;
            span_path_free(&path);
        }
    }
    free(accused);
    return introduces;
}

static void collect_introduced(struct verdict *verdict, const struct audit *audit, const struct trace *const *traces,
                               const enum source *sources)
{
    verdict->introduced = xcalloc((uint64_t)audit->plan->n_steps * audit->n_traces, sizeof(*verdict->introduced));
    uint8_t *introduces[SOURCE_COUNT];
    for (uint32_t t = 0; t < audit->n_traces; t++) {
        verdict->cleared[t] = xcalloc(audit->plan->n_steps, 1);
        introduces[t] = find_introducing(audit, t, traces[t], verdict->cleared[t]);
    }
    for (uint32_t step = 0; step < audit->plan->n_steps; step++) {
        for (int source = 0; source < SOURCE_COUNT; source++) {
            for (uint32_t t = 0; t < audit->n_traces; t++) {
                if (sources[t] == (enum source)source && introduces[t][step]) {
                    verdict->introduced[verdict->n_introduced++] = (struct introduced){step, sources[t], t};
                }
            }
        }
    }
    for (uint32_t t = 0; t < audit->n_traces; t++) {
        free(introduces[t]);
    }
}

/* Whether a file holds the stage. An optional stage is expected of every source if a file holds it, else of none. */
static bool file_holds(const struct audit *audit, const enum source *sources, uint32_t step)
{
    for (uint32_t t = 0; t < audit->n_traces; t++) {
        bool is_file = sources[t] == SOURCE_GOLDEN || sources[t] == SOURCE_TRACE;
        if (is_file && audit_finding(audit, step, t)->state != FINDING_MISSING) {
            return true;
        }
    }
    return false;
}

/* Whether a source is complete without the stage. Files may lack optional stages. Our own runs may lack the
 * probabilities of attention, which no engine stores. */
static bool may_lack(enum source source, const struct step *step)
{
    bool is_file = source == SOURCE_GOLDEN || source == SOURCE_TRACE;
    return is_file ? step->optional : step->stage == STAGE_attn_probs;
}

/* Counts the (layer, stage) pairs that were judged in every source that must hold them, and lists those that one lacks.
 */
static void collect_coverage(struct verdict *verdict, const struct audit *audit, const enum source *sources)
{
    verdict->lacks = xcalloc((uint64_t)audit->plan->n_steps * audit->n_traces, sizeof(*verdict->lacks));
    for (uint32_t step = 0; step < audit->plan->n_steps; step++) {
        if (audit->plan->steps[step].optional && !file_holds(audit, sources, step)) {
            continue;
        }
        bool compared = true;
        verdict->expected++;
        for (uint32_t t = 0; t < audit->n_traces; t++) {
            const struct finding *finding = audit_finding(audit, step, t);
            if (finding->state == FINDING_MISSING && may_lack(sources[t], &audit->plan->steps[step])) {
                continue;
            }
            compared &= finding->state == FINDING_AUDITED;
            if (finding->state == FINDING_MISSING) {
                verdict->lacks[verdict->n_lacks++] = (struct lack){step, sources[t], false};
            } else if (finding->state == FINDING_UNAUDITED || finding->rows_unaudited > 0) {
                verdict->lacks[verdict->n_lacks++] = (struct lack){step, sources[t], true};
            }
        }
        verdict->compared += compared;
    }
}

/* What one step of a trace should be, row by row: its error is recorded - expected. */
struct errors {
    struct rows rows;
    double *expected; /* [rows.n, width] */
};

static void errors_compute(struct errors *errors, const struct plan *plan, uint32_t step, const struct trace *trace)
{
    const struct trace_stage *stage = trace_find_step(trace, &plan->steps[step]);
    rows_gather(&errors->rows, plan, step, trace, NULL);
    errors->expected = xmalloc((uint64_t)errors->rows.n * stage->width * sizeof(*errors->expected));
    struct op_batch batch = {.step = &plan->steps[step],
                             .weights_dtype = stage->weights_dtype,
                             .n_rows = errors->rows.n,
                             .rows = errors->rows.rows,
                             .y = errors->expected};
    op_run(&batch);
}

static void errors_free(struct errors *errors)
{
    rows_free(&errors->rows);
    free(errors->expected);
}

/* Whether two traces introduced the same error at a step: their errors differ less from each other than each differs
 * from zero. */
static bool same_error(const struct plan *plan, uint32_t step, const struct trace *a, const struct trace *b)
{
    struct errors of_a, of_b;
    errors_compute(&of_a, plan, step, a);
    errors_compute(&of_b, plan, step, b);
    uint32_t width = plan->steps[step].width;
    const struct trace_stage *stage_a = trace_find_step(a, &plan->steps[step]);
    const struct trace_stage *stage_b = trace_find_step(b, &plan->steps[step]);
    double apart = 0, size_a = 0, size_b = 0;
    for (uint32_t i = 0, k = 0; i < of_a.rows.n; i++) {
        uint32_t position = of_a.rows.rows[i].position;
        while (k < of_b.rows.n && of_b.rows.rows[k].position < position) {
            k++;
        }
        if (k == of_b.rows.n || of_b.rows.rows[k].position != position) {
            continue;
        }
        const float *row_a = trace_row(stage_a, position), *row_b = trace_row(stage_b, position);
        for (uint32_t d = 0; d < width; d++) {
            if (!isfinite(row_a[d]) && !isfinite(row_b[d])) {
                continue; /* both overflowed, or met a weight that is not finite */
            }
            double error_a = row_a[d] - of_a.expected[(uint64_t)i * width + d];
            double error_b = row_b[d] - of_b.expected[(uint64_t)k * width + d];
            apart += (error_a - error_b) * (error_a - error_b);
            size_a += error_a * error_a;
            size_b += error_b * error_b;
        }
    }
    errors_free(&of_a);
    errors_free(&of_b);
    return apart < size_a && apart < size_b;
}

/* The first step where a trace introduced an error, or -1. */
static int64_t first_step(const struct verdict *verdict, int32_t trace)
{
    for (uint32_t i = 0; i < verdict->n_introduced; i++) {
        if ((int32_t)verdict->introduced[i].trace == trace) {
            return verdict->introduced[i].step;
        }
    }
    return -1;
}

/* If only one source fails, it is the outlier; for the golden it may be the weights as well. If the engine (or the
 * trace) and the golden first fail at the same step, with the same error, the outlier is the reference, or again the
 * weights. */
static enum outlier find_outlier(const struct verdict *verdict, const struct audit *audit,
                                 const struct trace *const *traces, const enum source *sources, bool same_weights)
{
    int64_t first[SOURCE_COUNT];
    unsigned n_failing = 0;
    enum source failing = SOURCE_COUNT;
    for (int source = 0; source < SOURCE_COUNT; source++) {
        int32_t trace = trace_of(sources, audit->n_traces, (enum source)source);
        first[source] = trace < 0 ? -1 : first_step(verdict, trace);
        if (first[source] < 0) {
            continue;
        }
        failing = (enum source)source;
        n_failing++;
    }
    if (n_failing == 0) {
        return OUTLIER_NONE;
    }
    if (n_failing == 1) {
        return outlier_alone(failing);
    }
    enum source candidate = first[SOURCE_ENGINE] >= 0 ? SOURCE_ENGINE : SOURCE_TRACE;
    if (n_failing != 2 || first[SOURCE_GOLDEN] < 0 || first[candidate] != first[SOURCE_GOLDEN]) {
        return OUTLIER_SEVERAL;
    }
    if (!same_error(audit->plan, (uint32_t)first[candidate], traces[trace_of(sources, audit->n_traces, candidate)],
                    traces[trace_of(sources, audit->n_traces, SOURCE_GOLDEN)])) {
        return OUTLIER_SEVERAL;
    }
    return same_weights ? OUTLIER_REFERENCE : OUTLIER_GOLDEN_OR_WEIGHTS;
}

static uint32_t find_first(const struct verdict *verdict)
{
    uint32_t first = 0;
    for (uint32_t i = 1; i < verdict->n_introduced; i++) {
        first = verdict->introduced[i].source < verdict->introduced[first].source ? i : first;
    }
    return first;
}

const struct introduced *verdict_first(const struct verdict *verdict)
{
    ASSERT(verdict->n_introduced > 0);
    return &verdict->introduced[verdict->first];
}

const char *verdict_source(enum outlier outlier, enum source source)
{
    bool nobody = outlier == OUTLIER_REFERENCE || outlier == OUTLIER_GOLDEN_OR_WEIGHTS;
    return nobody && source < SOURCE_REFERENCE ? outlier_name(outlier) : source_name(source);
}

/* Whether too little of a trace could be judged for a verdict. */
static bool is_undecided(const struct audit *audit, uint32_t t)
{
    uint64_t n_judged = 0;
    for (uint32_t step = 0; step < audit->plan->n_steps; step++) {
        const struct finding *finding = audit_finding(audit, step, t);
        n_judged += finding->rows_judged;
        if (!audit->plan->steps[step].optional && 2 * finding->rows_judged < finding->rows_recorded) {
            return true;
        }
    }
    return n_judged == 0;
}

static void conclude(struct verdict *verdict, const struct audit *audit)
{
    for (uint32_t t = 0; t < audit->n_traces; t++) {
        verdict->of[t] = first_step(verdict, (int32_t)t) >= 0 ? CONCLUSION_DIVERGED
                         : is_undecided(audit, t)             ? CONCLUSION_UNDECIDED
                                                              : CONCLUSION_PARITY;
        if (verdict->conclusion == CONCLUSION_PARITY || verdict->of[t] == CONCLUSION_DIVERGED) {
            verdict->conclusion = verdict->of[t];
        }
    }
    verdict->diverged = verdict->conclusion == CONCLUSION_DIVERGED;
}

void verdict_reach(struct verdict *verdict, const struct audit *audit, const struct trace *const *traces,
                   const enum source *sources, bool same_weights)
{
    *verdict = (struct verdict){0};
    ASSERT(audit->n_traces <= SOURCE_COUNT);
    collect_introduced(verdict, audit, traces, sources);
    collect_coverage(verdict, audit, sources);
    verdict->first = find_first(verdict);
    conclude(verdict, audit);
    verdict->outlier = find_outlier(verdict, audit, traces, sources, same_weights);
}

void verdict_free(struct verdict *verdict)
{
    free(verdict->introduced);
    free(verdict->lacks);
    for (int t = 0; t < SOURCE_COUNT; t++) {
        free(verdict->cleared[t]);
    }
    *verdict = (struct verdict){0};
}
