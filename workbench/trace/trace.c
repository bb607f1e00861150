#include "workbench/trace/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "reference/bounds.h"

void trace_init(struct trace *trace, const char *name, const char *model_type, uint32_t n_layers, uint32_t n_positions,
                const int32_t *tokens, const uint8_t *phase)
{
    *trace = (struct trace){
        .path = xstrdup(name),
        .producer = xstrdup("lockstep"),
        .model_type = xstrdup(model_type),
        .n_layers = n_layers,
        .n_positions = n_positions,
        .arith = arith_float32,
        .weights_dtype = DTYPE_F32,
    };
    trace->tokens = xcalloc(n_positions, sizeof(*trace->tokens));
    trace->phase = xcalloc(n_positions, sizeof(*trace->phase));
    memcpy(trace->tokens, tokens, n_positions * sizeof(*tokens));
    memcpy(trace->phase, phase, n_positions * sizeof(*phase));
}

void trace_free(struct trace *trace)
{
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        free(trace->stages[i].rows);
        free(trace->stages[i].recorded);
        free(trace->stages[i].error);
    }
    for (uint32_t i = 0; i < trace->n_notes; i++) {
        free(trace->notes[i]);
    }
    free(trace->notes);
    free(trace->stages);
    free(trace->tokens);
    free(trace->phase);
    free(trace->path);
    free(trace->producer);
    free(trace->model_type);
    *trace = (struct trace){0};
}

/* A stage's place in plan order: embed, then the layers, then the stages after them. */
static int64_t plan_order(const struct trace *trace, int32_t layer, enum stage stage)
{
    int64_t outside = stage == STAGE_embed ? -1 : (int64_t)trace->n_layers;
    int64_t group = stage_in_layer(stage) ? layer : outside;
    return group * STAGE_COUNT + stage;
}

/* Index of the first stage that is not before (layer, stage) in plan order; n_stages if there is none. */
static uint32_t lower_bound(const struct trace *trace, int32_t layer, enum stage stage)
{
    int64_t order = plan_order(trace, layer, stage);
    uint32_t low = 0, high = trace->n_stages;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct trace_stage *there = &trace->stages[middle];
        if (plan_order(trace, there->layer, there->stage) < order) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct trace_stage *trace_find(const struct trace *trace, int32_t layer, enum stage stage)
{
    uint32_t at = lower_bound(trace, layer, stage);
    if (at == trace->n_stages || trace->stages[at].layer != layer || trace->stages[at].stage != stage) {
        return NULL;
    }
    return &trace->stages[at];
}

struct trace_stage *trace_find_step(const struct trace *trace, const struct step *step)
{
    return trace_find(trace, step->layer, step->stage);
}

struct trace_stage *trace_add(struct trace *trace, int32_t layer, enum stage stage, uint32_t width)
{
    struct trace_stage *found = trace_find(trace, layer, stage);
    if (found) {
        ASSERT(found->width == width);
        return found;
    }
    ASSERT(stage_in_layer(stage) ? layer >= 0 && (uint32_t)layer < trace->n_layers : layer == LAYER_NONE);
    uint32_t at = lower_bound(trace, layer, stage);
    trace->stages = xrealloc(trace->stages, (trace->n_stages + 1) * sizeof(*trace->stages));
    memmove(&trace->stages[at + 1], &trace->stages[at], (trace->n_stages - at) * sizeof(*trace->stages));
    trace->n_stages++;
    uint64_t n_values = (uint64_t)trace->n_positions * width;
    struct trace_stage *added = &trace->stages[at];
    *added = (struct trace_stage){
        .layer = layer,
        .stage = stage,
        .width = width,
        .rows = xmalloc(n_values * sizeof(float)),
        .recorded = xcalloc(trace->n_positions, 1),
        .arith = trace->arith,
        .weights_dtype = trace->weights_dtype,
        .decode_differs = trace->decode_differs,
        .decode = trace->decode,
    };
    for (uint64_t i = 0; i < n_values; i++) {
        added->rows[i] = NAN;
    }
    return added;
}

void trace_copy(struct trace *copy, const struct trace *trace)
{
    *copy = *trace;
    copy->path = xstrdup(trace->path);
    copy->producer = xstrdup(trace->producer);
    copy->model_type = xstrdup(trace->model_type);
    copy->notes = NULL;
    copy->n_notes = 0;
    copy->tokens = xmalloc(trace->n_positions * sizeof(*copy->tokens));
    copy->phase = xmalloc(trace->n_positions * sizeof(*copy->phase));
    memcpy(copy->tokens, trace->tokens, trace->n_positions * sizeof(*copy->tokens));
    memcpy(copy->phase, trace->phase, trace->n_positions * sizeof(*copy->phase));
    copy->stages = xmalloc(trace->n_stages * sizeof(*copy->stages));
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        const struct trace_stage *from = &trace->stages[i];
        struct trace_stage *to = &copy->stages[i];
        uint64_t n = (uint64_t)trace->n_positions * from->width;
        *to = *from;
        to->rows = xmalloc(n * sizeof(*to->rows));
        to->recorded = xmalloc(trace->n_positions);
        memcpy(to->rows, from->rows, n * sizeof(*to->rows));
        memcpy(to->recorded, from->recorded, trace->n_positions);
        if (from->error) {
            to->error = xmalloc(n * sizeof(*to->error));
            memcpy(to->error, from->error, n * sizeof(*to->error));
        }
    }
}

