/* Errors of the size of roundings, at a place that is not known. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/precision.h"

/* Whether all failing rows lie within the bound of arithmetic with this unit roundoff, and their errors are of its
 * size: not much smaller, and small beside the values. */
static bool lies_within(const struct evidence *evidence, double unit)
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
        rows[i].arith = arith;
    }
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
    free(y);
    free(bound);
    free(rows);
    double relative = sqrt(error / size);
    return within && relative > unit / 16 && relative < 4 * unit && largest < size / 4;
}

uint32_t precision_within(const struct evidence *evidence, struct diagnosis *found, uint32_t max)
{
    static const struct {
        const char *name, *type;
        double unit;
    } types[] = {{"inside-f16", "f16", 0x1p-11}, {"inside-bf16", "bf16", 0x1p-8}};
    for (unsigned t = 0; t < 2 && max > 0 && !stage_is_integer(evidence->step->stage); t++) {
        if (!lies_within(evidence, types[t].unit)) {
            continue;
        }
        *found = (struct diagnosis){.how = HOW_RELATION, .kind = KIND_PRECISION, .postmortem = ""};
        snprintf(found->fault, sizeof(found->fault), "%s", types[t].name);
        snprintf(
            found->text, sizeof(found->text),
            "Precision, perhaps not a bug: all errors of the %u failing rows are as large as roundings to %s inside "
            "the op make them, and no larger. Declare storage_dtype or operand_dtype, or compare with a run in "
            "f32.",
            evidence->n, types[t].type);
        return 1;
    }
    return 0;
}
