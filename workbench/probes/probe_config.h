/* The debug configuration (CONTRACT.md): log level, trace categories, checkpoint layers, probes; and the lines made for
 * grep that follow from it. The same for the prompt and for `run`. */
#ifndef LOCKSTEP_WORKBENCH_PROBES_PROBE_CONFIG_H
#define LOCKSTEP_WORKBENCH_PROBES_PROBE_CONFIG_H

#include <stdio.h>

#include "model/plan.h"

enum log_level { LOG_SILENT, LOG_INFO, LOG_VERBOSE };

#define TRACE_CATEGORIES(X) X(attn) X(ffn) X(logits) X(kernels) X(kv) X(sample) X(loader) X(buffers)
enum trace_category {
#define X(name) TRACE_##name,
    TRACE_CATEGORIES(X)
#undef X
        TRACE_CATEGORY_COUNT
};

/* Values to print whenever they are computed. */
struct debug_probe {
    char *id;
    enum stage stage;
    int32_t *layers; /* [n_layers]; none: all */
    int32_t *tokens; /* [n_tokens] positions; -1: the last one of a batch, -2 the one before; none: all */
    int32_t *dims;   /* [n_dims]; none: the first */
    uint32_t n_layers, n_tokens, n_dims;
};

struct debug_config {
    bool given; /* by --config or --preset: then Config and Done are printed */
    enum log_level level;
    bool trace;
    bool categories[TRACE_CATEGORY_COUNT];
    int32_t *layers; /* [n_layers] checkpoints; none: all */
    uint32_t n_layers;
    struct debug_probe *probes;
    uint32_t n_probes;
    uint8_t *odd; /* as debug_rows has it */
};

void debug_config_init(struct debug_config *config); /* info, no trace */
void debug_config_free(struct debug_config *config);
struct debug_config debug_config_copy(const struct debug_config *config); /* without odd; the caller frees it */

/* debug_config_json.c: reads JSON into the configuration, on top of what it says: bare, or wrapped in runtime or
 * runtime.shared. An unknown key inside debug, an unknown stage, layer or dim is STATUS_BAD_INPUT, and the
 * configuration stays as it was; other keys are a note on standard error. name: of the text, for messages. only_probes:
 * the rest is left aside. */
enum status debug_config_read(struct debug_config *config, const char *text, const char *name, const struct plan *plan,
                              bool only_probes, struct error *err);
enum status debug_config_read_file(struct debug_config *config, const char *path, const struct plan *plan,
                                   bool only_probes, struct error *err);

/* bench, debug or gemma2-debug. */
enum status debug_config_preset(struct debug_config *config, const char *preset, const struct plan *plan,
                                struct error *err);

/* --preset, then --config; each may be NULL. */
enum status debug_config_options(struct debug_config *config, const char *preset, const char *path,
                                 const struct plan *plan, struct error *err);

/* "attn", "-kv", "all", "none" */
enum status debug_config_category(struct debug_config *config, const char *word, struct error *err);
enum status debug_config_level(struct debug_config *config, const char *word, struct error *err);
const char *log_level_name(enum log_level level);

/* One step's rows of one batch, of up to three sides. */
#define DEBUG_MAX_SIDES 3
struct debug_rows {
    const struct plan *plan;
    uint32_t step, first, n_rows, n_sides;
    const char *names[DEBUG_MAX_SIDES];
    const float *rows[DEBUG_MAX_SIDES]; /* [n_rows, width], or NULL; the first one is what is debugged */
    const float *before[2]; /* of layer_out, what is debugged in the layer before and the one before that; or NULL */
    uint8_t *odd;           /* [n_steps], kept over the steps of a batch: an anomaly was told there, or before it */
};

/* Whether any line needs this step's rows; only such steps need to be read. */
bool debug_config_wants(const struct debug_config *config, const struct plan *plan, uint32_t step);

/* Whether a step is outside the layers, of a checkpoint layer, or probed. */
bool debug_config_checks(const struct debug_config *config, const struct plan *plan, uint32_t step);

/* "3,17", or "all"; the earlier list stays where it is refused. */
enum status debug_config_layers(struct debug_config *config, const char *text, const struct plan *plan,
                                struct error *err);

/* debug_lines.c: PROBE, ANOMALY, TRACE, LAYER_OUT and FINAL_HIDDEN lines of a step. */
void debug_lines_print(const struct debug_config *config, const struct debug_rows *rows);

/* debug_anomaly.c: a step is odd where one of its inputs is; and the line of a step that is odd by itself, which is the
 * only one of all that follow from it. */
void debug_anomaly_inherit(const struct debug_rows *rows);
void debug_anomaly_print(const struct debug_rows *rows);

/* The line at the beginning, and TRACE:loader. */
void debug_lines_config(const struct debug_config *config, const struct plan *plan, const char *device);

#endif
