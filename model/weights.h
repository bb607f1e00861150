/* Finds the weights of a step by name and checks their shapes against the config. */
#ifndef LOCKSTEP_MODEL_WEIGHTS_H
#define LOCKSTEP_MODEL_WEIGHTS_H

#include "model/model.h"

/* A size that the config demands, and the config's fields that it comes from. */
struct extent {
    uint32_t size;
    const char *fields; /* "num_attention_heads * head_dim" */
};

/* A tensor that a step reads: its name, prefix + name, and the sizes that the config demands. */
struct weight_request {
    const char *prefix; /* "model.layers.3." */
    const char *name;   /* inside the layer: "self_attn.q_proj.weight" */
    struct extent rows; /* of a vector: its size */
    struct extent columns;
};

/* Find a tensor and require the shape [rows, columns], [experts, rows, columns] or [rows]. STATUS_BAD_INPUT names the
 * tensor, its shape and the fields of the config that contradict it. A vector must not be block-quantised. */
enum status weights_matrix(const struct model *model, const struct weight_request *request, const struct tensor **out,
                           struct error *err);
enum status weights_experts(const struct model *model, const struct weight_request *request, const struct tensor **out,
                            struct error *err);
enum status weights_vector(const struct model *model, const struct weight_request *request, const struct tensor **out,
                           struct error *err);

/* STATUS_BAD_INPUT if the tensor is block-quantised. */
enum status weights_plain(const struct tensor *tensor, struct error *err);

/* Whether the config has this bias. name: of the tensor inside its layer. */
bool weights_has_bias(const struct config *config, const char *name);

#endif
