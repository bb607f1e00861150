/* Hands the current batch's rows to the probes, and keeps their lines until the position is printed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/judge.h"
#include "workbench/probes/probe_lines.h"

/* A side's rows of a stage over the current batch; NULL if one of them is not recorded. */
static const float *batch_rows(const struct repl *repl, uint32_t side, int32_t layer, enum stage name)
{
    const struct trace *trace = repl->sides[side].trace;
    const struct trace_stage *stage = trace_find(trace, layer, name);
    bool there = stage != NULL && repl->first + repl->n_rows <= trace->n_positions;
    for (uint32_t p = repl->first; there && p < repl->first + repl->n_rows; p++) {
        there = trace_row(stage, p) != NULL;
    }
    return there ? trace_row(stage, repl->first) : NULL;
}

/* Prints what a step's rows give on stdout. */
static void print_probes(const struct repl *repl, uint32_t s)
{
    const struct step *step = &repl->plan->steps[s];
    struct probe_rows rows = {.plan = repl->plan, .step = s, .first = repl->first, .n_rows = repl->n_rows};
    if (repl->config->anomalous == NULL) {
        repl->config->anomalous = xcalloc(repl->plan->n_steps, 1);
    }
    rows.anomalous = repl->config->anomalous;
    if (!probe_config_needs(repl->config, repl->plan, s)) {
        anomaly_inherit(&rows);
        return;
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        rows.names[rows.n_sides] = source_name(repl->sides[i].source);
        rows.rows[rows.n_sides++] = batch_rows(repl, i, step->layer, step->stage);
    }
    for (int32_t i = 0; i < 2 && step->stage == STAGE_layer_out && step->layer > i; i++) {
        rows.before[i] = batch_rows(repl, 0, step->layer - 1 - i, STAGE_layer_out);
    }
    probe_lines_print(repl->config, &rows);
}

void repl_make_probes(struct repl *repl, uint32_t s)
{
    char *text = NULL;
    size_t size = 0;
    FILE *before = stdout, *memory = open_memstream(&text, &size);
    ASSERT(memory != NULL);
    stdout = memory; /* probes print there, for `run` shows them at once */
    print_probes(repl, s);
    stdout = before;
    fclose(memory);
    repl->probe_text = xrealloc(repl->probe_text, repl->n_probe_text + size + 1);
    memcpy(repl->probe_text + repl->n_probe_text, text, size);
    repl->n_probe_text += size;
    free(text);
}

void repl_show_probes(struct repl *repl)
{
    if (repl->n_probe_text > 0) {
        (void)fwrite(repl->probe_text, 1, repl->n_probe_text, stdout);
    }
    repl->n_probe_text = 0;
}
