#include "workbench/debugger/run/capture.h"

#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/run.h"
#include "workbench/probes/probe_config.h"

bool repl_is_captured(const struct repl *repl, uint32_t step)
{
    return repl->captured == NULL || repl->captured[step];
}

/* Adds what going back needs: keys, values and output of every layer. */
static void add_restorable(const struct plan *plan, bool *captured)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        captured[s] = captured[s] || step->stage == STAGE_layer_out;
        for (uint32_t i = 1; step->op == OP_attention && i < OP_MAX_INPUTS; i++) {
            if (step->input[i] >= 0) {
                captured[step->input[i]] = true;
            }
        }
    }
}

/* The stages to capture: [n_steps], which the caller frees; NULL: all. */
static bool *choose_stages(const struct repl *repl)
{
    const struct probe_config *config = repl->config;
    if (config->n_layers == 0) {
        return NULL;
    }
    bool *captured = xcalloc(repl->plan->n_steps, sizeof(*captured));
    add_restorable(repl->plan, captured);
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        captured[s] = captured[s] || probe_config_covers(config, repl->plan, s) || repl_is_patched(repl, s);
    }
    for (uint32_t i = 0; i < repl->n_breakpoints; i++) {
        captured[repl->breakpoints[i].step] = captured[repl->breakpoints[i].step] || !repl->breakpoints[i].diverge;
    }
    return captured;
}

static bool same(const bool *a, const bool *b, uint32_t n)
{
    return (a == NULL) == (b == NULL) && (a == NULL || memcmp(a, b, n * sizeof(*a)) == 0);
}

/* Rows of the stages that are captured now may not have been read. The current batch runs again if this engine made all
 * of it. */
static void forget_unread(struct repl *repl, struct repl_side *side)
{
    uint32_t i = (uint32_t)(side - repl->sides), version = side->version;
    repl_side_changed(repl, side);
    if (repl->n_batches > 0 && repl->batches[repl->n_batches - 1].version[i] == version) {
        repl->batches[repl->n_batches - 1].version[i] = side->version;
    }
}

enum status repl_update_capture(struct repl *repl, struct error *err)
{
    bool *captured = choose_stages(repl);
    if (same(captured, repl->captured, repl->plan->n_steps)) {
        free(captured);
        return STATUS_OK;
    }
    free(repl->captured);
    repl->captured = captured;
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (!repl->session->on[SOURCE_ENGINE] || (side != NULL && side->lost)) {
        return STATUS_OK;
    }
    enum status status = engine_capture(&repl->session->backend[SOURCE_ENGINE], captured, err);
    if (side == NULL) {
        return status;
    }
    if (status == STATUS_OK) {
        forget_unread(repl, side);
    }
    return repl_side_failed(repl, side, status, err);
}
