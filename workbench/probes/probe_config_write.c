/* Writes a debug configuration as the JSON that probe_config_read reads. */
#include "workbench/probes/probe_config.h"
#include "workbench/trace/json_file.h"

static json_t *numbers(const int32_t *list, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_push(array, json_integer(list[i]));
    }
    return array;
}

static json_t *probes(const struct probe_config *config)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < config->n_probes; i++) {
        const struct probe *probe = &config->probes[i];
        json_t *object = json_object();
        json_put(object, "id", json_text(probe->id));
        json_put(object, "stage", json_string(stage_name(probe->stage)));
        if (stage_in_layer(probe->stage)) {
            json_put(object, "layers", numbers(probe->layers, probe->n_layers));
        }
        json_put(object, "tokens", numbers(probe->tokens, probe->n_tokens));
        json_put(object, "dims", numbers(probe->dims, probe->n_dims));
        json_push(array, object);
    }
    return array;
}

json_t *probe_config_write(const struct probe_config *config)
{
    json_t *debug = json_object(), *categories = json_array();
    for (unsigned c = 0; c < TRACE_CATEGORY_COUNT; c++) {
        if (config->categories[c]) {
            json_push(categories, json_string(trace_category_name(c)));
        }
    }
    json_put(debug, "logLevel", json_pack("{s:s}", "defaultLogLevel", log_level_name(config->level)));
    json_put(debug, "trace", json_pack("{s:b, s:o}", "enabled", config->trace_enabled, "categories", categories));
    json_put(debug, "layers", numbers(config->layers, config->n_layers));
    json_put(debug, "probes", probes(config));
    return json_pack("{s:o}", "debug", debug);
}
