/* Relations that compare bits: rows that were never written, and rows of another stage or position. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "workbench/diagnose/relations/relations.h"

static bool same_bits(const float *a, const float *b, uint64_t n)
{
    return memcmp(a, b, n * sizeof(*a)) == 0;
}

/* Whether n values are all one value, bit for bit. */
static bool all_same(const float *values, uint64_t n)
{
    return n < 2 || same_bits(values, values + 1, n - 1);
}

bool relation_zeros(const struct evidence *evidence, char text[512])
{
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            if (evidence_actual(evidence, i)[d] != 0) {
                return false;
            }
        }
    }
    snprintf(text, 512, "The %u failing rows are all zeros: nothing was written, or nothing reached the op.",
             evidence->n);
    return true;
}

bool relation_constant(const struct evidence *evidence, char text[512])
{
    uint32_t width = evidence->stage->width;
    const float *first = evidence_actual(evidence, 0);
    if (width < 2) {
        return false;
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        if (!all_same(evidence_actual(evidence, i), width) || !same_bits(evidence_actual(evidence, i), first, 1)) {
            return false;
        }
    }
    snprintf(text, 512, "Every value of the %u failing rows is %.9g: the buffer was never written.", evidence->n,
             first[0]);
    return *first != 0 && isfinite(*first);
}

/* Whether the first failing row is one value throughout, zero or NaN, say. Equality with other such rows tells nothing.
 */
static bool is_blank(const struct evidence *evidence)
{
    return evidence->stage->width > 1 && all_same(evidence_actual(evidence, 0), evidence->stage->width);
}

/* Whether each failing row is, bit for bit, another stage's row of the same position. */
static bool equals_stage(const struct evidence *evidence, int32_t layer, enum stage stage)
{
    const struct trace_stage *other = trace_find(evidence->trace, layer, stage);
    if (!other || other == evidence->stage || other->width != evidence->stage->width) {
        return false;
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        const float *row = trace_row(other, evidence->rows[i].position);
        if (!row || !same_bits(evidence_actual(evidence, i), row, other->width)) {
            return false;
        }
    }
    return true;
}

bool relation_copied_input(const struct evidence *evidence, char text[512])
{
    if (is_blank(evidence)) {
        return false;
    }
    for (unsigned i = 0; i < OP_MAX_INPUTS && evidence->step->input[i] >= 0; i++) {
        const struct step *from = &evidence->plan->steps[evidence->step->input[i]];
        if (!equals_stage(evidence, from->layer, from->stage)) {
            continue;
        }
        char label[64];
        snprintf(text, 512, "The %u failing rows are a copy of the input %s: the op changed nothing.", evidence->n,
                 step_label(from, label));
        return true;
    }
    return false;
}

/* Whether each failing row is what a stage of another width left in a buffer that both use. A prompt's rows lie there
 * one after the other; a decoded row lies at its start. */
static bool shares_buffer(const struct evidence *evidence, const struct step *step)
{
    const struct trace_stage *other = trace_find(evidence->trace, step->layer, step->stage);
    const struct trace *trace = evidence->trace;
    uint64_t n_prompt = 0, width = evidence->stage->width;
    if (!other || other->width == width || other->n_recorded < trace->n_positions) {
        return false;
    }
    while (n_prompt < trace->n_positions && trace->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        uint64_t position = evidence->rows[i].position, n = width;
        bool prompt = position < n_prompt;
        const float *buffer = other->rows + (prompt ? position * width : position * other->width);
        uint64_t end = prompt ? n_prompt * other->width : other->width, start = prompt ? position * width : 0;
        n = start >= end ? 0 : start + n > end ? end - start : n;
        if ((n == 0 && i == 0) || !same_bits(evidence_actual(evidence, i), buffer, n)) {
            return false;
        }
    }
    return evidence->n > 1;
}

bool relation_other_stage(const struct evidence *evidence, char text[512])
{
    int32_t layer = evidence->step->layer;
    for (uint32_t s = 0; s < evidence->plan->n_steps && !is_blank(evidence); s++) {
        const struct step *other = &evidence->plan->steps[s];
        bool near = other->layer == LAYER_NONE || layer == LAYER_NONE ||
                    (other->layer >= layer - 1 && other->layer <= layer + 1);
        if (!near || (!equals_stage(evidence, other->layer, other->stage) && !shares_buffer(evidence, other))) {
            continue;
        }
        if (other->input[0] == (int32_t)evidence->step_index || other->input[1] == (int32_t)evidence->step_index) {
            continue; /* it reads this step: the rows went the other way */
        }
        char label[64];
        snprintf(text, 512, "The %u failing rows are, bit for bit, those of %s: a buffer was shared or mixed up.",
                 evidence->n, step_label(other, label));
        return true;
    }
    return false;
}

