/* Lines of log level verbose: Loader Shard, Loader Layer, Layer17 LAST_TOKEN, Logits:, top-5, Specific tokens:. doppler
 * prints lines of these names, and scripts look for them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/probes/probe_lines.h"
#include "workbench/python/python.h"
#include "workbench/report/wrapped_text.h"
#include "workbench/session/progress.h"
#include "workbench/trace/sample.h"

#define TOP 5

/* The layer that a tensor belongs to, or LAYER_NONE. */
static int32_t layer_of(const char *tensor)
{
    const char *at = strstr(tensor, "layers.");
    return at != NULL ? (int32_t)strtol(at + strlen("layers."), NULL, 10) : LAYER_NONE;
}

static void print_shards(const struct model *model)
{
    uint32_t n = model_n_files(model);
    for (uint32_t i = 0; i < n; i++) {
        struct weight_file file = model_file(model, i);
        const char *slash = strrchr(file.path, '/');
        const char *source = file.cached > 0.99 ? "memory" : file.cached < 0.01 ? "disk" : "both";
        printf("Loader Shard %u/%u %s bytes=%llu source=%s cached=%.0f%% ms=%.3f\n", i + 1, n,
               slash != NULL ? slash + 1 : file.path, (unsigned long long)file.n_bytes, source, 100 * file.cached,
               file.ms);
    }
}

static void print_layers(const struct model *model)
{
    for (int32_t layer = LAYER_NONE; layer < (int32_t)model->config.n_layers; layer++) {
        uint64_t n_bytes = 0;
        uint32_t n = 0;
        for (uint32_t t = 0; t < model->n_tensors; t++) {
            if (layer_of(model->tensors[t].name) == layer) {
                n_bytes += model->tensors[t].n_bytes;
                n++;
            }
        }
        char name[16] = "-";
        if (layer != LAYER_NONE) {
            snprintf(name, sizeof(name), "%d", layer);
        }
        printf("Loader Layer %s tensors=%u bytes=%llu\n", name, n, (unsigned long long)n_bytes);
    }
}

void probe_lines_print_loader(const struct probe_config *config, const struct model *model, double load_ms)
{
    if (config->level != LOG_VERBOSE && !(config->trace_enabled && config->categories[TRACE_loader])) {
        return;
    }
    print_shards(model);
    print_layers(model);
    printf("Loader Done files=%u bytes=%llu ms=%.1f\n", model_n_files(model), (unsigned long long)model_n_bytes(model),
           load_ms);
}

void probe_lines_print_layer_times(const struct plan *plan, const double *ns, const struct batch *batch)
{
    for (uint32_t s = 0; s < plan->n_steps;) {
        int32_t layer = plan->steps[s].layer;
        double sum = 0;
        for (; s < plan->n_steps && plan->steps[s].layer == layer; s++) {
            sum += ns[s];
        }
        if (layer != LAYER_NONE) {
            printf("Layer%d time=%.3fms phase=%s rows=%u\n", layer, sum * 1e-6, batch->decode ? "decode" : "prefill",
                   batch->n_rows);
        }
    }
}

void print_last_token(const struct step *step, uint32_t token, const float *row)
{
    double low = INFINITY, high = -INFINITY, sum = 0;
    uint32_t n_positive = 0;
    for (uint32_t i = 0; i < step->width; i++) {
        low = fmin(low, row[i]);
        high = fmax(high, row[i]);
        sum += row[i];
        n_positive += row[i] > 0;
    }
    printf("Layer%d LAST_TOKEN pos=%u min=%.6g max=%.6g mean=%.6g positive=%.1f%%\n", step->layer, token, low, high,
           sum / step->width, 100.0 * n_positive / step->width);
}

/* A token's id, and its text where there is a tokenizer. */
static void print_token(const struct model *model, uint32_t id)
{
    char *text = python_token_text(model, (int32_t)id);
    printf("%u", id);
    if (text != NULL) {
        char quoted[128];
        quote_text(text, quoted, sizeof(quoted));
        printf(" %s", quoted);
    }
    free(text);
}

/* The probability of each token at temperature 1. */
static double sum_of_exponentials(const float *logits, uint32_t width, float most)
{
    double sum = 0;
    for (uint32_t i = 0; i < width; i++) {
        sum += isfinite(logits[i]) ? exp((double)logits[i] - most) : 0;
    }
    return sum;
}

static void print_top(const struct model *model, const float *logits, uint32_t width)
{
    uint32_t best[TOP], n = 0;
    double sum = sum_of_exponentials(logits, width, logits[argmax(logits, width)]);
    printf("top-5:");
    while (n < TOP && n < width) {
        int64_t next = -1;
        for (uint32_t i = 0; i < width; i++) {
            bool taken = isnan(logits[i]);
            for (uint32_t k = 0; k < n; k++) {
                taken = taken || best[k] == i;
            }
            next = !taken && (next < 0 || logits[i] > logits[next]) ? (int64_t)i : next;
        }
        if (next < 0) {
            break;
        }
        best[n++] = (uint32_t)next;
        printf("%s ", n > 1 ? "," : "");
        print_token(model, (uint32_t)next);
        printf(" (%.1f%%)", 100 * exp((double)logits[next] - logits[best[0]]) / sum);
    }
    printf("\n");
}

/* The ids that probes of the logits name. */
static void print_specific(const struct probe_config *config, const struct model *model, const float *logits)
{
    bool any = false;
    for (uint32_t i = 0; i < config->n_probes; i++) {
        const struct probe *probe = &config->probes[i];
        bool logit = probe->stage == STAGE_logits || probe->stage == STAGE_logits_final;
        for (uint32_t d = 0; logit && d < probe->n_dims; d++) {
            printf("%s ", any ? "," : "Specific tokens:");
            print_token(model, (uint32_t)probe->dims[d]);
            printf("=%.6g", (double)logits[probe->dims[d]]);
            any = true;
        }
    }
    if (any) {
        printf("\n");
    }
}

void print_choices(const struct probe_config *config, const struct plan *plan, uint32_t token, const float *logits)
{
    uint32_t width = plan->steps[plan->n_steps - 1].width;
    double low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < width; i++) {
        low = fmin(low, logits[i]);
        high = fmax(high, logits[i]);
    }
    printf("Logits: min=%.6g, max=%.6g, token=%u\n", low, high, token);
    print_top(plan->model, logits, width);
    print_specific(config, plan->model, logits);
}
