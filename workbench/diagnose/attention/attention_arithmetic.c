/* An attention that rounds what its trace does not declare: the closed list of the audit (hypotheses.h), tried where
 * the audit infers nothing: with --strict, or in one layer alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/arithmetic.h"
#include "workbench/audit/hypotheses.h"
#include "workbench/diagnose/precision.h"
#include "workbench/diagnose/proof.h"

/* Whether the first failing row comes out as recorded: enough to refuse nearly every line of a long list. */
static bool may_explain(const struct evidence *evidence, const struct roundings *roundings)
{
    uint32_t width = evidence->stage->width;
    double *y = xmalloc((uint64_t)width * sizeof(*y)), *bound = xmalloc((uint64_t)width * sizeof(*bound));
    struct op_row row = evidence->rows[0];
    struct arith arith = *row.arith;
    bool same = true;
    arith.roundings = *roundings;
    row.arith = &arith;
    op_run(&(struct op_batch){.step = evidence->step,
                              .weights_dtype = evidence->stage->weights_dtype,
                              .n_rows = 1,
                              .rows = &row,
                              .y = y,
                              .bound = bound});
    for (uint32_t d = 0; d < width && same; d++) {
        same = !(judge(y[d], evidence_actual(evidence, 0)[d], bound[d]) > 1);
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

uint32_t precision_of_attention(const struct solve *solve, struct diagnosis *found, uint32_t max)
{
    struct roundings list[HYPOTHESES_MOST];
    const struct evidence *evidence = solve->evidence;
    const struct step *step = evidence->step;
    if (max == 0 || step->op != OP_attention || evidence->n < 2) {
        return 0;
    }
    uint32_t n = hypotheses_list(step, evidence->trace->n_positions, ROUNDING_NONE, list);
    for (uint32_t i = 0; i < n && !stop_asked(); i++) {
        struct proof proof;
        const struct roundings both = roundings_join(&evidence->rows[0].arith->roundings, &list[i]);
        if (!may_explain(evidence, &both) || !proof_of_roundings(solve, &both, &proof)) {
            continue;
        }
        char attributes[160] = "";
        const struct arithmetic_class class = {.op = step->op, .weights = DTYPE_COUNT, .roundings = list[i]};
        arithmetic_attributes(&class, add_attribute, attributes);
        *found = (struct diagnosis){.how = HOW_REPRODUCED, .kind = KIND_PRECISION, .postmortem = ""};
        snprintf(found->fault, sizeof(found->fault), "undeclared-roundings");
        proof_tell(solve, &proof, found,
                   "Precision, no bug: the attention rounds what the trace does not declare. Declare %s.", attributes);
        return 1;
    }
    return 0;
}
