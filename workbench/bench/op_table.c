/* bench --ops: the time of operations beside the time that their bytes need. */
#include <stdio.h>

#include "model/model.h"
#include "workbench/bench/op_times.h"
#include "workbench/trace/json_file.h"

/* The operations, as performance tables of LLM engines have them. */
static const struct operation {
    const char *name;
    enum stage stages[8]; /* ends with STAGE_COUNT */
} operations[] = {
    {"norms",
     {STAGE_attn_norm, STAGE_q_norm, STAGE_k_norm, STAGE_post_attn_norm, STAGE_ffn_norm, STAGE_post_ffn_norm,
      STAGE_final_norm, STAGE_COUNT}},
    {"qkv", {STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_COUNT}},
    {"rope", {STAGE_q_rope, STAGE_k_rope, STAGE_COUNT}},
    {"attention", {STAGE_attn_out, STAGE_COUNT}},
    {"out proj", {STAGE_o_proj, STAGE_COUNT}},
    {"ffn gate, up", {STAGE_ffn_gate, STAGE_ffn_up, STAGE_ffn_act, STAGE_COUNT}},
    {"ffn down", {STAGE_ffn_down, STAGE_COUNT}},
    {"experts",
     {STAGE_router_logits, STAGE_router_weights, STAGE_moe_gate_up, STAGE_moe_act, STAGE_moe_down, STAGE_moe_out,
      STAGE_COUNT}},
    {"residual", {STAGE_attn_resid, STAGE_layer_out, STAGE_COUNT}},
    {"lm head", {STAGE_logits, STAGE_logits_final, STAGE_COUNT}},
};
#define N_OPERATIONS (sizeof(operations) / sizeof(*operations))

static bool is_of(const struct operation *operation, enum stage stage)
{
    const enum stage *at = operation->stages;
    while (*at != STAGE_COUNT && *at != stage) {
        at++;
    }
    return *at == stage;
}

/* Bytes that one token's step reads: its weights (of experts those that are chosen), and keys and values. */
static double bytes_of(const struct step *step, const struct plan *plan, uint32_t positions)
{
    const struct config *config = &plan->model->config;
    double bytes = 0;
    for (int w = 0; w < OP_MAX_WEIGHTS; w++) {
        bytes += step->weight[w] != NULL ? (double)step->weight[w]->n_bytes : 0;
    }
    if (step->op == OP_expert_matmul && config->n_experts > 0) {
        bytes *= (double)config->top_k / config->n_experts;
    }
    if (step->op == OP_attention) {
        bytes += 2.0 * positions * config->n_kv_heads * config->head_dim * sizeof(float);
    }
    return bytes;
}

struct operation_time {
    double measured_us, least_us; /* least: its bytes at the bandwidth; 0: not known */
};

static struct operation_time time_of(const struct operation *operation, const struct op_times *times,
                                     const struct plan *plan, double bandwidth, uint32_t positions)
{
    struct operation_time time = {0};
    double bytes = 0;
    for (const enum stage *stage = operation->stages; *stage != STAGE_COUNT; stage++) {
        time.measured_us += times->us[*stage];
    }
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        bytes += is_of(operation, plan->steps[i].stage) ? bytes_of(&plan->steps[i], plan, positions) : 0;
    }
    time.least_us = bandwidth > 0 ? bytes / bandwidth * 1e6 : 0;
    return time;
}

void op_table_print(const struct op_times *times, const struct plan *plan, double bandwidth, uint32_t positions)
{
    struct operation_time all = {0};
    printf("%-14s %12s %12s   all layers; expected: reading weights and keys at %.1f GB/s\n", "operation",
           "expected us", "measured us", bandwidth / 1e9);
    for (size_t i = 0; i < N_OPERATIONS; i++) {
        struct operation_time time = time_of(&operations[i], times, plan, bandwidth, positions);
        all.measured_us += time.measured_us;
        all.least_us += time.least_us;
        if (time.measured_us > 0) {
            printf("%-14s %12.1f %12.1f\n", operations[i].name, time.least_us, time.measured_us);
        }
    }
    printf("%-14s %12.1f %12.1f\n", "a token", all.least_us, all.measured_us);
}

json_t *op_table_json(const struct op_times *times, const struct plan *plan, double bandwidth, uint32_t positions)
{
    json_t *list = json_array();
    for (size_t i = 0; i < N_OPERATIONS; i++) {
        struct operation_time time = time_of(&operations[i], times, plan, bandwidth, positions);
        if (time.measured_us == 0) {
            continue;
        }
        json_t *entry = json_object();
        json_put(entry, "operation", json_string(operations[i].name));
        json_put(entry, "expected_us", bandwidth > 0 ? json_real(time.least_us) : json_null());
        json_put(entry, "measured_us", json_real(time.measured_us));
        json_push(list, entry);
    }
    return list;
}
