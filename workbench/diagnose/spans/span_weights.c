/* Wrong weights inside a span: a bias, a matrix or a norm's weight of one op whose stage is not recorded. What is tried
 * needs no search: the weights are another step's, or their own in another order. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/products/product_samples.h"
#include "workbench/diagnose/spans/span_search.h"

#define MOST_VALUES (1u << 22) /* of a bias that is written anew */

static bool is_product(const struct step *step)
{
    return step->op == OP_matmul || step->op == OP_expert_matmul;
}

/* A bias with its rows, one an expert, in another order, multiplied by a factor. */
struct bias_rows {
    double times;
    uint64_t shift; /* row e is row e + shift */
    bool first;     /* every row is the first */
};

static void write_row(const void *context, const struct tensor *bias, uint64_t row, float *values)
{
    const struct bias_rows *edit = context;
    uint64_t n = tensor_row_elems(bias), from = edit->first ? 0 : (row + edit->shift) % tensor_rows(bias);
    weights_decode(bias, from, 0, n, values);
    for (uint64_t i = 0; i < n; i++) {
        values[i] = (float)(edit->times * values[i]);
    }
}

static bool write_bias(struct step *step, struct arena *arena, const struct bias_rows *edit)
{
    const struct tensor *bias = step->weight[1];
    bool of_experts = step->op == OP_expert_matmul;
    if (!is_product(step) || !bias || tensor_rows(bias) * tensor_row_elems(bias) > MOST_VALUES ||
        ((edit->shift > 0 || edit->first) && !of_experts)) {
        return false;
    }
    step->weight[1] = weights_expand(arena, bias, write_row, edit);
    return true;
}

static bool bias_twice(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)plan, (void)s;
    return write_bias(step, arena, &(struct bias_rows){.times = 2});
}

static bool bias_subtracted(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)plan, (void)s;
    return write_bias(step, arena, &(struct bias_rows){.times = -1});
}

static bool bias_of_next_expert(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)plan, (void)s;
    return write_bias(step, arena, &(struct bias_rows){.times = 1, .shift = 1});
}

static bool bias_of_expert_before(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)plan, (void)s;
    bool has_bias = is_product(step) && step->weight[1];
    return has_bias &&
           write_bias(step, arena, &(struct bias_rows){.times = 1, .shift = tensor_rows(step->weight[1]) - 1});
}

static bool bias_of_first_expert(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)plan, (void)s;
    return write_bias(step, arena, &(struct bias_rows){.times = 1, .first = true});
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a && b && a != b && a->n_dims == b->n_dims && memcmp(a->shape, b->shape, sizeof(a->shape)) == 0;
}

/* The norm's input is passed on. */
static bool norm_skipped(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)plan, (void)s, (void)arena;
    bool may = step->op == OP_rms_norm && step->variant == VARIANT_NONE;
    step->variant = may ? VARIANT_COPY : step->variant;
    return may;
}

/* Takes weights of the same stage in another layer. */
static bool take(const struct plan *plan, struct step *step, int32_t layer, unsigned first, unsigned end)
{
    int32_t other = step->layer == LAYER_NONE || layer < 0 ? -1 : plan_find(plan, layer, step->stage);
    bool any = false;
    for (unsigned i = first; i < end && other >= 0; i++) {
        const struct tensor *tensor = plan->steps[other].weight[i];
        if (same_shape(tensor, step->weight[i])) {
            step->weight[i] = tensor;
            any = true;
        }
    }
    return any;
}

static bool weights_of_next_layer(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)arena;
    int32_t next = (plan->steps[s].layer + 1) % (int32_t)plan->n_layers;
    return take(plan, step, next, 0, OP_MAX_WEIGHTS);
}

static bool weights_of_layer_before(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)arena;
    return take(plan, step, plan->steps[s].layer - 1, 0, OP_MAX_WEIGHTS);
}

static bool bias_of_next_layer(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)arena;
    int32_t next = (plan->steps[s].layer + 1) % (int32_t)plan->n_layers;
    return is_product(step) && take(plan, step, next, 1, 2);
}

static bool bias_of_layer_before(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)arena;
    return is_product(step) && take(plan, step, plan->steps[s].layer - 1, 1, 2);
}

/* Takes the weights of the next step in its layer, in a circle, that has some of the same shape. */
static bool take_other_stage(const struct plan *plan, uint32_t s, struct step *step, bool bias_too)
{
    for (uint32_t k = 1; k < plan->n_steps; k++) {
        const struct step *other = &plan->steps[(s + k) % plan->n_steps];
        if (other->layer == step->layer && other->op == step->op && other->stage != step->stage &&
            same_shape(other->weight[0], step->weight[0])) {
            bool bias_differs = step->weight[1] != other->weight[1];
            memcpy(step->weight, other->weight, bias_too ? sizeof(step->weight) : sizeof(*step->weight));
            return bias_too || bias_differs;
        }
    }
    return false;
}

static bool weights_of_other_stage(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)arena;
    return take_other_stage(plan, s, step, true);
}

static bool matrix_of_other_stage(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)arena;
    return take_other_stage(plan, s, step, false);
}

