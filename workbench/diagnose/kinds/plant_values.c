/* Bugs of sums, norms, activations, caps and experts' shares. */
#include "workbench/diagnose/kinds/plant.h"

bool plant_clipped(struct plant *plant)
{
    double largest = 0;
    plant_compute(plant);
    for (uint64_t at = 0; at < (uint64_t)plant->n * plant->right->width; at++) {
        largest = fmax(largest, plant->y[at]);
    }
    plant->number = (double)(float)(largest / 2);
    for (uint64_t at = 0; at < (uint64_t)plant->n * plant->right->width; at++) {
        plant->y[at] = fmin(plant->y[at], plant->number);
    }
    return largest > 0;
}

bool plant_half_branch(struct plant *plant)
{
    float *branch = plant_copy_input(plant, 1, plant->right->width);
    for (uint64_t at = 0; at < (uint64_t)plant->n * plant->right->width; at++) {
        branch[at] /= 2;
    }
    plant->number = 0.5;
    plant_compute(plant);
    return true;
}

bool plant_norm_offset(struct plant *plant)
{
    plant->step.params.rms_norm.offset += 0.25F;
    plant->number = (double)plant->step.params.rms_norm.offset;
    plant_compute(plant);
    return true;
}

bool plant_norm_without_root(struct plant *plant)
{
    const struct rms_norm_params *p = &plant->right->params.rms_norm;
    for (uint32_t i = 0; i < plant->n; i++) {
        double *inverse = arena_alloc(&plant->arena, p->groups * sizeof(*inverse));
        for (uint32_t g = 0; g < p->groups; g++) {
            double squares = 0;
            for (uint32_t d = 0; d < p->dim; d++) {
                double x = plant->rows[i].in[0][(uint64_t)g * p->dim + d];
                squares += x * x;
            }
            inverse[g] = 1 / (squares / p->dim + p->eps);
        }
        plant->rows[i].inverse = inverse;
    }
    plant_compute(plant);
    return true;
}

bool plant_relu(struct plant *plant)
{
    float *gate = plant_copy_input(plant, 0, plant->right->width);
    for (uint64_t at = 0; at < (uint64_t)plant->n * plant->right->width; at++) {
        gate[at] = fmaxf(gate[at], 0);
    }
    plant->step.params.glu.activation = ACTIVATION_NONE;
    plant_compute(plant);
    return true;
}

/* Gates are exact inputs of an op without an activation: up is multiplied by what the activation makes of them. */
static void activate(struct plant *plant, double (*act)(double gate))
{
    uint64_t n = (uint64_t)plant->n * plant->right->width;
    float *gate = plant_copy_input(plant, 0, plant->right->width);
    for (uint64_t at = 0; at < n; at++) {
        gate[at] = (float)act(gate[at]);
    }
    plant->step.params.glu.activation = ACTIVATION_NONE;
    plant_compute(plant);
}

static double silu_of_thrice(double gate)
{
    return 3 * gate / (1 + exp(-3 * gate));
}

bool plant_silu_of_thrice(struct plant *plant)
{
    activate(plant, silu_of_thrice);
    plant->number = 3;
    return true;
}

static double gelu_with_a_tenth(double gate)
{
    return gate / 2 * (1 + tanh(sqrt(2 / M_PI) * (gate + 0.1 * gate * gate * gate)));
}

bool plant_gelu_with_a_tenth(struct plant *plant)
{
    activate(plant, gelu_with_a_tenth);
    plant->number = 0.1;
    return true;
}

bool plant_swiglu_alpha(struct plant *plant)
{
    plant->step.params.swiglu.alpha = 1;
    plant->number = 1;
    plant_compute(plant);
    return true;
}

