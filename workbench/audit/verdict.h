/* The verdict that follows from the audits of all sources: which source is wrong, where first, and which errors each
 * source introduced. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_VERDICT_H
#define LOCKSTEP_WORKBENCH_AUDIT_VERDICT_H

#include "workbench/audit/audit.h"

/* Whose trace it is. Where several fail at one step, `first_divergence` is of the first in this order. */
enum source { SOURCE_ENGINE, SOURCE_TRACE, SOURCE_REFERENCE, SOURCE_GOLDEN, SOURCE_COUNT };
const char *source_name(enum source source); /* "engine", "trace", "reference", "golden" */

enum outlier {
    OUTLIER_NONE,
    OUTLIER_ENGINE,
    OUTLIER_REFERENCE,
    OUTLIER_TRACE,
    OUTLIER_GOLDEN_OR_WEIGHTS,
    OUTLIER_SEVERAL,
};
const char *outlier_name(enum outlier outlier); /* "golden-or-weights" */

/* The outlier where only this source introduces errors. */
enum outlier outlier_alone(enum source source);

/* An error that a step of one source introduces. */
struct introduced {
    uint32_t step;
    enum source source;
    uint32_t trace; /* index into the audited traces */
};

/* A (layer, stage) that a source lacks. */
struct lack {
    uint32_t step;
    enum source source;
    bool unaudited; /* the stage is there, but not every input that is needed to judge it */
};

/* What is claimed of a source, or of all of them. */
enum conclusion {
    CONCLUSION_PARITY,
    CONCLUSION_DIVERGED,
    CONCLUSION_UNDECIDED, /* nothing diverged, but of some required stage that is recorded fewer than half of the rows
                             could be judged, or no row of any stage */
};
const char *conclusion_name(enum conclusion conclusion); /* "undecided" */

/* The exit status that says so: STATUS_OK, STATUS_DIVERGED or STATUS_UNDECIDED. */
enum status conclusion_status(enum conclusion conclusion);

struct verdict {
    bool diverged;
    enum conclusion conclusion;       /* of all sources: diverged if one is, else undecided if one is */
    enum conclusion of[SOURCE_COUNT]; /* of each audited trace */
    enum outlier outlier;
    uint32_t n_introduced;
    struct introduced *introduced; /* in plan order, then in the order of enum source */
    /* Index of the first divergence: the first error of the engine or the trace, if they have one, else of the
     * reference, else of the golden. Whoever diagnoses moves it behind errors that precision explains. */
    uint32_t first;
    /* Numbers of (layer, stage) pairs over all sources. */
    uint32_t expected; /* required stages, and the optional ones that a file holds */
    uint32_t compared; /* judged in every source that must hold them */
    uint32_t n_lacks;
    struct lack *lacks;
    /* [n_steps] of each audited trace: a passing span covers the step, so it is not suspect. Another span that covers
     * it and fails does so for another reason. */
    uint8_t *cleared[SOURCE_COUNT];
};

/* The first divergence; only where there is one. */
const struct introduced *verdict_first(const struct verdict *verdict);

/* Whose error the first divergence, of `source`, is: a source's name, or "golden-or-weights". Where the engine (or the
 * trace) and the golden agree with each other and fail alike, neither is accused. */
const char *verdict_source(enum outlier outlier, enum source source);

/* sources[i] says whose trace i is. same_weights: the golden's digests of weights and config are those of the model. */
void verdict_reach(struct verdict *verdict, const struct audit *audit, const struct trace *const *traces,
                   const enum source *sources, bool same_weights);
void verdict_free(struct verdict *verdict);

#endif
