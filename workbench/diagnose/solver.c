#include "workbench/diagnose/solver.h"

#include <stdio.h>

static const struct solver {
    solve_function *solve;
    enum fault_kind kind;
    enum op op;
} solvers[] = {
#define SOLVER_ROW(name, kind, op) {solve_##name, KIND_##kind, OP_##op},
    SOLVERS(SOLVER_ROW)
#undef SOLVER_ROW
};

bool solvers_try(const struct solve *solve, struct diagnosis *found)
{
    for (size_t i = 0; i < sizeof(solvers) / sizeof(*solvers); i++) {
        if (solvers[i].op != OP_COUNT && solvers[i].op != solve->evidence->step->op) {
            continue;
        }
        *found = (struct diagnosis){
            .how = HOW_REPRODUCED, .kind = solvers[i].kind, .postmortem = "", .step = solve->evidence->step_index};
        snprintf(found->fault, sizeof(found->fault), "%s", fault_kind_name(solvers[i].kind));
        if (solvers[i].solve(solve, found)) {
            return true;
        }
    }
    return false;
}
