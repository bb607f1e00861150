/* list: the steps around the position, as gdb lists source lines. */
#include <stdio.h>

#include "workbench/debugger/command.h"

#define DEFAULT_STEPS 10

/* "attn_norm, k_rope"; an input from another layer as layer_out@2 */
static void print_inputs(const struct plan *plan, const struct step *step)
{
    const char *separator = "  from ";
    for (uint32_t i = 0; i < OP_MAX_INPUTS; i++) {
        if (step->input[i] < 0) {
            continue;
        }
        const struct step *input = &plan->steps[step->input[i]];
        printf("%s%s", separator, stage_name(input->stage));
        if (input->layer != step->layer && input->layer != LAYER_NONE) {
            printf("@%d", input->layer);
        }
        separator = ", ";
    }
}

enum status do_list(struct repl *repl, const struct words *words, struct error *err)
{
    const struct plan *plan = repl->plan;
    int64_t n = DEFAULT_STEPS;
    if (words->n == 1) {
        TRY(word_number(words->word[0], "list", 1, plan->n_steps, &n, err));
    }
    uint32_t next = repl->n_rows == 0 ? 0 : repl->next, before = (uint32_t)n / 2;
    uint32_t first = next > before ? next - before : 0;
    if (first + n > plan->n_steps) {
        first = plan->n_steps - (uint32_t)n;
    }
    for (uint32_t s = first; s < first + n; s++) {
        char label[64];
        const struct step *step = &plan->steps[s];
        const char *state = s < next ? "ran" : s == next ? "next" : "";
        printf("  %-4s %-24s %-14s %7u", state, step_label(step, label), op_info(step->op)->name, step->width);
        print_inputs(plan, step);
        printf("\n");
    }
    return STATUS_OK;
}
