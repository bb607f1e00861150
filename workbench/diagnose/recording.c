#include "workbench/diagnose/recording.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/arithmetic.h"
#include "workbench/audit/verdict.h"

struct recording_outcome recording_audit(const struct plan *plan, struct trace *trace, bool whole)
{
    const struct trace *list[] = {trace};
    const enum source sources[] = {SOURCE_TRACE};
    struct audit audit;
    struct arithmetic arithmetic;
    struct verdict verdict;
    if (whole) {
        audit_run(&audit, plan, list, 1, NULL, NULL);
    } else if (!audit_while(&audit, plan, trace, arithmetic_may_explain)) {
        audit_free(&audit);
        return (struct recording_outcome){.n_failing = 1};
    }
    arithmetic_infer(&arithmetic, &audit, list, 0, trace);
    verdict_reach(&verdict, &audit, list, sources, true);
    struct recording_outcome outcome = {.n_failing = verdict.n_introduced,
                                        .first =
                                            verdict.n_introduced > 0 ? verdict_first(&verdict)->step : plan->n_steps};
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        outcome.n_judged += audit_finding(&audit, s, 0)->rows_judged > 0;
    }
    uint64_t ops = 0;
    for (uint32_t i = 0; i < verdict.n_introduced; i++) {
        uint64_t op = (uint64_t)1 << plan->steps[verdict.introduced[i].step].op;
        outcome.n_ops += !(ops & op);
        ops |= op;
    }
    verdict_free(&verdict);
    audit_free(&audit);
    return outcome;
}

static struct trace_stage *last_layer_out(const struct trace *trace, const struct plan *plan)
{
    return trace_find(trace, (int32_t)plan->n_layers - 1, STAGE_layer_out);
}

/* Whether every row is what the final norm makes: divided by (offset + weight) its mean square is 1, but for eps (which
 * makes it less) and for what its values are rounded to. */
static bool is_normalised(const struct trace *trace, const struct trace_stage *stage, const struct plan *plan)
{
    int32_t norm = plan_find(plan, LAYER_NONE, STAGE_final_norm);
    const struct step *step = norm >= 0 ? &plan->steps[norm] : NULL;
    if (!step || step->op != OP_rms_norm || step->params.rms_norm.dim != stage->width) {
        return false;
    }
    float *weight = xmalloc(stage->width * sizeof(*weight));
    weights_decode(step->weight[0], 0, 0, stage->width, weight);
    bool normalised = stage->n_recorded > 0;
    for (uint32_t p = 0; p < trace->n_positions && normalised; p++) {
        const float *row = trace_row(stage, p);
        double squares = 0;
        uint32_t n = 0;
        for (uint32_t d = 0; row && d < stage->width; d++) {
            double by = step->params.rms_norm.offset + weight[d];
            squares += fabs(by) > 1e-3 ? (row[d] / by) * (row[d] / by) : 0;
            n += fabs(by) > 1e-3;
        }
        normalised = !row || (n > 0 && fabs(sqrt(squares / n) - 1) < 0.02);
    }
    free(weight);
    return normalised;
}

