/* Recomputes a layer that was not captured, batch by batch, from recorded inputs. That costs one layer a batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/judge.h"
#include "workbench/debugger/run/run.h"
#include "workbench/probes/probe_config.h"

/* The steps of a layer: [first, last). */
static void find_layer(const struct plan *plan, int32_t layer, uint32_t *first, uint32_t *last)
{
    for (*first = 0; *first < plan->n_steps && plan->steps[*first].layer != layer; ++*first) {
    }
    for (*last = *first; *last < plan->n_steps && plan->steps[*last].layer == layer; ++*last) {
    }
}

/* Records a step's rows of a batch. Rows that were recorded before must be the same: if they differ, another engine ran
 * them (a fault was planted since, or shaders were reloaded). */
static enum status record_rows(const struct repl *repl, struct repl_side *side, uint32_t step,
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
                           "was not read back, and the engine has changed since it ran (%s differs), expected back, "
                           "then to run it again",
                           stage_name(at->stage));
    }
    free(rows);
    return status;
}

/* Recomputes a layer of a batch, as far as the batch ran: by running all of the batch again, as it ran; but with
 * patches, or op by op, the layer alone. */
static enum status recompute_in_batch(const struct repl *repl, struct repl_side *side, uint32_t b, uint32_t first,
                                      uint32_t last, struct error *err)
{
    const struct repl_batch *batch = &repl->batches[b];
    uint32_t ran = b + 1 < repl->n_batches ? repl->plan->n_steps : repl->next, end = ran < last ? ran : last;
    bool whole = repl->n_patches == 0 && !repl->settings.no_fuse;
    TRY(repl_restore(repl, side, batch, whole ? 0 : first < ran ? first : ran, err));
    if (whole) {
        TRY(side->backend->ops->run(side->backend, 0, repl->plan->n_steps, err));
    } else if (first < end) {
        TRY(side->backend->ops->run(side->backend, first, end, err));
    }
    for (uint32_t s = first; s < end; s++) {
        TRY(record_rows(repl, side, s, batch, err));
    }
    TRY(whole ? STATUS_OK : repl_restore(repl, side, batch, ran, err)); /* later batches need its keys and values */
    return stop_check(err);
}

/* Drops the rows of steps that were not captured before. before: [n_steps] what was. */
static void drop_new_rows(const struct repl *repl, const struct repl_side *side, const bool *before, uint32_t first,
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

/* Makes the layer a checkpoint layer. */
static enum status add_checkpoint(struct repl *repl, int32_t layer, struct error *err)
{
    struct probe_config *config = repl->config;
    config->layers = xrealloc(config->layers, (config->n_layers + 1) * sizeof(*config->layers));
    config->layers[config->n_layers++] = layer;
    return repl_update_capture(repl, err);
}

/* After a failure: everything is as it was before. */
static void undo(struct repl *repl, struct repl_side *side, const bool *before, uint32_t first, uint32_t last)
{
    struct error unused;
    bool asked = stop_asked();
    drop_new_rows(repl, side, before, first, last);
    repl->config->n_layers--;
    stop_clear(); /* Ctrl-C must not stop the undoing */
    if (repl_update_capture(repl, &unused) == STATUS_OK) {
        (void)repl_side_failed(repl, side, repl_replay(repl, side, &unused), &unused);
    }
    if (asked) {
        stop_ask();
    }
}

enum status repl_ensure_captured(struct repl *repl, uint32_t step, struct error *err)
{
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (repl_is_captured(repl, step) || side == NULL || !repl_side_runs(side)) {
        return STATUS_OK;
    }
    int32_t layer = repl->plan->steps[step].layer;
    uint32_t first, last;
    find_layer(repl->plan, layer, &first, &last);
    bool *before = xmalloc(repl->plan->n_steps * sizeof(*before));
    memcpy(before, repl->captured, repl->plan->n_steps * sizeof(*before));
    enum status status = add_checkpoint(repl, layer, err);
    for (uint32_t b = 0; status == STATUS_OK && b < repl->n_batches; b++) {
        status = recompute_in_batch(repl, side, b, first, last, err);
    }
    side->behind = true;
    if (status != STATUS_OK && status != STATUS_DEVICE) {
        undo(repl, side, before, first, last);
    }
    free(before);
    if (status == STATUS_OK) {
        repl_rejudge(repl, first, last);
        printf("layer %d was not read back: recomputed, and read back from now on\n", layer);
    }
    return side->lost ? status : repl_side_failed(repl, side, status, err);
}