static bool matrix_of_next_layer(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena)
{
    (void)arena;
    int32_t next = (plan->steps[s].layer + 1) % (int32_t)plan->n_layers;
    return step->weight[1] && take(plan, step, next, 0, 1);
}

static const struct weights_edit edits[] = {
    {bias_twice, KIND_ADDITIVE, "The bias is added twice."},
    {bias_subtracted, KIND_ADDITIVE, "The bias is subtracted."},
    {bias_of_next_expert, KIND_ADDITIVE, "Experts have each other's bias: expert e has that of e + 1."},
    {bias_of_expert_before, KIND_ADDITIVE, "Experts have each other's bias: expert e has that of e - 1."},
    {bias_of_first_expert, KIND_ADDITIVE, "Every expert has the bias of expert 0."},
    {bias_of_next_layer, KIND_ADDITIVE, "The bias is the next layer's (the last layer has the first one's)."},
    {bias_of_layer_before, KIND_ADDITIVE, "The bias is that of the layer before."},
    {weights_of_next_layer, KIND_WIRING, "The weights are the next layer's (the last layer has the first one's)."},
    {weights_of_layer_before, KIND_WIRING, "The weights are those of the layer before."},
    {weights_of_other_stage, KIND_WIRING, "The weights are those of another stage of the layer, of the same shape."},
    {matrix_of_other_stage, KIND_WIRING, "The matrix is that of another stage of the layer, of the same shape."},
    {matrix_of_next_layer, KIND_WIRING, "The matrix is the next layer's (the last layer has the first one's)."},
    {norm_skipped, KIND_WIRING, "The norm is skipped, and its input is passed on."},
};

/* Whether an edit comes far nearer to the first failing row: a proof takes longer. */
static bool is_near(struct span_search *search, const struct span_edit *edit, double right)
{
    return 16 * span_miss(search, edit, false) <= right;
}

/* The edit in all of steps[n_steps]. right: what the unedited plan misses the first failing row by. */
static bool explains(struct span_search *search, const struct span_edit *edit, double right, struct diagnosis *found)
{
    uint32_t n_right = 0;
    char where[160];
    const struct plan *plan = search->failure->plan;
    const struct weights_edit *weights = edit->weights;
    double worst = is_near(search, edit, right) ? span_try(search, edit, &n_right) : INFINITY;
    if (worst > 1 && n_right == 0) {
        return false;
    }
    *found = (struct diagnosis){.how = HOW_REPRODUCED,
                                .kind = weights->kind,
                                .postmortem = "",
                                .step = span_name_edited(plan, edit->steps, where)};
    snprintf(found->fault, sizeof(found->fault), "%s", fault_kind_name(weights->kind));
    const struct fault *swapped = fault_by_name("gate-up-swapped"); /* this edit of these stages has a story */
    enum stage stage = plan->steps[found->step].stage;
    if (weights->apply == weights_of_other_stage && (stage == STAGE_ffn_gate || stage == STAGE_ffn_up)) {
        found->postmortem = swapped->postmortem;
        snprintf(found->fault, sizeof(found->fault), "%s", swapped->name);
    }
    snprintf(found->text, sizeof(found->text), "%.160s Here in %.110s, which %s not recorded.", weights->text, where,
             strchr(where, ',') ? "are" : "is");
    if (worst > 1) {
        span_part_keep(search, edit, n_right, found);
        return false;
    }
    size_t length = strlen(found->text);
    snprintf(found->text + length, sizeof(found->text) - length,
             " Computed so, the rows recorded after it come out as recorded (worst ratio %.3f).", worst);
    return true;
}

bool span_weights(struct span_search *search, struct diagnosis *found)
{
    const struct span_failure *failure = search->failure;
    const struct span_path *path = failure->path;
    const struct plan *plan = failure->plan;
    uint8_t *all = xcalloc(plan->n_steps, 1), *one = xcalloc(plan->n_steps, 1);
    double right = span_miss(search, &(struct span_edit){.weights = &edits[0], .steps = one}, false);
    bool explained = false;
    for (size_t e = 0; e < sizeof(edits) / sizeof(*edits) && !explained && !stop_asked(); e++) {
        uint32_t n = 0;
        bool swaps = edits[e].apply == weights_of_other_stage;
        if (failure->known && strcmp(failure->known->fault, fault_kind_name(edits[e].kind)) != 0 &&
            !(swaps && strcmp(failure->known->fault, "gate-up-swapped") == 0)) {
            continue;
        }
        memset(all, 0, plan->n_steps);
        for (uint32_t i = 0; i <= path->n_between; i++) {
            uint32_t s = i < path->n_between ? path->between[i] : failure->step;
            struct step step = plan->steps[s];
            struct arena arena = {0};
            n += all[s] = edits[e].apply(plan, s, &step, &arena);
            arena_free(&arena);
        }
        explained = n > 1 && explains(search, &(struct span_edit){.weights = &edits[e], .steps = all}, right, found);
        for (uint32_t s = 0; s < plan->n_steps && !explained && n > 0; s++) {
            one[s] = all[s];
            explained =
                one[s] && explains(search, &(struct span_edit){.weights = &edits[e], .steps = one}, right, found);
            one[s] = 0;
        }
    }
    free(one);
    free(all);
    return explained;
}
