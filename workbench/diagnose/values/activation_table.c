/* An activation that is looked up in a table of 16-bit floats, as ggml's GELU on a CPU. */
#include <stdio.h>

#include "workbench/diagnose/precision.h"
#include "workbench/diagnose/proof.h"

uint32_t precision_of_activation(const struct solve *solve, struct diagnosis *found, uint32_t max)
{
    static const struct {
        enum rounding_type type;
        const char *name, *attribute;
    } tables[] = {{ROUNDING_F16, "activation-f16", "float16"}, {ROUNDING_BF16, "activation-bf16", "bfloat16"}};
    const struct evidence *evidence = solve->evidence;
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables) && max > 0 && evidence->step->op == OP_glu; i++) {
        struct proof proof;
        const struct roundings looked_up = {.activation = (uint8_t)tables[i].type};
        const struct roundings both = roundings_join(&evidence->rows[0].arith->roundings, &looked_up);
        if (!proof_of_roundings(solve, &both, &proof)) {
            continue;
        }
        *found = (struct diagnosis){.how = HOW_REPRODUCED, .kind = KIND_PRECISION, .postmortem = ""};
        snprintf(found->fault, sizeof(found->fault), "%s", tables[i].name);
        proof_tell(
            solve, &proof, found,
            "Precision, not a bug: the activation is looked up in a table of %s, by an argument in %s, which the "
            "trace does not declare. Declare activation_dtype=%s.",
            tables[i].attribute, tables[i].attribute, tables[i].attribute);
        return 1;
    }
    return 0;
}
