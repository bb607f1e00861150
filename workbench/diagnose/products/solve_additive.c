/* Additive: the same vector is added to every failing row. It is looked for among the model's biases: one that is added
 * once more or not at all, another layer's, one in another order, part of one. Whatever the op is, an added vector
 * leaves the rest of its output as it should be, so it can be read off: in dim d it lies between the smallest and the
 * largest of recorded - expected, each give or take its bound. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/proof.h"

struct added {
    const struct solve *solve;
    uint32_t width;
    double *low, *high; /* [width] between which the added vector lies */
    double *own;        /* [width] the step's own bias; zeros: it has none */
    double *tried;      /* [width] */
};

/* How far recorded - expected may be from the added vector: the sum is stored once more. */
static double slack_of(const struct evidence *evidence, uint32_t i, uint32_t d)
{
    double stored = fabs(evidence_actual(evidence, i)[d]) + fabs(evidence_expected(evidence, i)[d]);
    return evidence_bound(evidence, i)[d] + 2 * trace_stage_coarsest(evidence->stage) * stored;
}

/* Reads the vector off. false: no one vector is added to all failing rows. */
static bool find_vector(struct added *added)
{
    const struct evidence *evidence = added->solve->evidence;
    for (uint32_t d = 0; d < added->width; d++) {
        double low = -INFINITY, high = INFINITY;
        for (uint32_t i = 0; i < evidence->n; i++) {
            double error = evidence_actual(evidence, i)[d] - evidence_expected(evidence, i)[d];
            low = fmax(low, error - slack_of(evidence, i, d));
            high = fmin(high, error + slack_of(evidence, i, d));
            if (!isfinite(error)) {
                return false;
            }
        }
        if (low > high) {
            return false;
        }
        added->low[d] = low;
        added->high[d] = high;
    }
    return true;
}

/* Whether the failing rows are so different from each other that a vector common to all says something, and every right
 * row lies where the bug may have spared it. */
static bool rows_differ(const struct solve *solve)
{
    const struct evidence *evidence = solve->evidence;
    double apart = 0, error = 0;
    for (uint32_t i = 1; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double expected = evidence_expected(evidence, i)[d];
            double differs = fabs(expected - evidence_expected(evidence, 0)[d]) - 4 * slack_of(evidence, i, d);
            double wrong = evidence_actual(evidence, i)[d] - expected;
            apart += differs > 0 ? differs * differs : 0;
            error += wrong * wrong;
        }
    }
    for (uint32_t i = solve->trial->n_failing; i < solve->trial->rows.n; i++) {
        if (!trial_row_is_spared(solve->trial, i)) {
            return false;
        }
    }
    return apart > 1e-4 * error && apart > 0;
}

static bool added_open(struct added *added, const struct solve *solve)
{
    const struct step *step = solve->evidence->step;
    uint32_t width = solve->evidence->stage->width;
    *added = (struct added){.solve = solve,
                            .width = width,
                            .low = xcalloc(width, sizeof(double)),
                            .high = xcalloc(width, sizeof(double)),
                            .own = xcalloc(width, sizeof(double)),
                            .tried = xcalloc(width, sizeof(double))};
    if (step->op == OP_matmul && step->weight[1]) {
        float *bias = xcalloc(width, sizeof(*bias));
        weights_decode(step->weight[1], 0, 0, width, bias);
        for (uint32_t d = 0; d < width; d++) {
            added->own[d] = bias[d];
        }
        free(bias);
    }
    return width > 1 && !stage_is_integer(step->stage) && !proof_is_blank(solve) && find_vector(added) &&
           rows_differ(solve);
}

static void added_close(struct added *added)
{
    free(added->low);
    free(added->high);
    free(added->own);
    free(added->tried);
}

/* Whether the vector tried[] is the added one. *worst: the worst ratio with it. */
static bool is_added(const struct added *added, struct proof *proof)
{
    const struct evidence *evidence = added->solve->evidence;
    struct contrast contrast = {0};
    *proof = (struct proof){.spares_some = added->solve->trial->n_failing < added->solve->trial->rows.n};
    for (uint32_t d = 0; d < added->width; d++) {
        if (!(added->tried[d] >= added->low[d] && added->tried[d] <= added->high[d])) {
            return false;
        }
        for (uint32_t i = 0; i < evidence->n; i++) {
            double right = evidence_expected(evidence, i)[d], slack = slack_of(evidence, i, d);
            struct contrast_value value = {evidence_actual(evidence, i)[d], right, evidence_bound(evidence, i)[d],
                                           right + added->tried[d], slack};
            contrast_add(&contrast, &value);
            if (slack > 0) {
                proof->worst = fmax(proof->worst, fabs(value.recorded - value.y) / slack);
            }
        }
    }
    return contrast_tells(&contrast);
}

/* The bias counted another number of times than once. */
static bool is_own_again(struct added *added, struct diagnosis *found)
{
    double product = 0, square = 0;
    for (uint32_t d = 0; d < added->width; d++) {
        product += added->own[d] * (added->low[d] + added->high[d]) / 2;
        square += added->own[d] * added->own[d];
    }
    double times = 1 + product / square, whole = round(times);
    times = fabs(times - whole) < 1e-3 ? whole : times;
    struct proof proof;
    for (uint32_t d = 0; d < added->width; d++) {
        added->tried[d] = (times - 1) * added->own[d];
    }
    if (!(square > 0) || !is_added(added, &proof)) {
        return false;
    }
    found->solved = solved_number("times that the bias is added", 1, times);
    proof_tell(added->solve, &proof, found, "The bias %.80s is added %.6g times instead of once.",
               added->solve->evidence->step->weight[1]->name, times);
    return true;
}

