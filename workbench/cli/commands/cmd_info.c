/* lockstep info: what lockstep makes of a model: its config, tensors and plan, and what is odd about its files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/command.h"
#include "workbench/cli/commands/info.h"

#define LINE 200 /* bytes of a line, its end included */

/* The last part of a path, without slashes at its end. */
static void print_base_name(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    printf("%.*s", (int)(end - begin), path + begin);
}

static uint32_t count_local(const struct config *config)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < config->n_layers; i++) {
        n += config->layer_is_local[i];
    }
    return n;
}

static void print_rope(const char *kind, const struct rope *rope)
{
    printf("  %-10s theta %g", kind, (double)rope->theta);
    if (rope->type != ROPE_TYPE_DEFAULT) {
        printf(", %s factor %g", rope_type_name(rope->type), (double)rope->factor);
    }
    if (rope->original > 0) {
        printf(" of %g positions, from %g to %g", (double)rope->original, (double)rope->low, (double)rope->high);
    }
    if (rope->scale != 1) {
        printf(", cos and sin x %g", (double)rope->scale);
    }
    printf("%s\n", rope->type == ROPE_TYPE_YARN && !rope->truncate ? ", not truncated" : "");
}

static void print_config(const struct config *config)
{
    uint32_t n_local = count_local(config);
    printf("config\n");
    printf("  %-10s hidden %u, ffn %u (%s), vocab %u, positions %u\n", "sizes", config->hidden, config->ffn,
           activation_name(config->activation), config->vocab, config->max_positions);
    printf("  %-10s %u heads x %u, %u kv heads, scores x %g", "attention", config->n_heads, config->head_dim,
           config->n_kv_heads, (double)config->query_scale);
    if (config->attn_softcap > 0) {
        printf(", softcap %g", (double)config->attn_softcap);
    }
    if (n_local) {
        printf(", window %u in %u layers", config->sliding_window, n_local);
    }
    printf("%s\n", config->attention_bias ? ", biases" : "");
    printf("  %-10s eps %g, x (%g + weight)\n", "norm", (double)config->norm_eps, (double)config->norm_offset);
    if (config->n_experts) {
        printf("  %-10s %u, %u a token, swiglu limit %g, alpha %g\n", "experts", config->n_experts, config->top_k,
               (double)config->swiglu_limit, (double)config->swiglu_alpha);
    }
    print_rope(n_local ? "rope full" : "rope", &config->rope_global);
    if (n_local) {
        print_rope("rope local", &config->rope_local);
    }
    printf("  %-10s x %g, LM head %s", "embedding", (double)config->embed_scale,
           config->tied_embeddings ? "tied" : "of its own");
    if (config->final_softcap > 0) {
        printf(", logits' softcap %g", (double)config->final_softcap);
    }
    printf("\n  %-10s bos %d, pad %d, end", "tokens", config->bos_id, config->pad_id);
    for (uint32_t i = 0; i < config->n_eos_ids; i++) {
        printf(" %d", config->eos_ids[i]);
    }
    printf("%s\n", config->n_eos_ids ? "" : " none");
}

static void print_tensors(const struct model *model)
{
    printf("tensors\n");
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        uint32_t n = 0;
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < model->n_tensors; i++) {
            n += model->tensors[i].dtype == dtype;
            bytes += model->tensors[i].dtype == dtype ? model->tensors[i].n_bytes : 0;
        }
        if (n) {
            printf("  %-10s %4u, %.1f MB\n", dtype_info(dtype)->name, n, (double)bytes / 1e6);
        }
    }
}

/* The parameters of a step in which layers differ. */
static void params_text(const struct step *step, char text[LINE])
{
    const union step_params *p = &step->params;
    text[0] = '\0';
    if (step->op == OP_rope) {
        snprintf(text, LINE, p->rope.factor != 1 ? "theta %g, factor %g" : "theta %g", (double)p->rope.theta,
                 (double)p->rope.factor);
    } else if (step->op == OP_attention && p->attention.window) {
        snprintf(text, LINE, "window %u", p->attention.window);
    } else if (step->op == OP_rms_norm && p->rms_norm.groups > 1) {
        snprintf(text, LINE, "%u x %u", p->rms_norm.groups, p->rms_norm.dim);
    } else if (step->op == OP_embed && p->embed.scale != 1) {
        snprintf(text, LINE, "scale %g", (double)p->embed.scale);
    } else if (step->op == OP_softcap) {
        snprintf(text, LINE, p->softcap.cap > 0 ? "cap %g" : "no cap", (double)p->softcap.cap);
    }
}