void trace_remove_stage(struct trace *trace, struct trace_stage *stage)
{
    free(stage->rows);
    free(stage->recorded);
    free(stage->error);
    uint32_t at = (uint32_t)(stage - trace->stages);
    trace->n_stages--;
    memmove(stage, stage + 1, (trace->n_stages - at) * sizeof(*stage));
}

void trace_move_stage(struct trace *trace, struct trace_stage *stage, int32_t layer, enum stage to)
{
    struct trace_stage moved = *stage;
    uint32_t at = (uint32_t)(stage - trace->stages);
    ASSERT(!trace_find(trace, layer, to));
    trace->n_stages--;
    memmove(stage, stage + 1, (trace->n_stages - at) * sizeof(*stage));
    moved.layer = layer;
    moved.stage = to;
    at = lower_bound(trace, layer, to);
    memmove(&trace->stages[at + 1], &trace->stages[at], (trace->n_stages - at) * sizeof(*trace->stages));
    trace->stages[at] = moved;
    trace->n_stages++;
}

/* Rounding errors are uniform within u |x|; what they do to a sum is bounded by BOUND_LAMBDA standard deviations. */
void stage_set_rounded(struct trace_stage *stage, uint32_t n_positions, double unit_roundoff)
{
    uint64_t n = (uint64_t)n_positions * stage->width;
    free(stage->error);
    stage->error = NULL;
    stage->arith.u_rounded = stage->decode.u_rounded = 0;
    if (unit_roundoff == 0 || stage_is_integer(stage->stage)) {
        return;
    }
    stage->arith.u_rounded = stage->decode.u_rounded = unit_roundoff;
    stage->error = xmalloc(n * sizeof(*stage->error));
    for (uint64_t at = 0; at < n; at++) {
        stage->error[at] = BOUND_LAMBDA / sqrt(3) * bound_rounded(unit_roundoff, fabs(stage->rows[at]));
    }
}

void trace_take_exact_inside(struct trace *trace)
{
    trace->arith.exact_inside = trace->decode.exact_inside = true;
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        trace->stages[i].arith.exact_inside = trace->stages[i].decode.exact_inside = true;
    }
}

void trace_forget_inferred(struct trace *trace)
{
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        memset(trace->stages[i].is_inferred, 0, sizeof(trace->stages[i].is_inferred));
    }
    trace->n_unrecorded = 0;
}

struct declaration trace_declaration(const struct trace *trace)
{
    return (struct declaration){trace->arith, trace->weights_dtype, trace->decode_differs, trace->decode};
}

