/* The verdict: what the audits of all sources together say. Who is wrong, where first, and what every source
 * introduced. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_VERDICT_H
#define LOCKSTEP_WORKBENCH_AUDIT_VERDICT_H

#include "workbench/audit/audit.h"

/* Where a trace stands in a comparison. The order is the order in which `first_divergence` prefers them at one step. */
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
const char *outlier_name(enum outlier outlier); /* as the JSON report spells it */

/* An error that a step introduces, in one source. */
struct introduced {
    uint32_t step;
    enum source source;
    uint32_t trace; /* index among the audited traces */
};

/* A (layer, stage) that a source lacks. */
struct lack {
    uint32_t step;
    enum source source;
    bool unaudited; /* there, but an input that judging needs is not */
};

struct verdict {
    bool diverged;
    enum outlier outlier;
    uint32_t n_introduced;
    struct introduced
        *introduced; /* in plan order, at one step in the order of enum source; the first is first_divergence */
    uint32_t expected,
        compared; /* (layer, stage)s over the sources: required ones and the optional ones that a file holds */
    uint32_t n_lacks;
    struct lack *lacks;
    /* [n_steps] of each audited trace: a stage that is not recorded, over which a span passes; whoever else fails over
     * it does so for another reason. */
    uint8_t *sound[SOURCE_COUNT];
};

/* sources[i] says what audited trace i is. same_weights: the golden's digests of weights and config match the model's.
 */
void verdict_reach(struct verdict *verdict, const struct audit *audit, const struct trace *const *traces,
                   const enum source *sources, bool same_weights);
void verdict_free(struct verdict *verdict);

#endif
