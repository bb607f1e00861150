/* Rows of a matrix that were taken from another place: another expert's; or rows of a fused matrix (q, k and v; gate
 * and up, one after the other) from a wrong offset on. */
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/diagnose/products/product_samples.h"
#include "workbench/diagnose/proof.h"

#define MOST_PARTS 3

/* Matrices of the same width, one after the other, and where rows are read. */
struct stack {
    const struct tensor *part[MOST_PARTS];
    uint64_t n_parts, n_rows;
    uint64_t own;    /* first row of the step's own matrix */
    uint64_t offset; /* added to the row, modulo n_rows */
};

static void row_of_stack(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    const struct stack *stack = context;
    uint64_t at = (stack->own + row + stack->offset) % stack->n_rows, part = 0;
    while (at >= tensor_rows(stack->part[part])) {
        at -= tensor_rows(stack->part[part++]);
    }
    weights_decode(stack->part[part], at, 0, tensor_row_elems(matrix), w);
}

/* Whether another part takes the place of the step's own as a whole: solve_wiring says so. */
static bool is_other_part(const struct stack *stack, const struct tensor *matrix)
{
    uint64_t start = 0, at = (stack->own + stack->offset) % stack->n_rows;
    bool is = false;
    for (uint64_t part = 0; part < stack->n_parts; part++) {
        is |= start == at && tensor_rows(stack->part[part]) == tensor_rows(matrix);
        start += tensor_rows(stack->part[part]);
    }
    return is;
}

static bool holds(const struct solve *solve, const struct stack *stack, struct proof *proof)
{
    struct arena arena = {0};
    struct step step = *solve->evidence->step;
    const struct product_rows rows = {solve->trial->rows.rows, solve->trial->rows.n};
    bool holds = product_expand(&step, &arena, row_of_stack, stack, &rows);
    const struct candidate candidate = trial_candidate(solve->trial, &step);
    holds = holds && proof_find(solve, &candidate, proof);
    arena_free(&arena);
    return holds;
}

/* The parts of a fused matrix that the step's own may be one of. */
static void find_parts(struct stack *stack, const struct evidence *evidence)
{
    static const enum stage fused[][MOST_PARTS] = {{STAGE_q_proj, STAGE_k_proj, STAGE_v_proj},
                                                   {STAGE_ffn_gate, STAGE_ffn_up, STAGE_COUNT}};
    for (unsigned f = 0; f < 2; f++) {
        bool own = false;
        *stack = (struct stack){0};
        for (unsigned i = 0; i < MOST_PARTS && fused[f][i] != STAGE_COUNT; i++) {
            int32_t s = plan_find(evidence->plan, evidence->step->layer, fused[f][i]);
            const struct step *step = s >= 0 ? &evidence->plan->steps[s] : NULL;
            if (!step || step->op != OP_matmul ||
                tensor_row_elems(step->weight[0]) != tensor_row_elems(evidence->step->weight[0])) {
                continue;
            }
            if (step->stage == evidence->step->stage) {
                own = true;
                stack->own = stack->n_rows;
            }
            stack->part[stack->n_parts++] = step->weight[0];
            stack->n_rows += tensor_rows(step->weight[0]);
        }
        if (own) {
            return;
        }
    }
    *stack = (struct stack){.part = {evidence->step->weight[0]}, .n_parts = 1};
    stack->n_rows = tensor_rows(evidence->step->weight[0]);
}

static void describe(const struct solve *solve, const struct stack *stack, uint64_t unit, const struct proof *proof,
                     struct diagnosis *found)
{
    uint64_t n = stack->n_rows / unit, by = stack->offset / unit;
    const char *sign = 2 * by > n ? "-" : "+";
    uint64_t distance = 2 * by > n ? n - by : by;
    if (unit > 1) {
        found->kind = KIND_WIRING;
        proof_tell(solve, proof, found, "Experts have each other's matrices: expert e has that of e %s %u.", sign,
                   (unsigned)distance);
    } else if (stack->n_parts > 1) {
        proof_tell(solve, proof, found,
                   "The matrix's rows are read from a wrong place of the fused matrix: row r is its row r %s %u.", sign,
                   (unsigned)distance);
    } else {
        proof_tell(solve, proof, found, "The matrix's rows are off: row r is its row r %s %u.", sign,
                   (unsigned)distance);
    }
    found->solved = solved_number(unit > 1 ? "expert that is read as expert 0" : "row that is read as row 0", 0,
                                  2 * by > n ? -(double)distance : (double)distance);
}

bool solve_weight_rows(const struct solve *solve, struct diagnosis *found)
{
    const struct evidence *evidence = solve->evidence;
    const struct step *step = evidence->step;
    struct product_samples samples;
    struct stack stack;
    bool explains = false, can = step->op == OP_matmul || step->op == OP_expert_matmul;
    if (!can || !product_samples_open(&samples, evidence)) {
        if (can) {
            product_samples_close(&samples);
        }
        return false;
    }
    find_parts(&stack, evidence);
    uint64_t unit = step->op == OP_expert_matmul ? step->params.expert_matmul.n_out : 1;
    for (stack.offset = unit; stack.offset < stack.n_rows && !explains && !stop_asked(); stack.offset += unit) {
        struct proof proof;
        explains = !is_other_part(&stack, step->weight[0]) &&
                   product_samples_fit(&samples, step->weight[0], row_of_stack, &stack) && holds(solve, &stack, &proof);
        if (explains) {
            describe(solve, &stack, unit, &proof, found);
        }
    }
    product_samples_close(&samples);
    return explains;
}
