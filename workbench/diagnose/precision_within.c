/* Errors of the size of roundings, at a place that is not known. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/precision.h"

/* What is rounded inside the op beside what is stored. */
enum inside { STORES, READ_VALUES, SUMS, INSIDE_COUNT };

/* Inputs that were rounded when they were read: how far they are off. The caller frees what it returns. */
static double *round_inputs(const struct evidence *evidence, struct op_row *rows, double unit)
{
    uint64_t n = 0, at = 0;
    for (unsigned k = 0; k < OP_MAX_INPUTS && evidence->step->input[k] >= 0; k++) {
        n += evidence->plan->steps[evidence->step->input[k]].width;
    }
    double *errors = xcalloc(n * evidence->n + 1, sizeof(*errors));
    for (unsigned k = 0; k < OP_MAX_INPUTS && evidence->step->input[k] >= 0; k++) {
        const struct step *from = &evidence->plan->steps[evidence->step->input[k]];
        for (uint32_t i = 0; i < evidence->n; i++, at += from->width) {
            for (uint32_t d = 0; d < from->width; d++) {
                errors[at + d] = unit * fabs(rows[i].in[k][d]);
            }
            rows[i].error[k] = errors + at;
        }
    }
    return errors;
}

static bool applies(const struct step *step, enum inside inside)
{
    bool product = step->op == OP_matmul || step->op == OP_expert_matmul || step->op == OP_expert_sum;
    bool values = step->op == OP_glu || step->op == OP_add || step->op == OP_rms_norm || step->op == OP_softcap ||
                  step->op == OP_swiglu;
    return inside == STORES || (inside == READ_VALUES ? values : product);
}

/* Whether all failing rows lie within the bound of arithmetic with this unit roundoff, and their errors are of its
 * size: not much smaller, and small beside the values. */
static bool lies_within(const struct evidence *evidence, double unit, enum inside inside)
{
    uint64_t n = (uint64_t)evidence->n * evidence->stage->width;
    struct op_row *rows = xcalloc(evidence->n, sizeof(*rows));
    struct arith ariths[2];
    double *y = xmalloc(n * sizeof(*y)), *bound = xmalloc(n * sizeof(*bound)), error = 0, size = 0, largest = 0;
    for (uint32_t i = 0; i < evidence->n; i++) {
        struct arith *arith = &ariths[evidence->rows[i].decode];
        rows[i] = evidence->rows[i];
        *arith = *rows[i].arith;
        arith->u_storage = fmax(arith->u_storage, unit);
        arith->u_sum = inside == SUMS ? fmax(arith->u_sum, unit) : arith->u_sum;
        rows[i].arith = arith;
    }
    double *errors = inside == READ_VALUES ? round_inputs(evidence, rows, unit) : NULL;
    op_run(&(struct op_batch){.step = evidence->step,
                              .weights_dtype = evidence->stage->weights_dtype,
                              .n_rows = evidence->n,
                              .rows = rows,
                              .y = y,
                              .bound = bound});
    bool within = true;
    for (uint64_t at = 0; at < n && within; at++) {
        double actual = evidence_actual(evidence, (uint32_t)(at / evidence->stage->width))[at % evidence->stage->width];
        within = judge(y[at], actual, bound[at]) <= 1;
        error += (actual - y[at]) * (actual - y[at]);
        size += y[at] * y[at];
        largest += bound[at] * bound[at];
    }
    free(errors);
    free(y);
    free(bound);
    free(rows);
    double relative = sqrt(error / size);
    return within && relative > unit / 16 && relative < (inside == SUMS ? 8 : 4) * unit &&
           (inside == SUMS || largest < size / 4);
}

uint32_t precision_within(const struct evidence *evidence, struct diagnosis *found, uint32_t max)
{
    static const struct {
        const char *name, *type;
        double unit;
    } types[] = {{"inside-f16", "f16", 0x1p-11}, {"inside-bf16", "bf16", 0x1p-8}};
    if (max == 0 || stage_is_integer(evidence->step->stage)) {
        return 0;
    }
    for (unsigned t = 0; t < 2 * INSIDE_COUNT; t++) {
        enum inside inside = t / 2;
        if (!applies(evidence->step, inside) || !lies_within(evidence, types[t % 2].unit, inside)) {
            continue;
        }
        *found = (struct diagnosis){.how = HOW_CONSISTENT, .kind = KIND_PRECISION, .postmortem = ""};
        snprintf(found->fault, sizeof(found->fault), "%s", types[t % 2].name);
        snprintf(
            found->text, sizeof(found->text),
            "Precision, perhaps not a bug: all errors of the %u failing rows are as large as roundings to %s inside "
            "the op make them, and no larger. Declare storage_dtype or operand_dtype, or compare with a run in "
            "f32.",
            evidence->n, types[t % 2].type);
        return 1;
    }
    return 0;
}
