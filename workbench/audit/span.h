/* Spans: stages that a trace lacks, computed from what it holds, with how far they can be off. A stranger's dump has
 * only some stages; the audit then goes from one recorded stage to the next recorded one, over all ops between them.
 *
 * A span does not go through a whole layer from tokens alone: that would be the reference's run, not an audit. Where no
 * stage of a layer is recorded at a position, what needs it in the next layer cannot be judged. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_SPAN_H
#define LOCKSTEP_WORKBENCH_AUDIT_SPAN_H

#include "workbench/trace/trace.h"

/* Where a computed row begins. */
enum {
    ORIGIN_RECORDED = -2, /* at recorded stages alone */
    ORIGIN_TOKENS = -1,   /* at tokens; else at tokens, over the attention of the layer that it names */
};

/* A stage of which some rows, or all, were computed. */
struct span {
    struct trace_stage stage; /* [n_positions] rows; recorded: there, by the file or computed */
    double *error;            /* [n_positions, width] the most that each value can be off; 0 where it was recorded */
    int32_t *origin;          /* [n_positions] */
    uint8_t *tried;           /* [n_positions] asked for: it is there, or cannot be */
};

/* The spans of one trace, each computed when it is first asked for. */
struct spans {
    const struct plan *plan;
    const struct trace *trace;
    struct span **span; /* [n_steps] NULL: nobody asked for it */
    /* A plan with some steps edited shares what they do not reach: */
    struct spans *base;     /* NULL: nothing is shared */
    const uint8_t *touched; /* [n_steps] not the base's */
};

void spans_open(struct spans *spans, const struct plan *plan, const struct trace *trace);
void spans_close(struct spans *spans);

/* The stage of a step at the positions in need[n_positions]: as recorded where it is, else computed from its inputs,
 * which may be spans again. Rows that cannot be computed, or of which nothing is known (an ambiguous choice of
 * experts), are not `recorded`. Borrowed until the spans are closed or forgotten. */
const struct span *spans_get(struct spans *spans, uint32_t step, const uint8_t *need);

/* Frees what no step from `step` on reads. */
void spans_forget(struct spans *spans, uint32_t step);

/* What judging a step passes over, as indices of steps, each in plan order: the steps between, whose stages are not
 * recorded at every position that is needed, the step itself not among them; and the recorded ones that all begins at
 * (none: the tokens). */
struct span_path {
    uint32_t n_between, n_from;
    uint32_t *between, *from; /* malloc'ed */
};
void span_path_find(struct span_path *path, const struct plan *plan, uint32_t step, const struct trace *trace);
void span_path_free(struct span_path *path);

/* Whether a step is between. */
bool path_passes(const struct span_path *path, uint32_t step);

/* "between layer 2 attn_norm and layer 2 attn_out: q_proj, k_proj", for people: where the path begins, the step where
 * it ends, and what lies between and is not recorded. "" if nothing does. Returns text. */
const char *span_path_text(const struct span_path *path, const struct plan *plan, uint32_t step, char *text,
                           size_t size);

/* Adds the names of the steps between to a text. Returns it. */
const char *span_steps_text(const struct span_path *path, const struct plan *plan, uint32_t step, char *text,
                            size_t size);

#endif
