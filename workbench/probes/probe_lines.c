/* Prints the lines made for grep. Statistics span a whole row and stop at its end: statistics of five values, or of
 * buffer padding, raised false alarms (postmortems 2025-12-17 positive-bias-hidden-states, 2025-12-30
 * buffer-pool-trace-false-positives). */
#include <math.h>
#include <stdio.h>

#include "model/model.h"
#include "workbench/probes/probe_lines.h"
#include "workbench/session/progress.h"
#include "workbench/trace/sample.h"

/* The category whose TRACE lines show a stage. */
static enum trace_category category_of(enum stage stage)
{
    if (stage >= STAGE_final_norm) {
        return TRACE_logits;
    }
    return stage >= STAGE_ffn_norm ? TRACE_ffn : TRACE_attn;
}

/* An empty list holds every value. */
static bool in_list(const int32_t *list, uint32_t n, int32_t value)
{
    bool found = n == 0;
    for (uint32_t i = 0; i < n; i++) {
        found = found || list[i] == value;
    }
    return found;
}

struct row_stats {
    double rms, max_abs, mean; /* of the finite values */
    uint32_t max_dim, n_positive, n_nonfinite;
};

static struct row_stats measure(const float *row, uint32_t width)
{
    struct row_stats stats = {0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < width; i++) {
        double value = row[i];
        if (!isfinite(value)) {
            stats.n_nonfinite++;
            continue;
        }
        n++;
        stats.n_positive += value > 0;
        stats.mean += value;
        stats.rms += value * value;
        if (fabs(value) > stats.max_abs) {
            stats.max_abs = fabs(value);
            stats.max_dim = i;
        }
    }
    stats.mean = n > 0 ? stats.mean / n : NAN;
    stats.rms = n > 0 ? sqrt(stats.rms / n) : NAN;
    return stats;
}

static void print_layer(int32_t layer)
{
    if (layer != LAYER_NONE) {
        printf(" layer=%d", layer);
    }
}

/* Whether a probe's list of tokens holds row r of the batch. */
static bool probes_row(const struct probe *probe, const struct probe_rows *rows, uint32_t r)
{
    bool found = probe->n_tokens == 0;
    for (uint32_t i = 0; i < probe->n_tokens; i++) {
        int64_t token = probe->tokens[i];
        found = found || token == (int64_t)rows->first + r || token == (int64_t)r - rows->n_rows;
    }
    return found;
}

static void print_probe(const struct probe *probe, const struct probe_rows *rows)
{
    const struct step *step = &rows->plan->steps[rows->step];
    static const int32_t first_dim[] = {0};
    const int32_t *dims = probe->n_dims > 0 ? probe->dims : first_dim;
    for (uint32_t r = 0; r < rows->n_rows; r++) {
        for (uint32_t d = 0; probes_row(probe, rows, r) && d < (probe->n_dims > 0 ? probe->n_dims : 1); d++) {
            progress_wipe();
            printf("PROBE id=%s", probe->id);
            print_layer(step->layer);
            printf(" token=%u dim=%d", rows->first + r, dims[d]);
            for (uint32_t i = 0; i < rows->n_sides; i++) {
                if (rows->rows[i] != NULL) {
                    printf(" %s=%.9g", rows->names[i], rows->rows[i][(uint64_t)r * step->width + (uint32_t)dims[d]]);
                }
            }
            printf("\n");
        }
    }
}

static void print_trace(const struct probe_config *config, const struct probe_rows *rows, const struct row_stats *stats)
{
    const struct step *step = &rows->plan->steps[rows->step];
    uint32_t token = rows->first + rows->n_rows - 1;
    bool is_kv = step->stage == STAGE_k_rope || step->stage == STAGE_v_proj;
    enum trace_category category = category_of(step->stage);
    const struct {
        bool on;
        const char *name;
    } lines[] = {{config->categories[category], category == TRACE_attn  ? "attn"
                                                : category == TRACE_ffn ? "ffn"
                                                                        : "logits"},
                 {config->categories[TRACE_kv] && is_kv, "kv"}};
    for (size_t i = 0; i < 2; i++) {
        if (lines[i].on) {
            printf("TRACE:%s", lines[i].name);
            print_layer(step->layer);
            printf(" stage=%s token=%u maxAbs=%.6g rms=%.6g dim=%u nonfinite=%u\n", stage_name(step->stage), token,
                   stats->max_abs, stats->rms, stats->max_dim, stats->n_nonfinite);
        }
    }
    if (config->categories[TRACE_kernels]) {
        printf("TRACE:kernels");
        print_layer(step->layer);
        printf(" stage=%s op=%s rows=%u width=%u variant=%u\n", stage_name(step->stage), op_info(step->op)->name,
               rows->n_rows, step->width, step->variant);
    }
    if (config->categories[TRACE_buffers]) {
        printf("TRACE:buffers");
        print_layer(step->layer);
        printf(" stage=%s bytes=%llu\n", stage_name(step->stage),
               (unsigned long long)rows->n_rows * step->width * sizeof(float));
    }
    if (config->categories[TRACE_sample] && step->stage == STAGE_logits_final) {
        const float *logits = rows->rows[0] + (uint64_t)(rows->n_rows - 1) * step->width;
        uint32_t id = argmax(logits, step->width);
        printf("TRACE:sample token=%u id=%u logit=%.6g\n", token, id, logits[id]);
    }
}

