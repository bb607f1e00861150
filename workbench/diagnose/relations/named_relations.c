/* Relations that are the mark of a fault of the table. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/diagnose_internal.h"

/* Whether a relation that was found is the mark of a fault: at a stage that the fault can strike, in the phase where it
 * shows, and as large as it makes it. */
static bool relation_fits(const struct fault *fault, const struct evidence *evidence, const struct diagnosis *relation)
{
    if (!fault->relation || strcmp(fault->relation, relation->fault) != 0 ||
        !fault_applies(fault, evidence->plan, evidence->step_index)) {
        return false;
    }
    for (uint32_t i = 0; i < evidence->n && fault->decode_only; i++) {
        if (!evidence->rows[i].decode) {
            return false;
        }
    }
    if (fault->larger_than > 0) {
        int64_t dim = evidence_only_dim(evidence);
        return fabs(evidence_actual(evidence, 0)[dim]) > fault->larger_than * fabs(evidence_expected(evidence, 0)[dim]);
    }
    if (fault->tamper != TAMPER_SHARED_SLOT) {
        return true;
    }
    struct step edited = fault_mutant(fault, evidence->plan, evidence->step_index, NULL);
    char label[64]; /* of the step whose rows overwrite this one's */
    return strstr(relation->text, step_label(&evidence->plan->steps[edited.tamper.with], label)) != NULL;
}

void relations_name(const struct evidence *evidence, struct diagnosis *found, uint32_t n)
{
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n_faults; k++) {
            if (!relation_fits(&faults[k], evidence, &found[i])) {
                continue;
            }
            char relation[512];
            memcpy(relation, found[i].text, sizeof(relation));
            snprintf(found[i].text, sizeof(found[i].text), "%.250s A known cause: %.240s", relation, faults[k].story);
            snprintf(found[i].fault, sizeof(found[i].fault), "%s", faults[k].name);
            found[i].kind = faults[k].kind;
            found[i].postmortem = faults[k].postmortem;
            break;
        }
    }
}
