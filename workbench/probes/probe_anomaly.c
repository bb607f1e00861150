/* ANOMALY lines: a stage whose numbers alone look wrong. The rules are from doppler's triage table: nonfinite values;
 * "values exploding: maxAbs growing 10x+ per layer"; "single dimension spike: the same dim exploding across all
 * layers". A large value or one jump proves nothing: a healthy model's residual may grow a hundredfold in one layer. So
 * a row is anomalous if it grows tenfold in two successive layers, or is ten times as large as another source's. */
#include <math.h>
#include <stdio.h>

#include "workbench/probes/probe_lines.h"
#include "workbench/session/progress.h"

#define GROWTH 10.0 /* from the triage table */

/* Sizes of a whole row. */
struct extent {
    double max_abs, rest; /* rest: rms of all finite values but the largest */
    uint32_t max_dim, nonfinite_dim;
    bool nan, inf; /* the row has one; the first is at nonfinite_dim */
};

static struct extent measure(const float *row, uint32_t width)
{
    struct extent extent = {.max_abs = -1};
    double squares = 0;
    for (uint32_t i = 0; i < width; i++) {
        double value = row[i];
        if (!isfinite(value)) {
            extent.nonfinite_dim = extent.nan || extent.inf ? extent.nonfinite_dim : i;
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

/* Compares a row with another: "explosion" if all of it is GROWTH times as large, "spike" if one dim is, else NULL. */
static const char *larger(const struct extent *row, const struct extent *other)
{
    if (row->rest > GROWTH * other->rest) {
        return "explosion";
    }
    return row->max_abs > GROWTH * other->max_abs ? "spike" : NULL;
}

/* Growth in two successive layers: from `first` to `before` to `row`. A spike must stay at the same dim. */
static const char *growing(const struct extent *row, const struct extent *before, const struct extent *first)
{
    const char *now = larger(row, before), *then = larger(before, first);
    if (now == NULL || then == NULL) {
        return NULL;
    }
    bool spike = now[0] == 's' || then[0] == 's';
    return !spike ? "explosion" : row->max_dim == before->max_dim ? "spike" : NULL;
}

static const char *judge_row(const struct probe_rows *rows, uint32_t r, uint32_t *dim)
{
    uint32_t width = rows->plan->steps[rows->step].width;
    uint64_t at = (uint64_t)r * width;
    struct extent row = measure(rows->rows[0] + at, width);
    *dim = row.nan || row.inf ? row.nonfinite_dim : row.max_dim;
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

void anomaly_inherit(const struct probe_rows *rows)
{
    const struct step *step = &rows->plan->steps[rows->step];
    rows->anomalous[rows->step] = 0;
    for (uint32_t i = 0; i < OP_MAX_INPUTS; i++) {
        rows->anomalous[rows->step] |= step->input[i] >= 0 && rows->anomalous[step->input[i]];
    }
}

void anomaly_print(const struct probe_rows *rows)
{
    const struct step *step = &rows->plan->steps[rows->step];
    const char *first = NULL; /* what the first anomalous row shows */
    uint32_t n = 0, token = 0, first_dim = 0;
    bool measurable = step->stage != STAGE_router_indices; /* expert numbers are not sizes */
    for (uint32_t r = 0; r < rows->n_rows && !rows->anomalous[rows->step] && measurable; r++) {
        uint32_t dim;
        const char *what = judge_row(rows, r, &dim);
        if (what != NULL && n++ == 0) {
            first = what;
            first_dim = dim;
            token = rows->first + r;
        }
    }
    if (n == 0) {
        return;
    }
    rows->anomalous[rows->step] = 1;
    progress_wipe();
    printf("ANOMALY");
    if (step->layer != LAYER_NONE) {
        printf(" layer=%d", step->layer);
    }
    printf(" stage=%s token=%u what=%s dim=%u rows=%u\n", stage_name(step->stage), token, first, first_dim, n);
}
