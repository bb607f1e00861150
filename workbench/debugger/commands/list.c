/* list: the steps around the position, as gdb lists source lines. */
#include <stdio.h>

#include "workbench/debugger/command.h"
#include "workbench/text/table.h"

#define DEFAULT_STEPS 10

/* "from attn_norm, k_rope"; an input from another layer as layer_out@2 */
static void write_inputs(const struct plan *plan, const struct step *step, char *text, size_t size)
{
    const char *separator = "from ";
    size_t n = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < OP_MAX_INPUTS; i++) {
        if (step->input[i] < 0) {
            continue;
        }
        const struct step *input = &plan->steps[step->input[i]];
        char layer[16] = "";
        if (input->layer != step->layer && input->layer != LAYER_NONE) {
            snprintf(layer, sizeof(layer), "@%d", input->layer);
        }
        n += (size_t)snprintf(text + n, size - n, "%s%s%s", separator, stage_name(input->stage), layer);
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
    if (repl->repeating) { /* as gdb goes on listing */
        first = repl->list_from;
    }
    if (first + n > plan->n_steps) {
        first = plan->n_steps - (uint32_t)n;
    }
    struct table table = {0};
    table_add_column(&table, "", 2, -4);
    table_add_column(&table, "step", 1, -24);
    table_add_column(&table, "op", 1, -14);
    table_add_column(&table, "width", 1, 7);
    table_add_column(&table, "inputs", 2, 0);
    repl->list_from = first + (uint32_t)n;
    for (uint32_t s = first; s < first + n; s++) {
        char label[64], inputs[64 * OP_MAX_INPUTS];
        const struct step *step = &plan->steps[s];
        const char *state = s < next ? "ran" : s == next ? "next" : "";
        write_inputs(plan, step, inputs, sizeof(inputs));
        table_add_cell(&table, "%s", state);
        table_add_cell(&table, "%s", step_label(step, label));
        table_add_cell(&table, "%s", op_info(step->op)->name);
        table_add_cell(&table, "%u", step->width);
        table_add_cell(&table, "%s", inputs);
        table_end_row(&table, NULL);
    }
    table_print(&table, false, stdout);
    table_free(&table);
    return STATUS_OK;
}
