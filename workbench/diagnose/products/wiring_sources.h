/* What a wrongly wired input may have been: other recorded stages of the same width, sums of two of them, or one of
 * them normalised. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_WIRING_SOURCES_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_WIRING_SOURCES_H

#include "workbench/diagnose/solver.h"

struct wiring_source {
    const struct trace_stage *stage, *plus; /* plus: added to it, or NULL */
    const struct step *norm;                /* by which it is normalised, or NULL */
    float *values;                          /* [trial rows, width] of a sum or norm; NULL: the stage's own rows */
    double *error;                          /* [trial rows, width] how far values are off; NULL: exact */
};

struct wiring_sources {
    uint32_t width, n, n_stages; /* stages come first, those of near layers before others */
    struct wiring_source *list;
};

/* The stages of this width that are recorded at all rows of the trial. computed: also sums and norms of the layer. */
void wiring_sources_open(struct wiring_sources *sources, const struct solve *solve, uint32_t width, bool computed);
void wiring_sources_close(struct wiring_sources *sources);

/* Lets an input of the trial's rows be the source. */
void wiring_source_use(const struct wiring_source *source, const struct solve *solve, struct op_row *rows,
                       unsigned input);

/* "layer 3 attn_norm", "layer 3 attn_resid + layer 3 ffn_down". Returns text. */
const char *wiring_source_name(const struct wiring_source *source, char text[160]);

#endif
