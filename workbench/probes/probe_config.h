/* The debug configuration of --config and --preset: log level, trace categories, checkpoint layers, probes. `run` and
 * the prompt share it. probe_lines.h prints what it asks for. */
#ifndef LOCKSTEP_WORKBENCH_PROBES_PROBE_CONFIG_H
#define LOCKSTEP_WORKBENCH_PROBES_PROBE_CONFIG_H

#include "model/plan.h"

struct json_t; /* jansson's */

enum log_level { LOG_SILENT, LOG_INFO, LOG_VERBOSE };

#define TRACE_CATEGORIES(X) X(attn) X(ffn) X(logits) X(kernels) X(kv) X(sample) X(loader) X(buffers)
enum trace_category {
#define X(name) TRACE_##name,
    TRACE_CATEGORIES(X)
#undef X
        TRACE_CATEGORY_COUNT
};

/* Values of a stage that are printed each time the stage runs. An empty list of layers or tokens means all. */
struct probe {
    char *id;
    enum stage stage;
    int32_t *layers; /* [n_layers] */
    int32_t *tokens; /* [n_tokens] positions; -1 is the last one of the batch, -2 the one before it */
    int32_t *dims;   /* [n_dims]; empty: dim 0 */
    uint32_t n_layers, n_tokens, n_dims;
};

struct probe_config {
    bool given; /* --config or --preset was given: Config and Done lines are printed */
    enum log_level level;
    bool trace_enabled;
    bool categories[TRACE_CATEGORY_COUNT];
    int32_t *layers; /* [n_layers] checkpoint layers; empty: all */
    uint32_t n_layers;
    struct probe *probes;
    uint32_t n_probes;
    uint8_t *anomalous; /* [n_steps], of the current batch; see probe_rows */
};

/* Log level info, trace off, no probes. */
void probe_config_init(struct probe_config *config);
void probe_config_free(struct probe_config *config);

/* A deep copy that the caller frees. `anomalous` is not copied. */
struct probe_config probe_config_copy(const struct probe_config *config);

/* probe_config_json.c: JSON to read. */
struct probe_config_text {
    const char *json; /* {"debug": {…}}, bare or inside runtime or runtime.shared; a probe; or an array of probes */
    const char *name; /* of the text, for messages */
    bool only_probes; /* ignore everything but the probes */
    bool lenient;     /* dims that the model lacks are left out with a note: presets are for several models */
};

/* Adds what the text says to the configuration. An unknown key inside "debug", an unknown stage, layer or dim is
 * STATUS_BAD_INPUT and changes nothing. Keys beside "debug" cause a note on standard error. */
enum status probe_config_read(struct probe_config *config, const struct probe_config_text *text,
                              const struct plan *plan, struct error *err);
enum status probe_config_read_file(struct probe_config *config, const char *path, bool only_probes,
                                   const struct plan *plan, struct error *err);

/* probe_config_write.c: the configuration as JSON that probe_config_read reads. The caller releases it. */
struct json_t *probe_config_write(const struct probe_config *config);

/* probe_config.c: preset is bench, debug or gemma2-debug. */
enum status probe_config_read_preset(struct probe_config *config, const char *preset, const struct plan *plan,
                                     struct error *err);

/* What the command line says of debugging; NULL: not given. */
struct probe_options {
    const char *preset;         /* --preset */
    const char *const *configs; /* [n_configs] --config: a file; JSON, {…}; KEY.KEY=VALUE; or a preset's name */
    uint32_t n_configs;
    const char *trace, *trace_layers; /* --trace "attn,-kv", --trace-layers "0,12" */
};

/* probe_options.c: whether any of them is given. */
bool probe_options_given(const struct probe_options *options);

/* Reads the preset, then each --config on top of what was read, then --trace and --trace-layers. Sets `given`. */
enum status probe_config_read_options(struct probe_config *config, const struct probe_options *options,
                                      const struct plan *plan, struct error *err);

/* Replaces the trace categories: "attn,ffn", "all,-buffers", "none". Trace is on if any is left. On failure nothing
 * changes. */
enum status probe_config_set_categories(struct probe_config *config, const char *list, struct error *err);

/* Whether a --trace means categories and not a file: each word is one, and there is no file of this name. */
bool is_category_list(const char *text);

/* word: "attn", "-kv", "all", "none". */
enum status probe_config_set_category(struct probe_config *config, const char *word, struct error *err);
enum status probe_config_set_level(struct probe_config *config, const char *word, struct error *err);
const char *log_level_name(enum log_level level);
const char *trace_category_name(enum trace_category category);

/* Preset number i, or NULL past the last one. */
const char *probe_preset_name(uint32_t i);

/* text: "3,17", or "all". On failure the earlier list stays. */
enum status probe_config_set_layers(struct probe_config *config, const char *text, const struct plan *plan,
                                    struct error *err);

/* probe_lines.c: whether any line is made from this step's rows. Other steps need not be read. */
bool probe_config_needs(const struct probe_config *config, const struct plan *plan, uint32_t step);

/* Whether a step lies outside the layers, in a checkpoint layer, or is probed. */
bool probe_config_covers(const struct probe_config *config, const struct plan *plan, uint32_t step);

#endif