static bool is_checkpoint(const struct probe_config *config, const struct step *step)
{
    return step->layer == LAYER_NONE || in_list(config->layers, config->n_layers, step->layer);
}

static bool probes_step(const struct probe *probe, const struct step *step)
{
    return probe->stage == step->stage &&
           (step->layer == LAYER_NONE || in_list(probe->layers, probe->n_layers, step->layer));
}

static bool is_probed(const struct probe_config *config, const struct step *step)
{
    bool probed = false;
    for (uint32_t i = 0; i < config->n_probes; i++) {
        probed = probed || probes_step(&config->probes[i], step);
    }
    return probed;
}

bool probe_config_covers(const struct probe_config *config, const struct plan *plan, uint32_t s)
{
    return is_checkpoint(config, &plan->steps[s]) || is_probed(config, &plan->steps[s]);
}

bool probe_config_needs(const struct probe_config *config, const struct plan *plan, uint32_t s)
{
    const struct step *step = &plan->steps[s];
    return is_probed(config, step) ||
           (is_checkpoint(config, step) && (config->trace_enabled || config->level != LOG_SILENT));
}

void probe_lines_print(const struct probe_config *config, const struct probe_rows *rows)
{
    const struct step *step = &rows->plan->steps[rows->step];
    anomaly_inherit(rows);
    for (uint32_t i = 0; i < config->n_probes; i++) {
        if (probes_step(&config->probes[i], step)) {
            print_probe(&config->probes[i], rows);
        }
    }
    if (!is_checkpoint(config, step) || rows->rows[0] == NULL ||
        (!config->trace_enabled && config->level == LOG_SILENT)) {
        return;
    }
    uint32_t last = rows->n_rows - 1, token = rows->first + last;
    struct row_stats stats = measure(rows->rows[0] + (uint64_t)last * step->width, step->width);
    if (config->level != LOG_SILENT) {
        anomaly_print(rows);
    }
    if (config->trace_enabled) {
        progress_wipe();
        print_trace(config, rows, &stats);
    }
    bool verbose = config->level == LOG_VERBOSE;
    const float *last_row = rows->rows[0] + (uint64_t)last * step->width;
    if (step->stage == STAGE_layer_out && (verbose || (config->trace_enabled && config->categories[TRACE_ffn]))) {
        progress_wipe();
        printf("LAYER_OUT layer=%d token=%u maxAbs=%.6g rms=%.6g\n", step->layer, token, stats.max_abs, stats.rms);
    }
    if (step->stage == STAGE_layer_out && verbose) {
        print_last_token(step, token, last_row);
    }
    if (step->stage == STAGE_logits_final && (verbose || (config->trace_enabled && config->categories[TRACE_logits]))) {
        print_choices(config, rows->plan, token, last_row);
    }
    if (step->stage == STAGE_final_norm && (verbose || (config->trace_enabled && config->categories[TRACE_logits]))) {
        progress_wipe();
        printf("FINAL_HIDDEN token=%u maxAbs=%.6g rms=%.6g mean=%.6g positive=%.1f%% nonfinite=%u\n", token,
               stats.max_abs, stats.rms, stats.mean, 100.0 * stats.n_positive / step->width, stats.n_nonfinite);
    }
}

void probe_lines_print_config(const struct probe_config *config, const struct plan *plan, const char *device)
{
    const struct model *model = plan->model;
    if (config->level != LOG_SILENT) {
        printf(
            "Config model=%s type=%s layers=%u hidden=%u vocab=%u weights=%s device=\"%s\" log=%s trace=%s probes=%u\n",
            model->path, model->config.model_type, model->config.n_layers, model->config.hidden, model->config.vocab,
            model->weights_dtype, device, log_level_name(config->level), config->trace_enabled ? "on" : "off",
            config->n_probes);
    }
    for (uint32_t t = 0; config->trace_enabled && config->categories[TRACE_loader] && t < model->n_tensors; t++) {
        printf("TRACE:loader tensor=%s bytes=%llu\n", model->tensors[t].name,
               (unsigned long long)model->tensors[t].n_bytes);
    }
}
