/* Finds the weights of a step by name and checks their shapes against the config. */
#ifndef LOCKSTEP_MODEL_WEIGHTS_H
#define LOCKSTEP_MODEL_WEIGHTS_H

#include "model/model.h"

/* A size that the config demands, and the config's fields that it comes from. */
struct extent {
    uint32_t size;
    const char *fields; /* "num_attention_heads * head_dim" */
};

/* Find prefix + name and require the shape [rows, columns], [experts, rows, columns] or [size]. STATUS_BAD_INPUT names
 * the tensor, what it has and the fields that want something else. A vector must not be block-quantised. */
enum status weights_matrix(const struct model *model, const char *prefix, const char *name, struct extent rows,
                           struct extent columns, const struct tensor **out, struct error *err);
enum status weights_experts(const struct model *model, const char *prefix, const char *name, struct extent rows,
                            struct extent columns, const struct tensor **out, struct error *err);
enum status weights_vector(const struct model *model, const char *prefix, const char *name, struct extent size,
                           const struct tensor **out, struct error *err);

/* STATUS_BAD_INPUT if the tensor is block-quantised. */
enum status weights_plain(const struct tensor *tensor, struct error *err);

/* Whether the config has this bias. name: of the tensor inside its layer. */
bool weights_has_bias(const struct config *config, const char *name);

#endif
