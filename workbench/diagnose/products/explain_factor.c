/* A product that fails in no row: the factor of its outputs on what its inputs give, over all rows. */
#include <stdio.h>

#include "workbench/audit/weights/factor.h"
#include "workbench/diagnose/diagnose_internal.h"

uint32_t factor_explain(const struct span_failure *failure, struct diagnosis *found)
{
    struct rows rows;
    struct factor factor;
    rows_gather(&rows, failure->plan, failure->step, failure->trace, NULL);
    bool off = factor_measure(&factor, failure->plan, failure->step, failure->trace, &rows) && factor_is_off(&factor);
    rows_free(&rows);
    if (!off) {
        return 0;
    }
    *found = (struct diagnosis){
        .how = HOW_RELATION, .kind = KIND_CONSTANT_MULTIPLE, .postmortem = "", .step = failure->step};
    snprintf(found->fault, sizeof(found->fault), "constant-multiple");
    snprintf(found->text, sizeof(found->text),
             "The product is %.6g times what is expected, by least squares over %u rows; roundings for the file alone "
             "move this factor by %.2g at most. No single row shows it.",
             factor.factor, factor.n, factor.off);
    return 1;
}
