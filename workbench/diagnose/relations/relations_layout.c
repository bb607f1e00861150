/* Relations of right values in the wrong place, or mixed with their neighbours: bugs of layout, wiring and workgroups
 * rather than of a formula. All values are compared within their bounds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/relations/relations.h"

/* Whether a recorded value is, within its bound, element k of the expected row e. */
static bool is_expected(const struct evidence *evidence, float actual, uint32_t e, uint64_t k)
{
    return judge(evidence_expected(evidence, e)[k], actual, evidence_bound(evidence, e)[k]) <= 1;
}

bool relation_pair_order(const struct evidence *evidence, char text[512])
{
    int32_t attention = plan_find(evidence->plan, evidence->step->layer, STAGE_attn_out);
    if (attention < 0 || evidence->step->op != OP_matmul) {
        return false;
    }
    uint32_t dim = evidence->plan->steps[attention].params.attention.dim, width = evidence->stage->width;
    if (width % dim != 0 || dim < 4) {
        return false;
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < width; d++) {
            uint32_t within = d % dim, source = d - within + within % 2 * (dim / 2) + within / 2;
            if (!is_expected(evidence, evidence_actual(evidence, i)[d], i, source)) {
                return false;
            }
        }
    }
    snprintf(text, 512,
             "A permutation: in each head of %u dims, dim 2i + j holds what belongs at j * %u + i. All %u failing rows "
             "are in adjacent pairs instead of halves.",
             dim, dim / 2, evidence->n);
    return true;
}

/* The number of heads in a step's row; 0: its parameters do not say. */
static uint32_t heads_of(const struct step *step)
{
    switch (step->op) {
    case OP_rms_norm:
        return step->params.rms_norm.groups;
    case OP_rope:
        return step->params.rope.heads;
    case OP_attention:
        return step->params.attention.heads;
    default:
        return 0;
    }
}

/* Whether failing rows [first, first + n) are one batch that was recorded as [heads, n, dim]. */
static bool is_exchanged_batch(const struct evidence *evidence, uint32_t heads, uint32_t first, uint32_t n)
{
    uint32_t width = evidence->stage->width, dim = width / heads;
    for (uint64_t at = 0; at < (uint64_t)n * width; at++) {
        uint64_t h = at / dim / n, row = at / dim % n;
        if (!is_expected(evidence, evidence_actual(evidence, first)[at], first + (uint32_t)row, h * dim + at % dim)) {
            return false;
        }
    }
    return true;
}

/* The number of rows in the batch that starts at failing row `first`; 0: none fits. Batch sizes are not recorded, so
 * the first size that fits is taken; a wrong one fails in its first rows. */
static uint32_t exchanged_batch(const struct evidence *evidence, uint32_t heads, uint32_t first)
{
    const struct op_row *rows = evidence->rows + first;
    for (uint32_t n = 2; n <= evidence->n - first && rows[n - 1].position - rows[0].position == n - 1; n++) {
        if (is_exchanged_batch(evidence, heads, first, n)) {
            return n;
        }
    }
    return 0;
}

bool relation_heads_exchanged(const struct evidence *evidence, char text[512])
{
    uint32_t heads = heads_of(evidence->step), n_batches = 0, first_rows = 0;
    if (heads < 2) {
        return false;
    }
    for (uint32_t first = 0, n; first < evidence->n; first += n) { /* a batch of one row looks right */
        n = exchanged_batch(evidence, heads, first);
        if (n == 0) {
            return false;
        }
        first_rows = n_batches++ == 0 ? n : first_rows;
    }
    char more[48] = "";
    if (n_batches > 1) {
        snprintf(more, sizeof(more), ", and so are %u more batches", n_batches - 1);
    }
    uint32_t position = evidence->rows[0].position;
    snprintf(text, 512,
             "A permutation: positions %u to %u are recorded as [%u heads, %u positions, %u] instead of [positions, "
             "heads * dim]%s.",
             position, position + first_rows - 1, heads, first_rows, evidence->stage->width / heads, more);
    return n_batches > 0;
}

