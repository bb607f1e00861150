/* How a stage's values grow from layer to layer, each source a column: an engine whose residual stream is ten times too
 * small, or explodes in one layer, shows here before anything is explained. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_GROWTH_TABLE_H
#define LOCKSTEP_WORKBENCH_REPORT_GROWTH_TABLE_H

#include <jansson.h>
#include <stdio.h>

#include "workbench/report/report.h"
#include "workbench/trace/trace.h"

/* What the table is of. Of layer_out, embed stands before the layers and final_norm after them. */
struct growth {
    const struct plan *plan;
    enum stage stage;                  /* in the layers */
    const struct trace *const *traces; /* [n] */
    const enum source *sources;        /* [n] */
    uint32_t n;
    int64_t position; /* one position alone; -1: all that every source recorded */
    uint32_t width;   /* columns of the terminal; 0: 80. With fewer than 80 the rms is left out */
};

/* Prints a line a layer: the largest |value| and the rms of each source over the same rows, the ratio of the first
 * source to the last, and by how much the first one grew. The largest growth and the layer where the sources part most
 * are marked. false: no layer has a row that every source recorded, and nothing is printed. */
bool growth_print(const struct growth *growth, FILE *out);

/* {"stage", "ratio_of", "layers": [{"layer", "stage", "rows", "max_abs": {source: …}, "rms": {…}, "ratio", "growth"}],
 * "largest_growth", "parts_most"}: the last two are {"layer", "stage"} or null. The caller releases it. */
json_t *growth_json(const struct growth *growth);

/* That of layer_out in a report's traces, which it borrows. */
struct growth report_growth(const struct report *report);

#endif
