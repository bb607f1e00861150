#include "workbench/diagnose/solver.h"

#include <stdio.h>
#include <string.h>

static const struct solver {
    const char *name;
    solve_function *solve;
    enum fault_kind kind;
    enum op op;
} solvers[] = {
#define SOLVER_ROW(name, kind, op) {#name, solve_##name, KIND_##kind, OP_##op},
    SOLVERS(SOLVER_ROW)
#undef SOLVER_ROW
};

static bool ask(const struct solver *solver, const struct solve *solve, struct diagnosis *found)
{
    if (solver->op != OP_COUNT && solver->op != solve->evidence->step->op) {
        return false;
    }
    *found = (struct diagnosis){
        .how = HOW_REPRODUCED, .kind = solver->kind, .postmortem = "", .step = solve->evidence->step_index};
    snprintf(found->fault, sizeof(found->fault), "%s", fault_kind_name(solver->kind));
    bool solved = solver->solve(solve, found);
    if (solved && found->kind != solver->kind && strcmp(found->fault, fault_kind_name(solver->kind)) == 0) {
        snprintf(found->fault, sizeof(found->fault), "%s", fault_kind_name(found->kind));
    }
    return solved;
}

bool solvers_try(const struct solve *solve, struct diagnosis *found)
{
    for (size_t i = 0; i < sizeof(solvers) / sizeof(*solvers); i++) {
        if (ask(&solvers[i], solve, found)) {
            return true;
        }
    }
    return false;
}

uint32_t solvers_ask(const struct solve *solve, struct solver_claim claims[SOLVERS_MOST])
{
    uint32_t n = 0;
    struct diagnosis found;
    for (size_t i = 0; i < sizeof(solvers) / sizeof(*solvers) && n < SOLVERS_MOST; i++) {
        if (ask(&solvers[i], solve, &found)) {
            claims[n++] = (struct solver_claim){solvers[i].name, found.kind};
        }
    }
    return n;
}

const char *solver_at(uint32_t index, enum fault_kind *kind, enum op *op)
{
    if (index >= sizeof(solvers) / sizeof(*solvers)) {
        return NULL;
    }
    *kind = solvers[index].kind;
    *op = solvers[index].op;
    return solvers[index].name;
}
