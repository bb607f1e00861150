/* Spans: stages that a trace lacks, computed from stages that it holds, with a bound on the error of each value.
 * Another engine's dump often has only some stages. The audit then judges from one recorded stage to the next, over all
 * ops between them.
 *
 * A span never crosses a whole layer from tokens alone: that would be a run of the reference, not an audit. Where no
 * stage of a layer is recorded at a position, the ops of the next layer that need it are not judged. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_SPAN_H
#define LOCKSTEP_WORKBENCH_AUDIT_SPAN_H

#include "reference/reference.h"
#include "workbench/trace/trace.h"

/* Where the inputs of a computed row begin. Values from 0 on: at tokens, through the attention of that layer. */
enum {
    ORIGIN_RECORDED = -2, /* at recorded stages only */
    ORIGIN_TOKENS = -1,   /* at tokens, without attention */
};

/* A stage of which some or all rows were computed. */
struct span {
    struct trace_stage stage; /* [n_positions] rows; `recorded` marks those that the file holds or that were computed */
    double *error;            /* [n_positions, width] the most that a value can be off; 0 where it was recorded */
    int32_t *origin;          /* [n_positions] ORIGIN_, or a layer */
    uint8_t *tried;           /* [n_positions] was asked for; a row that is not there then cannot be computed */
};

/* How some steps are computed in place of the right way: what no edit of a plan can say. */
struct span_trial {
    const uint8_t *steps;   /* [n_steps] which: ropes or attentions */
    bool decode_alone;      /* in decode rows alone */
    struct rope_trial rope; /* of ropes */
    enum { SEEN_RIGHT, SEEN_WHOLE_PROMPT, SEEN_WITHOUT_OWN, SEEN_WITHOUT_FIRST } seen; /* by attentions */
    const uint32_t *positions;                                                         /* 0, 1, 2 … [n_positions] */
    uint32_t prompt;                                                                   /* positions of it */
    struct attention_trial *attention; /* [n_positions] written where `seen` says so */
};

/* The spans of one trace. Each is computed when it is first asked for. */
struct spans {
    const struct plan *plan;
    const struct trace *trace;
    struct span **span; /* [n_steps] NULL: not asked for */
    /* A plan with some steps edited shares the spans that the edits do not reach. */
    struct spans *base;             /* the unedited plan's; NULL: nothing is shared */
    const uint8_t *touched;         /* [n_steps] the edits reach it: not shared */
    const struct span_trial *trial; /* NULL: every step is computed the right way */
    bool values_only;               /* errors are not computed and count as 0: for a search that a proof follows */
    bool whole_run;                 /* spans cross layers: a run from the tokens, which no audit is made of */
    uint8_t stored;                 /* enum rounding_type: what such a run stores its stages in */
};

void spans_open(struct spans *spans, const struct plan *plan, const struct trace *trace);
void spans_close(struct spans *spans);

/* The stage of a step at the positions in need[n_positions]: as recorded where it is, else computed from its inputs,
 * which may be spans again. Rows that cannot be computed, or whose bound is infinite (an ambiguous choice of experts),
 * are not marked as `recorded`. The span stays until spans_close, or until spans_forget frees it. */
const struct span *spans_get(struct spans *spans, uint32_t step, const uint8_t *need);

/* Frees the spans that no step from `step` on reads. */
void spans_forget(struct spans *spans, uint32_t step);

/* The steps over which one step is judged. Both lists hold indices of steps in plan order, and are malloc'ed. */
struct span_path {
    uint32_t n_between, n_from;
    uint32_t *between; /* steps before it whose stages are not recorded at every position that is needed */
    uint32_t *from;    /* the recorded steps that the path begins at; none: it begins at the tokens */
};
void span_path_find(struct span_path *path, const struct plan *plan, uint32_t step, const struct trace *trace);
void span_path_free(struct span_path *path);

/* Whether a step is among `between`. */
bool span_path_passes(const struct span_path *path, uint32_t step);

/* Writes where the path begins, the step where it ends, and the stages between that are not recorded: "between layer 1
 * layer_out and attn_out: layer 2 attn_norm, q_proj". Writes "" if none is missing. Returns text. */
const char *span_path_text(const struct span_path *path, const struct plan *plan, uint32_t step, char *text,
                           size_t size);

/* Adds the names of the steps between to a text. Returns it. */
const char *span_steps_text(const struct span_path *path, const struct plan *plan, uint32_t step, char *text,
                            size_t size);

#endif