bool plant_swiglu_added(struct plant *plant)
{
    const struct swiglu_params *p = &plant->right->params.swiglu;
    float limit = p->limit, *x = plant_copy_input(plant, 0, 2 * p->width);
    for (uint64_t i = 0; i < (uint64_t)plant->n * p->width; i++) {
        x[2 * i] = fminf(x[2 * i], limit);
        x[2 * i + 1] = fmaxf(fminf(x[2 * i + 1], limit), -limit) - 0.5F;
    }
    plant->step.params.swiglu.limit = INFINITY;
    plant->number = 0.5;
    plant_compute(plant);
    return true;
}

bool plant_capped_larger(struct plant *plant)
{
    float *x = plant_copy_input(plant, 0, plant->right->width);
    for (uint64_t at = 0; at < (uint64_t)plant->n * plant->right->width; at++) {
        x[at] *= 3;
    }
    plant->number = 3;
    plant_compute(plant);
    return plant->right->params.softcap.cap != 0;
}

bool plant_last_expert_lost(struct plant *plant)
{
    uint32_t k = plant->right->params.expert_sum.k;
    float *shares = plant_copy_input(plant, 1, k);
    for (uint32_t i = 0; i < plant->n; i++) {
        shares[(uint64_t)i * k + k - 1] = 0;
    }
    plant->number = (double)plant->n * (k - 1);
    plant_compute(plant);
    return k > 1;
}

bool plant_whole_biases(struct plant *plant)
{
    const struct step *down = &plant->plan->steps[plant->right->input[0]];
    const struct trace_stage *indices = trace_find(plant->trace, plant->right->layer, STAGE_router_indices);
    uint32_t k = plant->right->params.expert_sum.k, width = plant->right->width;
    if (!down->weight[1] || !indices) {
        return false;
    }
    plant_compute(plant);
    for (uint32_t i = 0; i < plant->n; i++) {
        const float *experts = trace_row(indices, plant->rows[i].position);
        for (uint32_t j = 0; j < k && experts; j++) {
            const float *bias = plant_weights(plant, down->weight[1], (uint64_t)experts[j]);
            for (uint32_t d = 0; d < width; d++) {
                plant->y[(uint64_t)i * width + d] += (1 - (double)plant->rows[i].in[1][j]) * bias[d];
            }
        }
    }
    return true;
}

/* Three rows have tokens that no row has: the lowest ids. */
bool plant_other_tokens(struct plant *plant)
{
    int32_t id = 0;
    for (uint32_t k = 0; k < 3 && k < plant->n; k++, id++) {
        for (uint32_t p = 0; p < plant->trace->n_positions; p++) {
            if (plant->trace->tokens[p] == id) {
                id++;
                p = UINT32_MAX; /* from the first position again */
            }
        }
        plant->rows[k].token = id;
    }
    bool can = plant->n > 4 && (uint32_t)id <= plant->right->params.embed.vocab;
    if (can) {
        plant_compute(plant);
    }
    return can;
}

bool plant_next_token(struct plant *plant)
{
    bool can = true;
    for (uint32_t i = 0; i < plant->n; i++) {
        plant->rows[i].token++;
        can &= (uint32_t)plant->rows[i].token < plant->right->params.embed.vocab;
    }
    plant->number = 1;
    if (can) {
        plant_compute(plant);
    }
    return can;
}

bool plant_router_temperature(struct plant *plant)
{
    uint32_t n = plant->right->params.topk_softmax.n;
    float *logits = plant_copy_input(plant, 0, n);
    for (uint64_t at = 0; at < (uint64_t)plant->n * n; at++) {
        logits[at] *= 0.25F;
    }
    plant->number = 0.25;
    plant_compute(plant);
    return plant->right->params.topk_softmax.k > 1;
}

/* The softmax of the sigmoids' logarithms. */
bool plant_router_sigmoid(struct plant *plant)
{
    uint32_t n = plant->right->params.topk_softmax.n;
    float *logits = plant_copy_input(plant, 0, n);
    for (uint64_t at = 0; at < (uint64_t)plant->n * n; at++) {
        logits[at] = (float)-log1p(exp(-logits[at]));
    }
    plant_compute(plant);
    return plant->right->params.topk_softmax.k > 1;
}
