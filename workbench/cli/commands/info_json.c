/* `info --json`: config, tensors and plan, with lockstep's own names. */
#include <stdio.h>
#include <stdlib.h>

#include "workbench/cli/commands/info.h"
#include "workbench/trace/json_file.h"

/* The shortest decimal that reads as this float: 1e-05, not 9.9999997e-06. */
static json_t *number(float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            break;
        }
    }
    return json_real(strtod(text, NULL));
}

/* Appends a value to a list. If the value could not be made, because a name is not UTF-8, *list becomes NULL. */
static void append(json_t **list, json_t *value)
{
    if (*list && json_array_append_new(*list, value) == 0) {
        return;
    }
    json_decref(*list);
    *list = NULL;
}

static json_t *rope_json(const struct rope *rope)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "type", rope_type_name(rope->type), "theta",
                     number(rope->theta), "factor", number(rope->factor), "low", number(rope->low), "high",
                     number(rope->high), "original", number(rope->original), "truncate", rope->truncate, "scale",
                     number(rope->scale));
}

static json_t *config_json(const struct config *config)
{
    json_t *local = json_array(), *eos = json_array();
    for (uint32_t i = 0; i < config->n_layers; i++) {
        append(&local, json_boolean(config->layer_is_local[i]));
    }
    for (uint32_t i = 0; i < config->n_eos_ids; i++) {
        append(&eos, json_integer(config->eos_ids[i]));
    }
    json_t *sizes = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "model_type", config->model_type, "family",
        config->family->name, "n_layers", (json_int_t)config->n_layers, "hidden", (json_int_t)config->hidden, "n_heads",
        (json_int_t)config->n_heads, "n_kv_heads", (json_int_t)config->n_kv_heads, "head_dim",
        (json_int_t)config->head_dim, "ffn", (json_int_t)config->ffn, "vocab", (json_int_t)config->vocab,
        "max_positions", (json_int_t)config->max_positions, "sliding_window", (json_int_t)config->sliding_window);
    json_t *experts = json_pack("{s:I, s:I, s:o, s:o}", "n_experts", (json_int_t)config->n_experts, "top_k",
                                (json_int_t)config->top_k, "swiglu_limit", number(config->swiglu_limit), "swiglu_alpha",
                                number(config->swiglu_alpha));
    json_t *rest =
        json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:o, s:o, s:o, s:i, s:i, s:o}", "norm_eps",
                  number(config->norm_eps), "norm_offset", number(config->norm_offset), "activation",
                  activation_name(config->activation), "embed_scale", number(config->embed_scale), "query_scale",
                  number(config->query_scale), "attn_softcap", number(config->attn_softcap), "final_softcap",
                  number(config->final_softcap), "tied_embeddings", config->tied_embeddings, "attention_bias",
                  config->attention_bias, "mlp_bias", config->mlp_bias, "rope_global", rope_json(&config->rope_global),
                  "rope_local", rope_json(&config->rope_local), "layer_is_local", local, "bos_id", config->bos_id,
                  "pad_id", config->pad_id, "eos_ids", eos);
    json_object_update(sizes, experts);
    json_object_update(sizes, rest);
    json_decref(experts);
    json_decref(rest);
    return sizes;
}

static json_t *tensors_json(const struct model *model)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        const struct tensor *tensor = &model->tensors[i];
        json_t *shape = json_array();
        for (uint32_t d = 0; d < tensor->n_dims; d++) {
            append(&shape, json_integer((json_int_t)tensor->shape[d]));
        }
        append(&list,
               json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o}", "name", tensor->name, "stored_name",
                         tensor->stored_name, "file", tensor->file, "dtype", dtype_info(tensor->dtype)->name, "offset",
                         (json_int_t)tensor->offset, "bytes", (json_int_t)tensor->n_bytes, "shape", shape));
    }
    return list;
}

static json_t *plan_json(const struct plan *plan)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &plan->steps[i];
        json_t *inputs = json_array(), *weights = json_array();
        for (unsigned k = 0; k < op_info(step->op)->n_inputs; k++) {
            append(&inputs, json_integer(step->input[k]));
        }
        for (unsigned k = 0; k < OP_MAX_WEIGHTS && step->weight[k]; k++) {
            append(&weights, json_string(step->weight[k]->name));
        }
        append(&list, json_pack("{s:s, s:o, s:s, s:I, s:o, s:o}", "op", op_info(step->op)->name, "layer",
                                step->layer == LAYER_NONE ? json_null() : json_integer(step->layer), "stage",
                                stage_name(step->stage), "width", (json_int_t)step->width, "inputs", inputs, "weights",
                                weights));
    }
    return list;
}

enum status info_write_json(const struct model *model, const struct plan *plan, const char *path, struct error *err)
{
    json_t *notes = json_array();
    for (uint32_t i = 0; i < model->n_notes; i++) {
        append(&notes, json_string(model->notes[i]));
    }
    json_t *root =
        json_pack("{s:s, s:i, s:s, s:s, s:o, s:o, s:o, s:o}", "format", "lockstep-info", "version", 1, "model",
                  model->path, "weights_dtype", model->weights_dtype, "config", config_json(&model->config), "tensors",
                  tensors_json(model), "plan", plan_json(plan), "notes", notes);
    if (!root) {
        return error_set(err, STATUS_BAD_INPUT, model->path, NULL, ERROR_NO_OFFSET,
                         "a name that is not UTF-8, expected names that JSON can hold");
    }
    return json_write_floats(root, path, err);
}
