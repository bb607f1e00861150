#include "workbench/diagnose/solver.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

void solve_text(const struct solve *solve, double worst, struct diagnosis *found, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found->text, sizeof(found->text), format, arguments);
    va_end(arguments);
    size_t length = strlen(found->text);
    snprintf(found->text + length, sizeof(found->text) - length,
             " Computed so, all %u rows come out as recorded (worst ratio %.3f); the right op fails in %u.",
             solve->trial->rows.n, worst, solve->trial->n_failing);
}