/* transformers' output_hidden_states ends with the state after the final norm. */
static bool move_last_behind_norm(struct trace *trace, const struct plan *plan)
{
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

/* Every layer's stages are those of the layer before; layer 0's layer_out is the embedding. */
static bool shift_down(struct trace *trace, const struct plan *plan)
{
    (void)plan;
    bool moved = false;
    for (uint32_t i = 0; i < trace->n_stages;) {
        struct trace_stage *stage = &trace->stages[i];
        if (stage->layer == LAYER_NONE) {
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

/* Every layer's stages are those of the layer behind. */
static bool shift_up(struct trace *trace, const struct plan *plan)
{
    bool moved = false;
    for (uint32_t i = trace->n_stages; i-- > 0;) {
        struct trace_stage *stage = &trace->stages[i];
        if (stage->layer == LAYER_NONE) {
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

static const struct attention_params *attention_of(const struct plan *plan, int32_t layer)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (plan->steps[s].op == OP_attention && plan->steps[s].layer == layer) {
            return &plan->steps[s].params.attention;
        }
    }
    return NULL;
}

/* Pairs lie side by side, as in GGUF files of llama: brought to halves. */
static void unpair(struct trace_stage *stage, uint32_t n_positions, uint32_t dim)
{
    float *head = xmalloc(dim * sizeof(*head));
    for (uint64_t at = 0; at < (uint64_t)n_positions * stage->width; at += dim) {
        for (uint32_t i = 0; i < dim / 2; i++) {
            head[i] = stage->rows[at + 2 * i];
            head[i + dim / 2] = stage->rows[at + 2 * i + 1];
        }
        memcpy(stage->rows + at, head, dim * sizeof(*head));
    }
    free(head);
}

static bool unpair_all(struct trace *trace, const struct plan *plan)
{
    bool changed = false;
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        struct trace_stage *stage = &trace->stages[i];
        bool paired = stage->stage == STAGE_q_proj || stage->stage == STAGE_k_proj || stage->stage == STAGE_q_norm ||
                      stage->stage == STAGE_k_norm || stage->stage == STAGE_q_rope || stage->stage == STAGE_k_rope;
        const struct attention_params *p = paired ? attention_of(plan, stage->layer) : NULL;
        if (p && p->dim % 2 == 0 && stage->width % p->dim == 0) {
            unpair(stage, trace->n_positions, p->dim);
            changed = true;
        }
    }
    return changed;
}

/* Rows recorded as [heads, positions, dim]: of the stages that transformers has in that form. */
static bool heads_behind(struct trace *trace, const struct plan *plan, const enum stage *stages, unsigned n_stages)
{
    bool changed = false;
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        struct trace_stage *stage = &trace->stages[i];
        bool wanted = false;
        for (unsigned k = 0; k < n_stages; k++) {
            wanted |= stage->stage == stages[k];
        }
        const struct attention_params *p = wanted ? attention_of(plan, stage->layer) : NULL;
        uint32_t n = trace->n_positions, heads = p ? stage->width / p->dim : 0;
        if (heads < 2 || n < 2 || stage->n_recorded != n) {
            continue;
        }
        float *rows = xmalloc((uint64_t)n * stage->width * sizeof(*rows));
        for (uint32_t h = 0; h < heads; h++) {
            for (uint32_t row = 0; row < n; row++) {
                memcpy(rows + ((uint64_t)row * heads + h) * p->dim, stage->rows + ((uint64_t)h * n + row) * p->dim,
                       p->dim * sizeof(*rows));
            }
        }
        free(stage->rows);
        stage->rows = rows;
        changed = true;
    }
    return changed;
}

static bool heads_behind_all(struct trace *trace, const struct plan *plan)
{
    static const enum stage stages[] = {STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_q_norm,
                                        STAGE_k_norm, STAGE_q_rope, STAGE_k_rope, STAGE_attn_out};
    return heads_behind(trace, plan, stages, sizeof(stages) / sizeof(*stages));
}

static bool heads_behind_norms(struct trace *trace, const struct plan *plan)
{
    static const enum stage stages[] = {STAGE_q_norm, STAGE_k_norm, STAGE_q_rope, STAGE_k_rope};
    return heads_behind(trace, plan, stages, sizeof(stages) / sizeof(*stages));
}

static bool heads_behind_ropes(struct trace *trace, const struct plan *plan)
{
    static const enum stage stages[] = {STAGE_q_rope, STAGE_k_rope};
    return heads_behind(trace, plan, stages, sizeof(stages) / sizeof(*stages));
}

const char *recording_narrow_type(const struct trace *trace)
{
    static const struct {
        const char *name;
        enum rounding_type type;
    } types[] = {{"bfloat16", ROUNDING_BF16}, {"float16", ROUNDING_F16}};
    for (unsigned k = 0; k < sizeof(types) / sizeof(*types); k++) {
        bool narrow = true, any = false;
        for (uint32_t i = 0; i < trace->n_stages && narrow; i++) {
            const struct trace_stage *stage = &trace->stages[i];
            for (uint32_t p = 0; p < trace->n_positions && narrow && !stage_is_integer(stage->stage); p++) {
                const float *row = trace_row(stage, p);
                for (uint32_t d = 0; row && d < stage->width && narrow; d++) {
                    narrow = !isfinite(row[d]) || round_number(types[k].type, row[d]) == row[d];
                    any = true;
                }
            }
        }
        if (narrow && any) {
            return types[k].name;
        }
    }
    return NULL;
}

static bool round_for_file(struct trace *trace, const struct plan *plan)
{
    (void)plan;
    const char *type = recording_narrow_type(trace);
    double u, smallest;
    if (!type || !float_type(type, &u, &smallest)) {
        return false;
    }
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        trace->stages[i].arith.u_storage = arith_float32.u_storage;
        trace->stages[i].arith.eta = arith_float32.eta;
        stage_set_rounded(&trace->stages[i], trace->n_positions, u);
    }
    trace->arith.u_storage = arith_float32.u_storage;
    trace->arith.eta = arith_float32.eta;
    return true;
}

/* The mistakes, the likeliest first. */
static const struct recording {
    const char *name, *text;
    bool (*put_right)(struct trace *trace, const struct plan *plan);
    uint32_t n_proven; /* stages that put_right itself proves to lie where it puts them */
} recordings[] = {
    {"last-state-after-norm",
     "the last layer's layer_out is the state after the final norm, as in transformers' output_hidden_states; "
     "record it as final_norm, and layer_out from a hook on the last layer",
     move_last_behind_norm, 1},
    {"layers-shifted-down",
     "every layer's stages are those of the layer before, and layer 0 layer_out is embed; record "
     "hidden_states[0] as embed and hidden_states[i + 1] as layer i layer_out",
     shift_down, 0},
    {"layers-shifted-up", "every layer's stages are those of the next layer; record them one layer higher", shift_up,
     0},
    {"pairs-side-by-side",
     "q and k are in the order of a GGUF file, rope's pairs side by side; record dims 0, 2, 4 … of each "
     "head, then 1, 3, 5 …",
     unpair_all, 0},
    {"heads-first",
     "q, k, v and attn_out are recorded as [heads, positions, dim]; transpose them to "
     "[positions, heads, dim]",
     heads_behind_all, 0},
    {"heads-first",
     "q and k are recorded as [heads, positions, dim] from their norms on; transpose them to "
     "[positions, heads, dim]",
     heads_behind_norms, 0},
    {"heads-first",
     "q_rope and k_rope are recorded as [heads, positions, dim]; transpose them to [positions, heads, dim]",
     heads_behind_ropes, 0},
    {"rounded-for-file",
     "the values were rounded for the file alone, and the engine computes with more; declare "
     "rounded_dtype in place of storage_dtype, or record float32",
     round_for_file, 0},
};

/* The audit of a copy of the trace once put right. n_failing UINT32_MAX: there is nothing to put right. *n_lost: stages
 * that have no place any more, and cannot be judged. */
static struct recording_outcome audit_put_right(const struct plan *plan, const struct trace *trace,
                                                const struct recording *recording, uint32_t *n_lost)
{
    struct recording_outcome outcome = {.n_failing = UINT32_MAX};
    bool whole = recording->n_proven > 0; /* else it must explain everything */
    struct trace copy;
    trace_copy(&copy, trace);
    for (uint32_t s = 0; s < copy.n_stages; s++) {
        copy.stages[s].is_inferred[PHASE_PREFILL] = copy.stages[s].is_inferred[PHASE_DECODE] = false;
    }
    if (recording->put_right(&copy, plan)) {
        outcome = recording_audit(plan, &copy, whole);
        if (outcome.n_failing > 0 && recording_infer_storage(plan, &copy)) {
            outcome = recording_audit(plan, &copy, whole);
        }
    }
    *n_lost = trace->n_stages - copy.n_stages;
    trace_free(&copy);
    return outcome;
}

bool recording_find(const struct plan *plan, const struct trace *trace, uint32_t first, struct diagnosis *found)
{
    for (size_t i = 0; i < sizeof(recordings) / sizeof(*recordings) && !stop_asked(); i++) {
        uint32_t n_lost;
        struct recording_outcome outcome = audit_put_right(plan, trace, &recordings[i], &n_lost);
        struct trace copy;
        if (outcome.n_failing == UINT32_MAX || (outcome.n_failing > 0 && recordings[i].n_proven == 0)) {
            continue;
        }
        trace_copy(&copy, trace);
        struct recording_outcome as_recorded = recording_audit(plan, &copy, true);
        trace_free(&copy);
        /* What is proven by itself need not explain everything: the trace may hold a bug as well. */
        bool explains = outcome.n_failing == 0 || (recordings[i].n_proven > 0 && outcome.first > as_recorded.first &&
                                                   outcome.n_failing <= as_recorded.n_failing);
        /* Of a single op any error of that size would do; values rounded for the file make several fail. */
        explains &= recordings[i].put_right != round_for_file || as_recorded.n_ops >= 2;
        /* Where most of what was judged has no place any more, as the stages of a single layer, nothing is proven. */
        explains &= 2 * outcome.n_judged >= as_recorded.n_judged;
        if (!explains || outcome.n_judged + n_lost + recordings[i].n_proven < as_recorded.n_judged) {
            continue;
        }
        char label[64], then[128];
        snprintf(then, sizeof(then), "%s%s", outcome.n_failing > 0 ? "diverged, first at " : "parity",
                 outcome.n_failing > 0 ? step_label(&plan->steps[outcome.first], label) : "");
        *found = (struct diagnosis){.how = HOW_REPRODUCED, .kind = KIND_RECORDING, .postmortem = "", .step = first};
        snprintf(found->fault, sizeof(found->fault), "%s", recordings[i].name);
        snprintf(found->text, sizeof(found->text),
                 "the recording is wrong, not the engine: %s; once put right, the verdict is %s", recordings[i].text,
                 then);
        return true;
    }
    return false;
}
