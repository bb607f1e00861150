/* debug.layers at the prompt: only what is looked at is brought from the device and judged. */
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/repl.h"
#include "workbench/probes/probe_config.h"

bool repl_reads(const struct repl *repl, uint32_t step)
{
    return repl->reads == NULL || repl->reads[step];
}

/* Keys and values of every layer, and its output: with them a run goes back to any point (repl_history.c). */
static void add_the_way_back(const struct plan *plan, bool *reads)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        reads[s] = reads[s] || step->stage == STAGE_layer_out;
        for (uint32_t i = 1; step->op == OP_attention && i < OP_MAX_INPUTS; i++) {
            if (step->input[i] >= 0) {
                reads[step->input[i]] = true;
            }
        }
    }
}

/* [n_steps], or NULL: all. */
static bool *choose(const struct repl *repl)
{
    const struct probe_config *config = repl->config;
    if (config->n_layers == 0) {
        return NULL;
    }
    bool *reads = xcalloc(repl->plan->n_steps, sizeof(*reads));
    add_the_way_back(repl->plan, reads);
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        reads[s] = reads[s] || probe_config_covers(config, repl->plan, s) || repl_is_patched(repl, s);
    }
    for (uint32_t i = 0; i < repl->n_breaks; i++) {
        reads[repl->breaks[i].step] = reads[repl->breaks[i].step] || !repl->breaks[i].diverge;
    }
    return reads;
}

static bool same(const bool *a, const bool *b, uint32_t n)
{
    return (a == NULL) == (b == NULL) && (a == NULL || memcmp(a, b, n * sizeof(*a)) == 0);
}

enum status repl_choose_reads(struct repl *repl, struct error *err)
{
    bool *reads = choose(repl);
    if (same(reads, repl->reads, repl->plan->n_steps)) {
        free(reads);
        return STATUS_OK;
    }
    free(repl->reads);
    repl->reads = reads;
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (!repl->session->on[SOURCE_ENGINE] || (side != NULL && side->lost)) {
        return STATUS_OK;
    }
    enum status status = engine_capture(&repl->session->backend[SOURCE_ENGINE], reads, err);
    if (status == STATUS_OK && side != NULL) {
        status = repl_replay(repl, side, err);
    }
    return status == STATUS_OK || side == NULL ? status : repl_side_failed(repl, side, status, err);
}