void trace_declare(struct trace *trace, const struct declaration *declaration)
{
    trace->arith = declaration->arith;
    trace->weights_dtype = declaration->weights_dtype;
    trace->decode_differs = declaration->decode_differs;
    trace->decode = declaration->decode;
}

struct declaration stage_declaration(const struct trace_stage *stage)
{
    return (struct declaration){stage->arith, stage->weights_dtype, stage->decode_differs, stage->decode};
}

void stage_declare(struct trace_stage *stage, const struct declaration *declaration)
{
    stage->arith = declaration->arith;
    stage->weights_dtype = declaration->weights_dtype;
    stage->decode_differs = declaration->decode_differs;
    stage->decode = declaration->decode;
}

const struct arith *trace_stage_declared(const struct trace_stage *stage, unsigned phase)
{
    return phase == PHASE_DECODE && stage->decode_differs ? &stage->decode : &stage->arith;
}

const struct arith *trace_declared(const struct trace *trace, unsigned phase)
{
    return phase == PHASE_DECODE && trace->decode_differs ? &trace->decode : &trace->arith;
}

double trace_stage_coarsest(const struct trace_stage *stage)
{
    return fmax(stage->arith.u_storage, trace_stage_declared(stage, PHASE_DECODE)->u_storage);
}

const struct arith *trace_stage_arith(const struct trace_stage *stage, unsigned phase)
{
    ASSERT(phase <= PHASE_DECODE);
    return stage->is_inferred[phase] ? &stage->inferred[phase] : trace_stage_declared(stage, phase);
}

static struct unrecorded_class *find_unrecorded(const struct trace *trace, enum op op, uint32_t weights, unsigned phase)
{
    for (uint32_t i = 0; i < trace->n_unrecorded; i++) {
        const struct unrecorded_class *class = &trace->unrecorded[i];
        if (class->op == op && class->weights == weights && class->phase == phase) {
            return (struct unrecorded_class *)class;
        }
    }
    return NULL;
}

const struct arith *trace_unrecorded_arith(const struct trace *trace, const struct step *step, unsigned phase)
{
    const struct unrecorded_class *class = find_unrecorded(trace, step->op, step_weights_dtype(step), phase);
    return class ? &class->arith : trace_declared(trace, phase);
}

void trace_set_unrecorded(struct trace *trace, const struct unrecorded_class *class)
{
    struct unrecorded_class *place = find_unrecorded(trace, class->op, class->weights, class->phase);
    if (!place && trace->n_unrecorded < TRACE_MOST_UNRECORDED) {
        place = &trace->unrecorded[trace->n_unrecorded++];
    }
    if (place) {
        *place = *class;
    }
}

const float *trace_row(const struct trace_stage *stage, uint32_t position)
{
    return stage->recorded[position] ? stage->rows + (uint64_t)position * stage->width : NULL;
}

void trace_hide_others(const struct trace *trace, struct trace_stage *stage, uint32_t first, uint32_t n,
                       struct trace_stage *whole)
{
    *whole = *stage;
    stage->recorded = xcalloc(trace->n_positions, 1);
    stage->n_recorded = 0;
    for (uint32_t p = first; p < first + n && p < trace->n_positions; p++) {
        stage->recorded[p] = whole->recorded[p];
        stage->n_recorded += whole->recorded[p];
    }
}

void trace_show_all(struct trace_stage *stage, const struct trace_stage *whole)
{
    free(stage->recorded);
    *stage = *whole;
}

void trace_set_row(struct trace *trace, struct trace_stage *stage, uint32_t position, const float *row)
{
    ASSERT(position < trace->n_positions);
    memcpy(stage->rows + (uint64_t)position * stage->width, row, stage->width * sizeof(float));
    stage->n_recorded += !stage->recorded[position];
    stage->recorded[position] = 1;
}

const char *trace_label(const struct trace_stage *stage, char text[64])
{
    if (stage->layer == LAYER_NONE) {
        snprintf(text, 64, "%s", stage_name(stage->stage));
    } else {
        snprintf(text, 64, "layer %d %s", stage->layer, stage_name(stage->stage));
    }
    return text;
}
