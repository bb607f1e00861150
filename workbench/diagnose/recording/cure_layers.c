/* Cures of stages that are recorded at another layer's place. */
#include <math.h>
#include <stdlib.h>

#include "workbench/diagnose/recording/cure.h"

static struct trace_stage *last_layer_out(const struct trace *trace, const struct plan *plan)
{
    return trace_find(trace, (int32_t)plan->n_layers - 1, STAGE_layer_out);
}

/* Whether every finite row is what the final norm makes: divided by (offset + weight) its mean square is 1, but for eps
 * (which makes it less) and for what its values are rounded to. */
static bool is_normalised(const struct trace *trace, const struct trace_stage *stage, const struct plan *plan)
{
    int32_t norm = plan_find(plan, LAYER_NONE, STAGE_final_norm);
    const struct step *step = norm >= 0 ? &plan->steps[norm] : NULL;
    if (!step || step->op != OP_rms_norm || step->params.rms_norm.dim != stage->width) {
        return false;
    }
    float *weight = xmalloc(stage->width * sizeof(*weight));
    weights_decode(step->weight[0], 0, 0, stage->width, weight);
    bool normalised = true, any = false;
    for (uint32_t p = 0; p < trace->n_positions && normalised; p++) {
        const float *row = trace_row(stage, p);
        double squares = 0;
        uint32_t n = 0;
        for (uint32_t d = 0; row && d < stage->width; d++) {
            double by = step->params.rms_norm.offset + weight[d];
            squares += fabs(by) > 1e-3 ? (row[d] / by) * (row[d] / by) : 0;
            n += fabs(by) > 1e-3;
        }
        bool judged = row && isfinite(squares);
        normalised = !judged || (n > 0 && fabs(sqrt(squares / n) - 1) < 0.02);
        any |= judged;
    }
    free(weight);
    return normalised && any;
}

/* transformers' output_hidden_states ends with the state after the final norm. */
bool cure_last_state(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    (void)cure;
    struct trace_stage *last = last_layer_out(trace, plan);
    if (!last || !is_normalised(trace, last, plan)) {
        return false;
    }
    if (trace_find(trace, LAYER_NONE, STAGE_final_norm)) {
        trace_remove_stage(trace, last);
    } else {
        trace_move_stage(trace, last, LAYER_NONE, STAGE_final_norm);
    }
    return true;
}

/* Which stages of layers a shift moves. */
enum shifted { SHIFTED_ALL, SHIFTED_STATES /* layer_out alone */ };

static bool is_shifted(const struct trace_stage *stage, enum shifted shifted)
{
    return stage->layer != LAYER_NONE && (shifted == SHIFTED_ALL || stage->stage == STAGE_layer_out);
}

/* Stages of each layer are those of the layer before; layer 0's layer_out is the embedding. */
static bool shift_down(struct trace *trace, enum shifted shifted)
{
    bool moved = false;
    for (uint32_t i = 0; i < trace->n_stages;) {
        struct trace_stage *stage = &trace->stages[i];
        if (!is_shifted(stage, shifted)) {
            i++;
        } else if (stage->layer > 0) {
            trace_move_stage(trace, stage, stage->layer - 1, stage->stage);
            moved = true;
            i++;
        } else if (stage->stage == STAGE_layer_out && !trace_find(trace, LAYER_NONE, STAGE_embed)) {
            trace_move_stage(trace, stage, LAYER_NONE, STAGE_embed);
            moved = true;
            i++;
        } else {
            trace_remove_stage(trace, stage);
            moved = true;
        }
    }
    return moved;
}

/* Stages of each layer are those of the layer behind. */
static bool shift_up(struct trace *trace, const struct plan *plan, enum shifted shifted)
{
    bool moved = false;
    for (uint32_t i = trace->n_stages; i-- > 0;) {
        struct trace_stage *stage = &trace->stages[i];
        if (!is_shifted(stage, shifted)) {
            continue;
        }
        moved = true;
        if ((uint32_t)stage->layer + 1 < plan->n_layers) {
            trace_move_stage(trace, stage, stage->layer + 1, stage->stage);
        } else {
            trace_remove_stage(trace, stage);
        }
    }
    return moved;
}

bool cure_shift_down(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    (void)plan;
    (void)cure;
    return shift_down(trace, SHIFTED_ALL);
}

bool cure_shift_up(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    (void)cure;
    return shift_up(trace, plan, SHIFTED_ALL);
}

bool cure_states_down(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    (void)plan;
    (void)cure;
    return shift_down(trace, SHIFTED_STATES);
}

bool cure_states_up(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    (void)cure;
    return shift_up(trace, plan, SHIFTED_STATES);
}