/* A tensor of the plan with as many elements as the output. */
static bool is_vector(const struct tensor *tensor, uint32_t width)
{
    return tensor && tensor_rows(tensor) == 1 && tensor_row_elems(tensor) == width;
}

/* Another vector of the model, added or subtracted, beside the own bias or in place of it. */
static bool is_other(struct added *added, const struct tensor *other, const struct step *of, struct diagnosis *found)
{
    float *values = xcalloc(added->width, sizeof(*values));
    weights_decode(other, 0, 0, added->width, values);
    bool is = false;
    for (int way = 0; way < 3 && !is; way++) {
        static const char *const what[] = {"is added in place of the step's own bias", "is added", "is subtracted"};
        struct proof proof;
        char label[64];
        for (uint32_t d = 0; d < added->width; d++) {
            added->tried[d] = way == 0 ? values[d] - added->own[d] : way == 1 ? values[d] : -values[d];
        }
        is = is_added(added, &proof);
        if (is) {
            proof_tell(added->solve, &proof, found, "A vector that is not this step's, %.80s of %s, %s.", other->name,
                       step_label(of, label), what[way]);
        }
    }
    free(values);
    return is;
}

static bool is_any_other(struct added *added, struct diagnosis *found)
{
    const struct plan *plan = added->solve->evidence->plan;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        for (unsigned w = 0; w < OP_MAX_WEIGHTS; w++) {
            const struct tensor *tensor = plan->steps[s].weight[w];
            if (tensor != added->solve->evidence->step->weight[w] && is_vector(tensor, added->width) &&
                is_other(added, tensor, &plan->steps[s], found)) {
                return true;
            }
        }
    }
    return false;
}

/* The bias is left out, or added twice, in some dims only. */
static bool is_part_of_own(struct added *added, struct diagnosis *found)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        uint32_t first = added->width, last = 0, n = 0;
        struct proof proof;
        for (uint32_t d = 0; d < added->width; d++) {
            bool none = added->low[d] <= 0 && added->high[d] >= 0;
            added->tried[d] = none ? 0 : sign * added->own[d];
            if (!none) {
                first = d < first ? d : first;
                last = d;
                n++;
            }
        }
        if (n == 0 || !is_added(added, &proof)) {
            continue;
        }
        proof_tell(added->solve, &proof, found, "The bias is %s in part: in %u dims from %u to %u.",
                   sign < 0 ? "left out" : "added twice", n, first, last);
        return true;
    }
    return false;
}

struct place {
    double value;
    uint32_t dim;
};

static int by_value(const void *left, const void *right)
{
    double a = ((const struct place *)left)->value, b = ((const struct place *)right)->value;
    return (a > b) - (a < b);
}

/* The bias in another order: sorted, what was added in its place has its values. */
static bool is_own_permuted(struct added *added, struct diagnosis *found)
{
    uint32_t width = added->width, n_moved = 0;
    struct place *was = xcalloc(width, sizeof(*was)), *own = xcalloc(width, sizeof(*own));
    for (uint32_t d = 0; d < width; d++) {
        own[d] = (struct place){added->own[d], d};
        was[d] = (struct place){added->own[d] + (added->low[d] + added->high[d]) / 2, d};
    }
    qsort(own, width, sizeof(*own), by_value);
    qsort(was, width, sizeof(*was), by_value);
    for (uint32_t k = 0; k < width; k++) {
        added->tried[was[k].dim] = own[k].value - added->own[was[k].dim];
        n_moved += added->tried[was[k].dim] != 0;
    }
    struct proof proof;
    bool is = n_moved >= 4 && is_added(added, &proof);
    if (is) {
        proof_tell(added->solve, &proof, found,
                   "The bias is added in another order: a permutation of its values, in %u of %u dims.", n_moved,
                   width);
    }
    free(was);
    free(own);
    return is;
}

bool solve_additive(const struct solve *solve, struct diagnosis *found)
{
    struct added added;
    bool is = added_open(&added, solve) && (is_own_again(&added, found) || is_any_other(&added, found) ||
                                            is_part_of_own(&added, found) || is_own_permuted(&added, found));
    added_close(&added);
    return is;
}

bool solve_constant_vector(const struct solve *solve, struct diagnosis *found)
{
    struct added added;
    struct proof proof;
    bool is = added_open(&added, solve) && solve->evidence->n >= 3;
    double low = INFINITY, high = -INFINITY, least = -INFINITY, most = INFINITY;
    for (uint32_t d = 0; d < added.width && is; d++) {
        least = fmax(least, added.low[d]);
        most = fmin(most, added.high[d]);
        added.tried[d] = (added.low[d] + added.high[d]) / 2;
        low = fmin(low, added.tried[d]);
        high = fmax(high, added.tried[d]);
    }
    is = is && least > most && is_added(&added, &proof); /* one number for all dims: a relation says it */
    if (is) {
        found->how = HOW_RELATION;
        proof_tell(solve, &proof, found,
                   "The same vector is added to each failing row, with values from %.6g to %.6g; it is none of this "
                   "model's biases.",
                   low, high);
    }
    added_close(&added);
    return is;
}
