/* growth: how a stage's values grow from layer to layer, each side a column. */
#include <stdio.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/report/growth_table.h"
#include "workbench/text/terminal.h"

/* Has the engine's rows of the stage read back in every layer that ran. */
static enum status capture_stage(struct repl *repl, enum stage stage, struct error *err)
{
    uint32_t n_ran = repl->n_batches > 1 ? repl->plan->n_steps : repl->next;
    for (uint32_t s = 0; s < n_ran && repl->n_batches > 0; s++) {
        if (repl->plan->steps[s].stage == stage) {
            TRY(repl_ensure_captured(repl, s, err));
        }
    }
    return STATUS_OK;
}

/* [STAGE] [TOKEN] */
static enum status read_words(struct repl *repl, const struct words *words, struct growth *growth, struct error *err)
{
    uint32_t step, end = repl->first + repl->n_rows;
    if (words->n > 0) {
        TRY(word_step(repl, words->word[0], &step, NULL, err));
        growth->stage = repl->plan->steps[step].stage;
    }
    if (!stage_in_layer(growth->stage)) {
        return error_set(err, STATUS_USAGE, NULL, "growth", ERROR_NO_OFFSET,
                         "%s is outside the layers, expected a stage that each layer has", stage_name(growth->stage));
    }
    if (words->n > 1) {
        TRY(word_number(words->word[1], "token", -(int64_t)end, (int64_t)end - 1, &growth->position, err));
        growth->position += growth->position < 0 ? end : 0;
    }
    return STATUS_OK;
}

enum status do_growth(struct repl *repl, const struct words *words, struct error *err)
{
    const struct trace *traces[REPL_MAX_SIDES];
    enum source sources[REPL_MAX_SIDES];
    if (repl->n_rows == 0) {
        return error_set(err, STATUS_USAGE, NULL, "growth", ERROR_NO_OFFSET,
                         "nothing ran yet, expected step or continue first");
    }
    struct growth growth = {.plan = repl->plan,
                            .stage = STAGE_layer_out,
                            .traces = traces,
                            .sources = sources,
                            .position = -1,
                            .width = terminal_width()};
    TRY(read_words(repl, words, &growth, err));
    TRY(capture_stage(repl, growth.stage, err));
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        traces[growth.n] = repl->sides[i].trace;
        sources[growth.n++] = repl->sides[i].source;
    }
    if (!growth_print(&growth, stdout)) {
        return error_set(err, STATUS_USAGE, NULL, stage_name(growth.stage), ERROR_NO_OFFSET,
                         "no layer has rows that every side recorded, expected step or continue first");
    }
    return STATUS_OK;
}