/* Whether the failing rows are what another step computes from the same inputs. */
static bool computed_by(const struct evidence *evidence, const struct step *other)
{
    uint64_t n = (uint64_t)evidence->n * other->width;
    double *y = xmalloc(n * sizeof(*y)), *bound = xmalloc(n * sizeof(*bound));
    struct op_batch batch = {.step = other,
                             .weights_dtype = evidence->stage->weights_dtype,
                             .n_rows = evidence->n,
                             .rows = evidence->rows,
                             .y = y,
                             .bound = bound};
    op_run(&batch);
    bool same = true;
    for (uint64_t at = 0; at < n && same; at++) {
        const float *row = evidence_actual(evidence, (uint32_t)(at / other->width));
        same = judge(y[at], row[at % other->width], bound[at]) <= 1;
    }
    free(y);
    free(bound);
    return same;
}

bool relation_stages_exchanged(const struct evidence *evidence, char text[512])
{
    const struct step *step = evidence->step;
    for (uint32_t s = 0; s < evidence->plan->n_steps; s++) {
        const struct step *other = &evidence->plan->steps[s];
        if (s == evidence->step_index || other->op != step->op || other->layer != step->layer ||
            other->width != step->width || memcmp(other->input, step->input, sizeof(step->input)) != 0 ||
            !computed_by(evidence, other)) {
            continue;
        }
        char label[64];
        snprintf(text, 512, "The %u failing rows are what %s should be: the two are exchanged, or one is used twice.",
                 evidence->n, step_label(other, label));
        return true;
    }
    return false;
}

bool relation_columns_mixed(const struct evidence *evidence, char text[512])
{
    uint32_t width = evidence->stage->width, n_mixed = 0;
    const struct tensor *bias_tensor = evidence->step->weight[1];
    if (evidence->step->op != OP_matmul || width < 4) {
        return false;
    }
    float *bias = xcalloc(width, sizeof(*bias));
    if (bias_tensor) {
        weights_decode(bias_tensor, 0, 0, width, bias);
    }
    bool mixed = true;
    for (uint32_t i = 0; i < evidence->n && mixed; i++) {
        const float *actual = evidence_actual(evidence, i);
        const double *expected = evidence_expected(evidence, i), *bound = evidence_bound(evidence, i);
        for (uint32_t d = 0; d < width && mixed; d++) {
            uint32_t other = d ^ 1;
            double sum = other < width ? expected[d] + expected[other] - bias[other] : expected[d];
            double allowed = other < width ? 2 * (bound[d] + bound[other]) : bound[d];
            mixed = judge(sum, actual[d], allowed) <= 1;
            n_mixed += other < width;
        }
    }
    free(bias);
    snprintf(
        text, 512,
        "Neighbouring columns are mixed: each value of the %u failing rows is the sum of two dims (0 and 1, 2 and 3, "
        "…).",
        evidence->n);
    return mixed && n_mixed > 0;
}

bool relation_part_scaled(const struct evidence *evidence, char text[512])
{
    uint32_t width = evidence->stage->width, first = width, last = 0;
    double product = 0, square = 0, slack = 0;
    uint64_t n_off = 0, n_right = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        double factor = pass == 0 ? 0 : product / square, grown = fmax(1, fabs(factor));
        for (uint64_t at = 0; at < (uint64_t)evidence->n * width; at++) {
            uint32_t i = (uint32_t)(at / width), d = (uint32_t)(at % width);
            double actual = evidence_actual(evidence, i)[d], expected = evidence_expected(evidence, i)[d];
            double bound = evidence_bound(evidence, i)[d];
            if (judge(expected, actual, bound) <= 1) {
                n_right += pass;
                continue;
            }
            if (pass == 0) {
                product += actual * expected;
                square += expected * expected;
                slack += bound * fabs(expected);
                first = d < first ? d : first;
                last = d > last ? d : last;
                n_off++;
            } else if (!(fabs(actual - factor * expected) <= grown * (bound + slack / square * fabs(expected)))) {
                return false;
            }
        }
    }
    snprintf(text, 512,
             "Only a part is scaled right: in the %u failing rows, dims %u to %u are %.9g times what is expected.",
             evidence->n, first, last, product / square);
    return n_off >= 4 && n_right >= 4 && last > first;
}
