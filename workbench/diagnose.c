#include "workbench/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/relations.h"

/* As in the audit: what is computed at once takes no more memory than this. */
#define MOST_BYTES ((uint64_t)128 << 20)

const char *diagnosis_how_name(enum diagnosis_how how)
{
    static const char *const names[] = {"reproduced", "relation", "consistent"};
    ASSERT((unsigned)how < sizeof names / sizeof *names);
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
    *bench = (struct bench){.stage = trace_find(trace, plan->steps[step].layer, plan->steps[step].stage)};
    rows_gather(&bench->rows, plan, step, trace);
    uint64_t row_bytes = plan->steps[step].width * 2 * sizeof(double);
    uint64_t fitting = MOST_BYTES / row_bytes;
    bench->at_once = fitting == 0 ? 1 : fitting > bench->rows.n ? bench->rows.n : (uint32_t)fitting;
    bench->expected = xmalloc(bench->at_once * row_bytes / 2);
    bench->bound = xmalloc(bench->at_once * row_bytes / 2);
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
        if (ratio > worst)
            worst = ratio;
    }
    return worst;
}

/* Moves the failing rows to the front, in order. Returns how many there are. */
static uint32_t failing_to_front(struct bench *bench, const struct step *step)
{
    uint32_t n_failing = 0, n_rows = bench->rows.n;
    struct op_row *sorted = xcalloc(n_rows, sizeof *sorted);
    uint32_t n_passing = 0;
    for (uint32_t first = 0; first < n_rows; first += bench->at_once) {
        uint32_t n = n_rows - first < bench->at_once ? n_rows - first : bench->at_once;
        bench_run(bench, step, bench->rows.rows + first, n);
        for (uint32_t i = 0; i < n; i++) {
            if (row_ratio(bench, bench->rows.rows + first, i) > 1)
                sorted[n_failing++] = bench->rows.rows[first + i];
            else
                sorted[n_rows - ++n_passing] = bench->rows.rows[first + i];
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
    for (uint32_t first = 0; first < bench->rows.n; first += bench->at_once) {
        uint32_t n = bench->rows.n - first < bench->at_once ? bench->rows.n - first : bench->at_once;
        bench_run(bench, mutant, bench->rows.rows + first, n);
        for (uint32_t i = 0; i < n; i++) {
            *worst = fmax(*worst, row_ratio(bench, bench->rows.rows + first, i));
            if (*worst > 1)
                return false;
        }
    }
    return true;
}

static uint32_t try_mutants(struct bench *bench, const struct step *step, uint32_t n_failing, struct diagnosis *found,
                            uint32_t max)
{
    uint32_t n = 0, n_faults;
    const struct fault *faults = fault_list(&n_faults);
    for (uint32_t i = 0; i < n_faults && n < max; i++) {
        double worst;
        if (!fault_applies(&faults[i], step))
            continue;
        struct step mutant = fault_mutant(&faults[i], step);
        if (!mutant_reproduces(bench, &mutant, &worst))
            continue;
        struct diagnosis *diagnosis = &found[n++];
        snprintf(diagnosis->fault, sizeof diagnosis->fault, "%s", faults[i].name);
        snprintf(diagnosis->text, sizeof diagnosis->text,
                 "%s; computed so, all %u rows come out as recorded (worst ratio %.3f), where the right op fails in %u",
                 faults[i].story, bench->rows.n, worst, n_failing);
        diagnosis->how = HOW_REPRODUCED;
        diagnosis->postmortem = faults[i].postmortem;
    }
    return n;
}

uint32_t diagnose_step(const struct plan *plan, uint32_t step_index, const struct trace *trace, struct diagnosis *found,
                       uint32_t max)
{
    const struct step *step = &plan->steps[step_index];
    struct bench bench;
    if (!trace_find(trace, step->layer, step->stage))
        return 0;
    bench_open(&bench, plan, step_index, trace);
    uint32_t n_failing = failing_to_front(&bench, step);
    uint32_t n = 0;
    if (n_failing > 0) {
        n = try_mutants(&bench, step, n_failing, found, max);
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
        n += relations_find(&evidence, found + n, max - n);
    }
    bench_close(&bench);
    return n;
}
