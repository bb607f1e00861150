/* debug.layers at the prompt: a layer that was not read back and is looked at after all runs again, batch by batch,
 * from what was recorded before it. That costs one layer of each batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/debugger/repl.h"
#include "workbench/probes/probe_config.h"

/* The steps of a layer: [first, last). */
static void find_layer(const struct plan *plan, int32_t layer, uint32_t *first, uint32_t *last)
{
    for (*first = 0; *first < plan->n_steps && plan->steps[*first].layer != layer; ++*first) {
    }
    for (*last = *first; *last < plan->n_steps && plan->steps[*last].layer == layer; ++*last) {
    }
}

/* Takes a step's rows of a batch into the trace. Those that were recorded must come out as they were: else the engine
 * is not the one that ran them (a fault that was planted since, other shaders). */
static enum status take_rows(const struct repl *repl, struct repl_side *side, uint32_t step,
                             const struct repl_batch *batch, struct error *err)
{
    const struct step *at = &repl->plan->steps[step];
    struct trace_stage *stage = trace_find_step(side->trace, at);
    uint64_t n = (uint64_t)batch->n_rows * at->width;
    float *recorded = stage->rows + (uint64_t)batch->first * at->width;
    if (!stage->recorded[batch->first]) {
        enum status status = side->backend->ops->read(side->backend, step, recorded, err);
        for (uint32_t p = batch->first; status == STATUS_OK && p < batch->first + batch->n_rows; p++) {
            stage->recorded[p] = 1;
            stage->n_recorded++;
        }
        return status;
    }
    float *rows = xmalloc(n * sizeof(*rows));
    enum status status = side->backend->ops->read(side->backend, step, rows, err);
    if (status == STATUS_OK && memcmp(rows, recorded, n * sizeof(*rows)) != 0) {
        char place[32];
        snprintf(place, sizeof(place), "layer %d", at->layer);
        status = error_set(err, STATUS_USAGE, NULL, place, ERROR_NO_OFFSET,
                           "was not read back, and the engine is another now than when it ran (%s differs), expected "
                           "back, and to run it again",
                           stage_name(at->stage));
    }
    free(rows);
    return status;
}

/* Runs a layer of a batch again, as far as the batch came. The side is after the batch then, or where it ended. */
static enum status fetch_batch(const struct repl *repl, struct repl_side *side, uint32_t b, uint32_t first,
                               uint32_t last, struct error *err)
{
    const struct repl_batch *batch = &repl->batches[b];
    uint32_t came = b + 1 < repl->n_batches ? repl->plan->n_steps : repl->next, end = came < last ? came : last;
    enum status status = repl_restore(repl, side, batch, first < came ? first : came, err);
    if (status == STATUS_OK && first < end) {
        status = side->backend->ops->run(side->backend, first, end, err);
    }
    for (uint32_t s = first; status == STATUS_OK && s < end; s++) {
        status = take_rows(repl, side, s, batch, err);
    }
    if (status == STATUS_OK) {
        status = repl_restore(repl, side, batch, came, err);
    }
    return status == STATUS_OK ? stop_check(err) : status;
}

/* What was not read back before is not recorded again. before: [n_steps] what was. */
static void forget(const struct repl *repl, const struct repl_side *side, const bool *before, uint32_t first,
                   uint32_t last)
{
    for (uint32_t s = first; s < last; s++) {
        const struct step *step = &repl->plan->steps[s];
        struct trace_stage *stage = trace_find_step(side->trace, step);
        for (uint32_t p = 0; !before[s] && p < side->trace->n_positions; p++) {
            stage->n_recorded -= stage->recorded[p];
            stage->recorded[p] = 0;
        }
    }
}

/* The layer is one of those that are read back, from now on. */
static enum status add_layer(struct repl *repl, int32_t layer, struct error *err)
{
    struct probe_config *config = repl->config;
    config->layers = xrealloc(config->layers, (config->n_layers + 1) * sizeof(*config->layers));
    config->layers[config->n_layers++] = layer;
    return repl_choose_reads(repl, err);
}

enum status repl_fetch(struct repl *repl, uint32_t step, struct error *err)
{
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (repl_reads(repl, step) || side == NULL || !repl_runs(side)) {
        return STATUS_OK;
    }
    int32_t layer = repl->plan->steps[step].layer;
    uint32_t first, last;
    find_layer(repl->plan, layer, &first, &last);
    bool *before = xmalloc(repl->plan->n_steps * sizeof(*before));
    memcpy(before, repl->reads, repl->plan->n_steps * sizeof(*before));
    enum status status = add_layer(repl, layer, err);
    for (uint32_t b = 0; status == STATUS_OK && b < repl->n_batches; b++) {
        status = fetch_batch(repl, side, b, first, last, err);
    }
    if (status != STATUS_OK && status != STATUS_DEVICE) {
        struct error unused;
        bool asked = stop_asked();
        forget(repl, side, before, first, last);
        repl->config->n_layers--;
        stop_clear();
        (void)repl_choose_reads(repl, &unused); /* replays */
        if (asked) {
            stop_ask();
        }
    }
    free(before);
    if (status == STATUS_OK) {
        repl_judge_again(repl, first, last);
        printf("layer %d was not read back: it ran again, and is read back from here on\n", layer);
    }
    return status == STATUS_DEVICE && !side->lost ? repl_side_failed(repl, side, status, err) : status;
}
