/* What comparing two traces finds, and drift: how far the one strays from the other, layer by layer. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_DRIFT_H
#define LOCKSTEP_WORKBENCH_AUDIT_DRIFT_H

#include <jansson.h>

#include "workbench/trace/trace.h"

/* How one stage of two traces compares. */
struct distance {
    int32_t layer;
    enum stage stage;
    uint32_t rows; /* that both hold */
    bool in_a, in_b, identical;
    double max_error; /* infinity where only one is finite */
    double rms_error, cosine;
    double relative;        /* rms_error over the rms of b */
    uint32_t position, dim; /* of max_error */
};

/* compare --drift: a line a layer, with the last stage that both traces hold of it (layer_out, as a rule) and the stage
 * that strays most. distances: [n], in plan order. */
void drift_print(const struct distance *distances, uint32_t n);
json_t *drift_json(const struct distance *distances, uint32_t n);

#endif
