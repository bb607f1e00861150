/* Computing a span with some of its steps edited, and judging it by the span's recorded output. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_SPANS_SPAN_SEARCH_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_SPANS_SPAN_SEARCH_H

#include "workbench/diagnose/diagnose_internal.h"

/* The step's rows in the trace's order: what a plan, right or edited, makes of them. */
struct span_rows {
    struct rows rows;
    double *y, *bound; /* [rows.n, width] */
    double worst;      /* ratio; infinity: a row fails, and the rows after it are not computed */
};

/* Other weights of a step. apply: edits *step, a copy of step `s`; false: it has none such. */
struct weights_edit {
    bool (*apply)(const struct plan *plan, uint32_t s, struct step *step, struct arena *arena);
    enum fault_kind kind;
    const char *text;
};

/* One edit of some steps: a fault, other weights, a trial, or else numbers of the parameters: those in which `to`
 * differs from `from`. */
struct span_edit {
    const struct fault *fault;          /* or NULL */
    const struct weights_edit *weights; /* or NULL */
    const struct span_trial *trial;     /* or NULL: of the same steps; the plan stays as it is */
    union step_params from, to;
    uint8_t *steps; /* [n_steps] which; owned by whoever made the edit */
};

/* One failing row: the trace without the other rows of the step's output. */
struct span_row {
    uint32_t position;
    struct trace trace;
    struct spans base; /* of the plan before edits */
};

/* An edit that gives the first failing row as it was recorded, but not all rows. */
struct span_part {
    struct span_edit edit;
    uint32_t n_right;      /* rows that it gives as they were recorded */
    struct diagnosis told; /* how it is told; its text ends where another bug may follow */
};
#define SPAN_MOST_PARTS 3

struct span_search {
    const struct span_failure *failure; /* its plan may hold an edit already */
    struct span_row low, high;          /* the failing rows of lowest and of highest position */
    struct spans *base;                 /* of the plan before edits: the failure's */
    struct span_rows right;
    struct plan light;     /* the failure's plan with its span's matrices as f32, so that one row is soon computed */
    struct arena expanded; /* those matrices */
    struct span_part parts[SPAN_MOST_PARTS]; /* those of most right rows first */
    uint32_t n_parts;
};

/* Returns false where no row fails, and there is nothing to search. */
bool span_search_open(struct span_search *search, const struct span_failure *failure);
void span_search_close(struct span_search *search);

/* The worst ratio of all rows with an edit; INFINITY where it does not explain them. *n_right: how many rows come out
 * as recorded, if the first failing one does; 0: it does not. */
double span_try(struct span_search *search, const struct span_edit *edit, uint32_t *n_right);

/* The sum of squared differences of one failing row from what was recorded. */
double span_miss(struct span_search *search, const struct span_edit *edit, bool highest);

/* Makes an edit in a plan's steps. Edited weights lie in the arena. */
void span_edit_apply(const struct span_edit *edit, struct plan *plan, struct arena *arena);

/* Keeps an edit that explains a part of the rows, if it is among those that explain most. `edit->steps` is copied. */
void span_part_keep(struct span_search *search, const struct span_edit *edit, uint32_t n_right,
                    const struct diagnosis *told);

/* Writes the first three edited steps in words, and "…" if there are more. Returns the first one's index. */
uint32_t span_name_edited(const struct plan *plan, const uint8_t *edited, char where[160]);

/* spans/diagnose_span.c: faults of the span. spans/span_numbers.c: numbers of the config that its ops use.
 * spans/span_weights.c: weights that are others'. All write the diagnoses to found[max] and keep the edits that explain
 * a part. */
uint32_t span_faults(struct span_search *search, struct diagnosis *found, uint32_t max);
bool span_numbers(struct span_search *search, struct diagnosis *found);
bool span_weights(struct span_search *search, struct diagnosis *found);

/* spans/span_trials.c: other positions of rope, other visible keys. */
bool span_trials(struct span_search *search, struct diagnosis *found);

/* spans/span_pairs.c: a second bug beside each of the parts. Writes both to found[2]. Returns whether they are found.
 */
bool span_pairs(struct span_search *search, struct diagnosis found[2]);

#endif
