/* Drift is not divergence. A quantised model strays from the unquantised one by design; the question is where, and how
 * fast. */
#include <stdio.h>

#include "workbench/audit/drift.h"
#include "workbench/trace/json_file.h"

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