/* Another position with the same recorded row of this stage, or -1. */
static int64_t twin_position(const struct evidence *evidence, uint32_t i)
{
    const float *row = evidence_actual(evidence, i);
    for (uint32_t p = 0; p < evidence->trace->n_positions; p++) {
        const float *other = trace_row(evidence->stage, p);
        if (p != evidence->rows[i].position && other && same_bits(row, other, evidence->stage->width)) {
            return p;
        }
    }
    return -1;
}

bool relation_other_row(const struct evidence *evidence, char text[512])
{
    uint32_t n_later = 0;
    if (is_blank(evidence)) {
        return false;
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        int64_t twin = twin_position(evidence, i);
        if (twin < 0) {
            return false;
        }
        n_later += twin > evidence->rows[i].position;
    }
    int64_t first = twin_position(evidence, 0);
    snprintf(text, 512,
             "Each of the %u failing rows is another position's row (%u of them a later one's): position %u "
             "has that of position %lld.",
             evidence->n, n_later, evidence->rows[0].position, (long long)first);
    return true;
}

/* The lowest dim that fails in a row. */
static uint32_t first_failing_dim(const struct evidence *evidence, uint32_t i)
{
    uint32_t d = 0;
    while (d < evidence->stage->width && !(judge(evidence_expected(evidence, i)[d], evidence_actual(evidence, i)[d],
                                                 evidence_bound(evidence, i)[d]) > 1)) {
        d++;
    }
    return d;
}

/* What a row holds from dim `start` on, if it is what lay in the buffer before the op; else NULL. */
static const char *tail_of(const struct evidence *evidence, uint32_t i, uint32_t start)
{
    uint32_t n = evidence->stage->width - start;
    const float *tail = evidence_actual(evidence, i) + start;
    uint32_t position = evidence->rows[i].position;
    const float *before = position > 0 ? trace_row(evidence->stage, position - 1) : NULL;
    if (all_same(tail, n)) {
        return *tail == 0 ? "zeros" : isnan(*tail) ? "NaN" : "one value";
    }
    if (before && same_bits(tail, before + start, n)) {
        return "those of the row before";
    }
    for (uint32_t d = 0; d < n; d++) {
        if (!isnan(tail[d])) {
            return NULL;
        }
    }
    return "NaN";
}

bool relation_tail_unwritten(const struct evidence *evidence, char text[512])
{
    uint32_t width = evidence->stage->width, lowest = width, highest = 0;
    for (uint32_t i = 0; i < evidence->n; i++) {
        uint32_t start = first_failing_dim(evidence, i);
        if (start == 0 || start + 2 > width || !tail_of(evidence, i, start)) {
            return false;
        }
        lowest = start < lowest ? start : lowest;
        highest = start > highest ? start : highest;
    }
    char range[48] = "";
    if (highest > lowest) {
        snprintf(range, sizeof(range), " to %u (it varies by row)", highest);
    }
    snprintf(text, 512,
             "The op was not done from dim %u%s on, of %u. Up to there all is right; the rest of the %u failing rows "
             "is %s.",
             lowest, range, width, evidence->n, tail_of(evidence, 0, first_failing_dim(evidence, 0)));
    return true;
}

/* Whether dims [first, last) of a failing row are zeros, NaN, or what the row before or another layer's row has there.
 */
static bool part_is_old(const struct evidence *evidence, uint32_t i, uint32_t first, uint32_t last)
{
    uint32_t n = last - first, position = evidence->rows[i].position;
    const float *part = evidence_actual(evidence, i) + first;
    bool blank = true;
    for (uint32_t d = 0; d < n; d++) {
        blank &= part[d] == 0 || isnan(part[d]);
    }
    const float *before = position > 0 ? trace_row(evidence->stage, position - 1) : NULL;
    if (blank || (before && same_bits(part, before + first, n))) {
        return true;
    }
    const struct trace_stage *other =
        evidence->step->layer > 0 ? trace_find(evidence->trace, evidence->step->layer - 1, evidence->step->stage)
                                  : NULL;
    const float *row = other && other->width == evidence->stage->width ? trace_row(other, position) : NULL;
    return row && same_bits(part, row + first, n);
}

bool relation_part_unwritten(const struct evidence *evidence, char text[512])
{
    uint32_t width = evidence->stage->width, first = width, last = 0;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < width; d++) {
            if (judge(evidence_expected(evidence, i)[d], evidence_actual(evidence, i)[d],
                      evidence_bound(evidence, i)[d]) > 1) {
                first = d < first ? d : first;
                last = d + 1 > last ? d + 1 : last;
            }
        }
    }
    if (last < first + 2 || last - first == width) {
        return false;
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        if (!part_is_old(evidence, i, first, last)) {
            return false;
        }
    }
    snprintf(text, 512,
             "Dims %u to %u, of %u, were not written: in each of the %u failing rows they are zeros, NaN, or what "
             "another row left there.",
             first, last - 1, width, evidence->n);
    return true;
}
