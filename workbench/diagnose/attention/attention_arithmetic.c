/* An attention that rounds what its trace does not declare: the closed list of the audit (hypotheses.h), tried where
 * the audit infers nothing: with --strict, or in one layer alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/arithmetic.h"
#include "workbench/audit/hypotheses.h"
#include "workbench/diagnose/precision.h"

/* Whether all failing rows come out as recorded. *worst: the largest ratio. */
static bool comes_out(const struct evidence *evidence, const struct roundings *roundings, double *worst)
{
    uint32_t width = evidence->stage->width;
    double *y = xmalloc((uint64_t)width * sizeof(*y)), *bound = xmalloc((uint64_t)width * sizeof(*bound));
    bool same = true;
    *worst = 0;
    for (uint32_t i = 0; i < evidence->n && same; i++) {
        struct op_row row = evidence->rows[i];
        struct arith arith = *row.arith;
        arith.roundings = roundings_join(&arith.roundings, roundings);
        row.arith = &arith;
        op_run(&(struct op_batch){.step = evidence->step,
                                  .weights_dtype = evidence->stage->weights_dtype,
                                  .n_rows = 1,
                                  .rows = &row,
                                  .y = y,
                                  .bound = bound});
        for (uint32_t d = 0; d < width && same; d++) {
            double ratio = judge(y[d], evidence_actual(evidence, i)[d], bound[d]);
            same = !(ratio > 1);
            *worst = ratio > *worst ? ratio : *worst;
        }
    }
    free(bound);
    free(y);
    return same;
}

static void add_attribute(void *context, const char *attribute, const char *value)
{
    char *text = context;
    size_t length = strlen(text);
    snprintf(text + length, 160 - length, "%s%s=%s", length > 0 ? ", " : "", attribute, value);
}

uint32_t precision_of_attention(const struct evidence *evidence, struct diagnosis *found, uint32_t max)
{
    struct roundings list[HYPOTHESES_MOST];
    const struct step *step = evidence->step;
    if (max == 0 || step->op != OP_attention || evidence->n < 2) {
        return 0;
    }
    uint32_t n = hypotheses_list(step, evidence->trace->n_positions, ROUNDING_NONE, list);
    for (uint32_t i = 0; i < n && !stop_asked(); i++) {
        double worst;
        if (!comes_out(evidence, &list[i], &worst)) {
            continue;
        }
        char attributes[160] = "";
        const struct arithmetic_class class = {.op = step->op, .weights = DTYPE_COUNT, .roundings = list[i]};
        arithmetic_attributes(&class, add_attribute, attributes);
        *found = (struct diagnosis){.how = HOW_REPRODUCED, .kind = KIND_PRECISION, .postmortem = ""};
        snprintf(found->fault, sizeof(found->fault), "undeclared-roundings");
        snprintf(found->text, sizeof(found->text),
                 "Precision, no bug: the attention rounds what the trace does not declare. With %s all %u failing rows "
                 "come out as recorded (worst ratio %.3f). Declare that.",
                 attributes, evidence->n, worst);
        return 1;
    }
    return 0;
}