/* One step on a line. Steps of two layers that are alike give the same line. */
static void step_text(const struct plan *plan, const struct step *step, char line[LINE])
{
    char inputs[64] = "", weights[64] = "", params[LINE];
    for (unsigned i = 0; i < op_info(step->op)->n_inputs; i++) {
        const struct step *input = &plan->steps[step->input[i]];
        size_t length = strlen(inputs);
        bool inside = input->layer == step->layer;
        snprintf(inputs + length, sizeof(inputs) - length, "%s%s", i ? " " : "",
                 inside ? stage_name(input->stage) : "residual");
    }
    for (unsigned i = 0; i < OP_MAX_WEIGHTS && step->weight[i]; i++) {
        size_t length = strlen(weights);
        snprintf(weights + length, sizeof(weights) - length, "%s%s", i ? " + " : "",
                 dtype_info(step->weight[i]->dtype)->name);
    }
    params_text(step, params);
    int length = snprintf(line, LINE, "  %-15s %-10s %7u  %-24s %-10s %s", stage_name(step->stage),
                          op_info(step->op)->name, step->width, inputs, weights, params);
    for (length = length < LINE ? length : LINE - 1; length > 0 && line[length - 1] == ' ';) {
        line[--length] = '\0';
    }
}

static bool same_layer(const struct plan *plan, uint32_t a, uint32_t b)
{
    char x[LINE], y[LINE];
    uint32_t first_a = plan_layer_begin(plan, a), first_b = plan_layer_begin(plan, b);
    uint32_t n = plan_layer_end(plan, a) - first_a;
    if (plan_layer_end(plan, b) - first_b != n) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        step_text(plan, &plan->steps[first_a + i], x);
        step_text(plan, &plan->steps[first_b + i], y);
        if (strcmp(x, y) != 0) {
            return false;
        }
    }
    return true;
}

static void print_step(const struct plan *plan, uint32_t step)
{
    char line[LINE];
    step_text(plan, &plan->steps[step], line);
    printf("%s\n", line);
}

/* Prints the layers that are like layer `like`, as ranges: "layers 0-4, 6-10". Marks them as shown. */
static void print_layer_kind(const struct plan *plan, uint32_t like, bool *shown)
{
    printf("  -- layers");
    const char *comma = "";
    for (uint32_t i = like; i < plan->n_layers; i++) {
        uint32_t first = i;
        while (i < plan->n_layers && !shown[i] && same_layer(plan, like, i)) {
            shown[i++] = true;
        }
        if (i == first) {
            continue;
        }
        printf(i - first > 1 ? "%s %u-%u" : "%s %u", comma, first, i - 1);
        comma = ",";
    }
    printf("\n");
    for (uint32_t i = plan_layer_begin(plan, like); i < plan_layer_end(plan, like); i++) {
        print_step(plan, i);
    }
}

static void print_plan(const struct plan *plan)
{
    printf("plan: %u steps\n", plan->n_steps);
    printf("  %-15s %-10s %7s  %-24s %s\n", "stage", "op", "width", "inputs", "weights");
    bool *shown = xcalloc(plan->n_layers, sizeof(*shown));
    print_step(plan, 0);
    for (uint32_t layer = 0; layer < plan->n_layers; layer++) {
        if (!shown[layer]) {
            print_layer_kind(plan, layer, shown);
        }
    }
    printf("  -- after the layers\n");
    for (uint32_t i = plan_layer_end(plan, plan->n_layers - 1); i < plan->n_steps; i++) {
        print_step(plan, i);
    }
    free(shown);
}

static void info_print(const struct model *model, const struct plan *plan)
{
    printf("model  ");
    print_base_name(model->path);
    printf(": %s, %u layers, %u tensors, %s\n", model->config.model_type, model->config.n_layers, model->n_tensors,
           model->weights_dtype);
    print_config(&model->config);
    print_tensors(model);
    print_plan(plan);
    if (model->n_notes) {
        printf("notes\n");
    }
    for (uint32_t i = 0; i < model->n_notes; i++) {
        printf("  %s\n", model->notes[i]);
    }
}

static enum status show_model(const struct arguments *arguments, const struct model *model, struct error *err)
{
    struct plan plan;
    TRY(plan_build(&plan, model, err));
    if (arguments->json == NULL || strcmp(arguments->json, "-") != 0) {
        info_print(model, &plan);
    }
    enum status status = arguments->json != NULL ? info_write_json(model, &plan, arguments->json, err) : STATUS_OK;
    plan_free(&plan);
    return status;
}

enum status command_info(const struct arguments *arguments, struct error *err)
{
    struct model model;
    TRY(model_open(&model, arguments->positional[0], err));
    enum status status = show_model(arguments, &model, err);
    model_close(&model);
    return status;
}
