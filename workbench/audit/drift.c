/* Drift is not divergence. A quantised model strays from the unquantised one by design; the question is where, and how
 * fast. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/audit/drift.h"
#include "workbench/trace/json_file.h"

struct alignment trace_common_tokens(const struct trace *a, const struct trace *b)
{
    struct alignment alignment = {0};
    while (alignment.n_positions < a->n_positions && alignment.n_positions < b->n_positions &&
           a->tokens[alignment.n_positions] == b->tokens[alignment.n_positions]) {
        alignment.n_positions++;
    }
    return alignment;
}

static bool same_bits(const float *a, const float *b, uint32_t n)
{
    return memcmp(a, b, n * sizeof(*a)) == 0;
}

/* How far apart two values are. Equal infinities are 0 apart, any other pair that is not finite infinitely far. */
static double value_error(float a, float b)
{
    if (a == b) {
        return 0;
    }
    return isfinite(a) && isfinite(b) ? fabs((double)a - b) : INFINITY;
}

static void measure_rows(struct distance *distance, const struct trace_stage *a, const struct trace_stage *b,
                         const struct alignment *alignment)
{
    double square = 0, product = 0, size_a = 0, size_b = 0;
    distance->identical = true;
    for (uint32_t p = 0; p < alignment->n_positions; p++) {
        const float *x = trace_row(a, p), *y = trace_row(b, p + alignment->shift);
        distance->identical &= (x != NULL) == (y != NULL) && (!x || !y || same_bits(x, y, a->width));
        if (!x || !y) {
            continue;
        }
        distance->rows++;
        for (uint32_t d = 0; d < a->width; d++) {
            double error = value_error(x[d], y[d]);
            square += error * error;
            product += (double)x[d] * y[d];
            size_a += (double)x[d] * x[d];
            size_b += (double)y[d] * y[d];
            if (error > distance->max_error) {
                distance->max_error = error;
                distance->position = p;
                distance->dim = d;
            }
        }
    }
    distance->rms_error = sqrt(square / ((double)distance->rows * a->width));
    distance->relative = square == 0 ? 0 : sqrt(square / size_b);
    distance->cosine = size_a == 0 && size_b == 0 ? 1 : product / sqrt(size_a * size_b);
}

enum status distances_measure(const struct trace *a, const struct trace *b, const struct alignment *alignment,
                              struct distance **distances, uint32_t *n, struct error *err)
{
    struct distance *list = xcalloc(a->n_stages + b->n_stages, sizeof(*list));
    uint32_t i = 0, k = 0;
    *n = 0;
    *distances = list;
    while (i < a->n_stages || k < b->n_stages) {
        const struct trace_stage *x = i < a->n_stages ? &a->stages[i] : NULL;
        const struct trace_stage *y = k < b->n_stages ? &b->stages[k] : NULL;
        if (x && y && trace_find(b, x->layer, x->stage) != y && trace_find(b, x->layer, x->stage)) {
            x = NULL; /* y comes first in plan order, and only b has y */
        } else if (x && y && trace_find(b, x->layer, x->stage) != y) {
            y = NULL;
        }
        struct distance *distance = &list[(*n)++];
        const struct trace_stage *either = x ? x : y;
        *distance = (struct distance){.layer = either->layer, .stage = either->stage, .in_a = x, .in_b = y};
        char label[64];
        if (x && y && x->width != y->width && x->stage != STAGE_attn_probs) {
            free(list);
            *distances = NULL;
            return error_set(err, STATUS_BAD_INPUT, a->path, trace_label(x, label), ERROR_NO_OFFSET,
                             "rows have %u values, expected %u as in %s", x->width, y->width, b->path);
        }
        if (x && y && x->width == y->width) { /* probabilities have a column a position */
            measure_rows(distance, x, y, alignment);
        }
        i += x != NULL;
        k += y != NULL;
    }
    return STATUS_OK;
}

/* What is printed for a layer, or for one stage outside the layers. */
struct drift {
    const struct distance *last, *worst; /* NULL: no stage is in both traces */
};

/* The layer, or the stage outside the layers, that begins at distances[*at]. Moves *at behind it. */
static struct drift next_group(const struct distance *distances, uint32_t n, uint32_t *at)
{
    struct drift drift = {NULL, NULL};
    int32_t layer = distances[*at].layer;
    do {
        const struct distance *d = &distances[*at];
        if (d->rows > 0) {
            drift.last = d;
            if (!drift.worst || !(d->relative <= drift.worst->relative)) { /* NaN counts as worst */
                drift.worst = d;
            }
        }
        (*at)++;
    } while (*at < n && layer != LAYER_NONE && distances[*at].layer == layer);
    return drift;
}

void drift_print(const struct distance *distances, uint32_t n)
{
    printf("%-6s %-14s %12s %13s   %s\n", "layer", "stage", "cosine", "relative rms", "strays most");
    for (uint32_t at = 0; at < n;) {
        struct drift drift = next_group(distances, n, &at);
        if (!drift.last) {
            continue;
        }
        char layer[16] = "-";
        if (drift.last->layer != LAYER_NONE) {
            snprintf(layer, sizeof(layer), "%d", drift.last->layer);
        }
        printf("%-6s %-14s %12.9f %13.6g", layer, stage_name(drift.last->stage), drift.last->cosine,
               drift.last->relative);
        if (drift.worst != drift.last) {
            printf("   %s %.6g", stage_name(drift.worst->stage), drift.worst->relative);
        }
        printf("\n");
    }
}

json_t *drift_json(const struct distance *distances, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t at = 0; at < n;) {
        struct drift drift = next_group(distances, n, &at);
        if (!drift.last) {
            continue;
        }
        json_t *entry = json_object();
        json_put(entry, "layer", json_layer(drift.last->layer));
        json_put(entry, "stage", json_string(stage_name(drift.last->stage)));
        json_put(entry, "cosine", json_number_or_text(drift.last->cosine));
        json_put(entry, "relative_rms", json_number_or_text(drift.last->relative));
        json_put(entry, "worst_stage", json_string(stage_name(drift.worst->stage)));
        json_put(entry, "worst_relative_rms", json_number_or_text(drift.worst->relative));
        json_push(list, entry);
    }
    return list;
}

double drift_of_step(const struct step *step, const struct trace *trace, const struct trace *golden)
{
    const struct trace_stage *a = trace_find_step(trace, step), *b = trace_find_step(golden, step);
    if (!a || !b || trace->n_positions != golden->n_positions) {
        return NAN;
    }
    double difference = 0, size = 0;
    bool common = false;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        const float *x = trace_row(a, p), *y = trace_row(b, p);
        common |= x && y;
        for (uint32_t i = 0; x && y && i < step->width; i++) {
            difference += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
            size += (double)y[i] * y[i];
        }
    }
    return !common ? NAN : difference == 0 ? 0 : sqrt(difference / size);
}
