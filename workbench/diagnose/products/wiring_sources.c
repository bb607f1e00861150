#include "workbench/diagnose/products/wiring_sources.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_NEAR 24 /* stages of the layer that enter sums and norms */

/* Whether a stage holds finite values at every row of the trial. */
static bool is_whole(const struct trace_stage *stage, const struct solve *solve)
{
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        const float *row = trace_row(stage, solve->trial->rows.rows[i].position);
        for (uint32_t d = 0; d < stage->width; d++) {
            if (!row || !isfinite(row[d])) {
                return false;
            }
        }
    }
    return true;
}

/* How far a stage's layer is from the step's; what lies outside the layers is at either end. */
static int distance_of(const struct trace_stage *stage, const struct step *step, const struct plan *plan)
{
    int last = (int)plan->n_layers, layer = stage->layer, own = step->layer;
    layer = layer != LAYER_NONE ? layer : stage->stage == STAGE_embed ? -1 : last;
    own = own != LAYER_NONE ? own : step->stage == STAGE_embed ? -1 : last;
    return abs(layer - own);
}

/* The stages of this width, the nearest first; the step's own output is none. */
static void add_stages(struct wiring_sources *sources, const struct solve *solve)
{
    const struct evidence *evidence = solve->evidence;
    const struct trace *trace = evidence->trace;
    for (int distance = 0; distance <= (int)evidence->plan->n_layers + 1; distance++) {
        for (uint32_t s = 0; s < trace->n_stages; s++) {
            const struct trace_stage *stage = &trace->stages[s];
            if (stage->width == sources->width && stage != evidence->stage && !stage_is_integer(stage->stage) &&
                distance_of(stage, evidence->step, evidence->plan) == distance && is_whole(stage, solve)) {
                sources->list[sources->n++] = (struct wiring_source){.stage = stage};
            }
        }
    }
    sources->n_stages = sources->n;
}

static void add_sum(struct wiring_sources *sources, const struct solve *solve, const struct trace_stage *stage,
                    const struct trace_stage *plus)
{
    uint64_t width = sources->width, n = solve->trial->rows.n * width;
    struct wiring_source source = {
        .stage = stage, .plus = plus, .values = xmalloc(n * sizeof(float)), .error = xmalloc(n * sizeof(double))};
    for (uint64_t at = 0; at < n; at++) {
        uint32_t position = solve->trial->rows.rows[at / width].position;
        double sum = (double)trace_row(stage, position)[at % width] + trace_row(plus, position)[at % width];
        source.values[at] = (float)sum;
        source.error[at] = 2 * trace_stage_coarsest(solve->evidence->stage) * fabs(sum);
    }
    sources->list[sources->n++] = source;
}

static void add_norm(struct wiring_sources *sources, const struct solve *solve, const struct trace_stage *stage,
                     const struct step *norm)
{
    uint64_t width = sources->width, n = solve->trial->rows.n * width;
    struct op_row *rows = xcalloc(solve->trial->rows.n, sizeof(*rows));
    struct wiring_source source = {
        .stage = stage, .norm = norm, .values = xmalloc(n * sizeof(float)), .error = xmalloc(n * sizeof(double))};
    double *y = xmalloc(n * sizeof(*y));
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        rows[i] = solve->trial->rows.rows[i];
        rows[i].in[0] = trace_row(stage, rows[i].position);
        rows[i].error[0] = NULL;
    }
    op_run(&(struct op_batch){.step = norm,
                              .weights_dtype = solve->evidence->stage->weights_dtype,
                              .n_rows = solve->trial->rows.n,
                              .rows = rows,
                              .y = y,
                              .bound = source.error});
    for (uint64_t at = 0; at < n; at++) {
        source.values[at] = (float)y[at];
        source.error[at] += 0x1p-24 * fabs(y[at]);
    }
    free(y);
    free(rows);
    sources->list[sources->n++] = source;
}

/* Sums and norms of the layer's stages and of the layer's input. */
static void add_computed(struct wiring_sources *sources, const struct solve *solve)
{
    const struct plan *plan = solve->evidence->plan;
    const struct step *step = solve->evidence->step;
    uint32_t n = sources->n_stages < MOST_NEAR ? sources->n_stages : MOST_NEAR;
    for (uint32_t a = 0; a < n; a++) {
        for (uint32_t b = 0; b < a; b++) {
            if (distance_of(sources->list[a].stage, step, plan) <= 1) {
                add_sum(sources, solve, sources->list[b].stage, sources->list[a].stage);
            }
        }
    }
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *norm = &plan->steps[s];
        bool fits = norm->op == OP_rms_norm && norm->layer == step->layer && norm->width == sources->width &&
                    norm->variant == VARIANT_NONE;
        for (uint32_t a = 0; a < n && fits; a++) {
            if (distance_of(sources->list[a].stage, step, plan) <= 1) {
                add_norm(sources, solve, sources->list[a].stage, norm);
            }
        }
    }
}

void wiring_sources_open(struct wiring_sources *sources, const struct solve *solve, uint32_t width, bool computed)
{
    uint64_t most = solve->evidence->trace->n_stages + MOST_NEAR * MOST_NEAR / 2 +
                    (uint64_t)MOST_NEAR * solve->evidence->plan->n_steps;
    *sources = (struct wiring_sources){.width = width, .list = xcalloc(most, sizeof(*sources->list))};
    add_stages(sources, solve);
    if (computed) {
        add_computed(sources, solve);
    }
}

void wiring_sources_close(struct wiring_sources *sources)
{
    for (uint32_t s = 0; s < sources->n; s++) {
        free(sources->list[s].values);
        free(sources->list[s].error);
    }
    free(sources->list);
}

void wiring_source_use(const struct wiring_source *source, const struct solve *solve, struct op_row *rows,
                       unsigned input)
{
    uint64_t width = source->stage->width;
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        rows[i].in[input] = source->values ? source->values + i * width : trace_row(source->stage, rows[i].position);
        rows[i].error[input] = source->error ? source->error + i * width : NULL;
    }
}

const char *wiring_source_name(const struct wiring_source *source, char text[160])
{
    char stage[64], other[64];
    (void)trace_label(source->stage, stage);
    if (source->plus) {
        snprintf(text, 160, "%s + %s", stage, trace_label(source->plus, other));
    } else if (source->norm) {
        snprintf(text, 160, "%s, normalised as for %s", stage, step_label(source->norm, other));
    } else {
        snprintf(text, 160, "%s", stage);
    }
    return text;
}
