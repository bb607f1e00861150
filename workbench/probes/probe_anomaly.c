/* ANOMALY lines: what is wrong with a stage by its numbers alone. The rules are those of the seeds' triage table:
 * values that are not finite; "values exploding: maxAbs growing 10x+ per layer"; "single dimension spike: the same dim
 * exploding across all layers". By itself no size is odd, nor one jump (the residual of a healthy model grows a
 * hundredfold in one layer and stays there), so it takes two layers in a row; or another source's same row, ten times
 * smaller. */
#include <math.h>

#include "workbench/probes/probe_config.h"
#include "workbench/session/progress.h"

#define TIMES 10.0 /* the triage table's */

/* Of a whole row, bounded by its shape. */
struct extent {
    double max_abs, rest; /* rest: rms of all but the largest */
    uint32_t max_dim, odd_dim;
    bool nan, inf; /* the first that is not finite is at odd_dim */
};

static struct extent measure(const float *row, uint32_t width)
{
    struct extent extent = {.max_abs = -1};
    double squares = 0;
    for (uint32_t i = 0; i < width; i++) {
        double value = row[i];
        if (!isfinite(value)) {
            extent.odd_dim = extent.nan || extent.inf ? extent.odd_dim : i;
            extent.nan = extent.nan || isnan(value);
            extent.inf = extent.inf || isinf(value);
            continue;
        }
        squares += value * value;
        if (fabs(value) > extent.max_abs) {
            extent.max_abs = fabs(value);
            extent.max_dim = i;
        }
    }
    double rest = squares - extent.max_abs * extent.max_abs;
    extent.rest = width > 1 && rest > 0 ? sqrt(rest / (width - 1)) : 0;
    return extent;
}

/* "explosion" where the whole row is that much larger than another, "spike" where one dim is, else NULL. */
static const char *larger(const struct extent *row, const struct extent *other)
{
    if (row->rest > TIMES * other->rest) {
        return "explosion";
    }
    return row->max_abs > TIMES * other->max_abs ? "spike" : NULL;
}

/* Layer after layer, twice in a row; a spike at the same dim. */
static const char *growing(const struct extent *row, const struct extent *before, const struct extent *first)
{
    const char *now = larger(row, before), *then = larger(before, first);
    if (now == NULL || then == NULL) {
        return NULL;
    }
    bool spike = now[0] == 's' || then[0] == 's';
    return !spike ? "explosion" : row->max_dim == before->max_dim ? "spike" : NULL;
}

static const char *judge_row(const struct debug_rows *rows, uint32_t r, uint32_t *dim)
{
    uint32_t width = rows->plan->steps[rows->step].width;
    uint64_t at = (uint64_t)r * width;
    struct extent row = measure(rows->rows[0] + at, width);
    *dim = row.nan || row.inf ? row.odd_dim : row.max_dim;
    const char *what = row.nan ? "nan" : row.inf ? "inf" : NULL;
    for (uint32_t i = 1; what == NULL && i < rows->n_sides; i++) {
        if (rows->rows[i] != NULL) {
            struct extent other = measure(rows->rows[i] + at, width);
            what = other.nan || other.inf ? NULL : larger(&row, &other);
        }
    }
    if (what == NULL && rows->before[0] != NULL && rows->before[1] != NULL) {
        struct extent before = measure(rows->before[0] + at, width), first = measure(rows->before[1] + at, width);
        what = growing(&row, &before, &first);
    }
    return what;
}

void debug_anomaly_inherit(const struct debug_rows *rows)
{
    const struct step *step = &rows->plan->steps[rows->step];
    rows->odd[rows->step] = 0;
    for (uint32_t i = 0; i < OP_MAX_INPUTS; i++) {
        rows->odd[rows->step] |= step->input[i] >= 0 && rows->odd[step->input[i]];
    }
}

void debug_anomaly_print(const struct debug_rows *rows)
{
    const struct step *step = &rows->plan->steps[rows->step];
    const char *first = NULL;
    uint32_t n = 0, token = 0, first_dim = 0;
    bool sizes = step->stage != STAGE_router_indices; /* numbers of experts are no sizes */
    for (uint32_t r = 0; r < rows->n_rows && !rows->odd[rows->step] && sizes; r++) {
        uint32_t dim;
        const char *what = judge_row(rows, r, &dim);
        if (what != NULL && n++ == 0) {
            first = what;
            first_dim = dim;
            token = rows->first + r;
        }
    }
    if (n == 0) {
        return; /* or it follows from what was told */
    }
    rows->odd[rows->step] = 1;
    progress_wipe();
    printf("ANOMALY");
    if (step->layer != LAYER_NONE) {
        printf(" layer=%d", step->layer);
    }
    printf(" stage=%s token=%u what=%s dim=%u rows=%u\n", stage_name(step->stage), token, first, first_dim, n);
}
