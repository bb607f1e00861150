/* Names of activations and ropes, and the meaning of a config's token ids. */
#include "model/config.h"

#include <stddef.h>
#include <string.h>

#include "model/error.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Source: transformers, activations.py. Of two names of a code, the first is printed. */
static const struct {
    const char *name;
    uint32_t code;
} activations[] = {
    {"silu", ACTIVATION_SILU},
    {"swish", ACTIVATION_SILU},
    {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
};

static const char *const rope_types[] = {
    [ROPE_TYPE_DEFAULT] = "default",
    [ROPE_TYPE_LINEAR] = "linear",
    [ROPE_TYPE_LLAMA3] = "llama3",
    [ROPE_TYPE_YARN] = "yarn",
};

const char *activation_name(uint32_t activation)
{
    for (size_t i = 0; i < COUNT(activations); i++) {
        if (activations[i].code == activation) {
            return activations[i].name;
        }
    }
    ASSERT(!"a config's activation has a name");
    return "";
}

bool activation_by_name(const char *name, uint32_t *activation)
{
    for (size_t i = 0; i < COUNT(activations); i++) {
        if (strcmp(activations[i].name, name) == 0) {
            *activation = activations[i].code;
            return true;
        }
    }
    return false;
}

const char *rope_type_name(uint32_t type)
{
    ASSERT(type < COUNT(rope_types));
    return rope_types[type];
}

bool rope_type_by_name(const char *name, uint32_t *type)
{
    for (*type = 0; *type < COUNT(rope_types); (*type)++) {
        if (strcmp(rope_types[*type], name) == 0) {
            return true;
        }
    }
    return false;
}

bool config_ends_text(const struct config *config, int32_t id)
{
    for (uint32_t i = 0; i < config->n_eos_ids; i++) {
        if (config->eos_ids[i] == id) {
            return true;
        }
    }
    return false;
}

int32_t config_masked_id(const struct config *config)
{
    return config_ends_text(config, config->pad_id) ? -1 : config->pad_id;
}
