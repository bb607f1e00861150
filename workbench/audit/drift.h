/* How far two traces are apart, stage by stage, and how that grows layer by layer: drift. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_DRIFT_H
#define LOCKSTEP_WORKBENCH_AUDIT_DRIFT_H

#include <jansson.h>

#include "workbench/trace/trace.h"

/* How far one stage of two traces, a and b, is apart. */
struct distance {
    int32_t layer;
    enum stage stage;
    uint32_t rows; /* that are in both */
    bool in_a, in_b, identical;
    double max_error; /* infinity where only one is finite */
    double rms_error, cosine;
    double relative;        /* rms_error over the rms of b */
    uint32_t position, dim; /* of max_error */
};

/* Positions that two traces have in common: position p of a is p + shift of b. */
struct alignment {
    uint32_t n_positions, shift;
};

/* The tokens at the beginning that both have. */
struct alignment trace_common_tokens(const struct trace *a, const struct trace *b);

/* Compares every stage that either trace holds, in plan order. *distances is malloc'ed. STATUS_BAD_INPUT: a stage has
 * different widths; nothing is left to free then. */
enum status distances_measure(const struct trace *a, const struct trace *b, const struct alignment *alignment,
                              struct distance **distances, uint32_t *n, struct error *err);

/* `compare --drift`. Prints a line a layer: its last stage that is in both traces (usually layer_out), and the stage
 * that strays most. distances: [n], in plan order. */
void drift_print(const struct distance *distances, uint32_t n);
json_t *drift_json(const struct distance *distances, uint32_t n);

/* The rms of the difference from the golden / the rms of the golden, over the positions that both hold. NaN: none. */
double drift_of_step(const struct step *step, const struct trace *trace, const struct trace *golden);

#endif
