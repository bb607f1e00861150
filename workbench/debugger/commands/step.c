/* step, restart, where. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/print_steps.h"
#include "workbench/debugger/run/judge.h"
#include "workbench/debugger/run/run.h"
#include "workbench/python/prompt_tokens.h"
#include "workbench/python/python.h"
#include "workbench/session/progress.h"

/* One past the last step of the layer that a step is in. Embed counts to layer 0; everything after the layers is one
 * group. */
static uint32_t group_end(const struct plan *plan, uint32_t step)
{
    uint32_t s = step;
    while (s < plan->n_steps && plan->steps[s].layer == LAYER_NONE && plan->steps[s].stage == STAGE_embed) {
        s++;
    }
    int32_t layer = s < plan->n_steps ? plan->steps[s].layer : LAYER_NONE;
    while (s < plan->n_steps && plan->steps[s].layer == layer) {
        s++;
    }
    return s;
}

/* Adds to a Ctrl-C's message where the position is. */
static enum status say_where_interrupted(const struct repl *repl, enum status status, struct error *err)
{
    if (status != STATUS_INTERRUPTED) {
        return status;
    }
    char label[64] = "the end of the batch";
    if (repl->next < repl->plan->n_steps) {
        step_label(&repl->plan->steps[repl->next], label);
    }
    return error_set(err, STATUS_INTERRUPTED, NULL, "interrupted", ERROR_NO_OFFSET, "the position is before %s", label);
}

/* Stops at a breakpoint among the steps from `first` on, which just ran: goes back to right after it. */
static enum status stop_at_breakpoint(struct repl *repl, uint32_t first, struct error *err)
{
    const struct repl_breakpoint *breakpoint;
    int64_t step = repl_find_breakpoint(repl, first, repl->next, &breakpoint);
    if (step < 0) {
        return STATUS_OK;
    }
    progress_wipe();
    char text[128], label[64], positions[64];
    breakpoint_text(repl, breakpoint, text);
    uint32_t number = breakpoint->number;
    if ((uint32_t)step + 1 < repl->next) {
        TRY(repl_go_back(repl, repl->n_batches - 1, (uint32_t)step + 1, err));
    }
    repl->stopped = true;
    if (number > 0) { /* `until` prints the answer */
        printf("breakpoint %u (%s) after %s, %s\n", number, text, step_label(&repl->plan->steps[step], label),
               positions_text(repl, positions));
        print_steps(repl, (uint32_t)step, (uint32_t)step + 1, true);
    }
    return STATUS_OK;
}

enum status repl_run_to(struct repl *repl, uint32_t last, struct error *err)
{
    while (repl->next < last && !repl->stopped) {
        uint32_t first = repl->next, end = group_end(repl->plan, first);
        TRY(say_where_interrupted(repl, repl_run_steps(repl, end < last ? end : last, err), err));
        progress_show((void *)(uintptr_t) "stage", repl->next, last);
        TRY(stop_at_breakpoint(repl, first, err));
    }
    return STATUS_OK;
}

/* Runs up to *n ops of the current batch, or of the next one if that is done, and prints them as one table. */
static enum status step_in_batch(struct repl *repl, int64_t *n, struct error *err)
{
    TRY(repl_begin_batch(repl, err));
    uint32_t first = repl->next;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && *n > 0 && repl->next < repl->plan->n_steps) {
        status = repl_run_steps(repl, repl->next + 1, err);
        *n -= status == STATUS_OK;
    }
    if (repl->next > first) {
        print_steps(repl, first, repl->next, true);
    }
    return status;
}

static enum status step_ops(struct repl *repl, int64_t n, struct error *err)
{
    while (n > 0) {
        TRY(say_where_interrupted(repl, step_in_batch(repl, &n, err), err));
    }
    return STATUS_OK;
}

/* Runs to the end of the current batch, or of the next one if that is done. */
static enum status run_batch(struct repl *repl, struct error *err)
{
    uint32_t n_introduced = repl->n_introduced;
    TRY(repl_begin_batch(repl, err));
    TRY(repl_run_to(repl, repl->plan->n_steps, err));
    if (repl->next == repl->plan->n_steps) {
        print_batch(repl);
        print_introduced(repl, n_introduced);
        repl_show_probes(repl);
    }
    return STATUS_OK;
}

enum status repl_run_token(struct repl *repl, struct error *err)
{
    enum status status;
    do {
        status = run_batch(repl, err);
    } while (status == STATUS_OK && !repl->stopped && !repl_is_over(repl) &&
             repl->phase[repl->first + repl->n_rows] == PHASE_PREFILL);
    return status;
}

/* Runs to the end of the layer that runs next; or, if layer >= 0, to the end of that layer: in the next batch, if the
 * current one has passed it. */
static enum status step_layer(struct repl *repl, int64_t layer, struct error *err)
{
    const struct plan *plan = repl->plan;
    uint32_t end = layer < 0 ? 0 : plan_layer_end(plan, (uint32_t)layer);
    TRY(repl_begin_batch(repl, err));
    if (layer >= 0 && repl->next >= end) {
        if (repl->first + repl->n_rows == repl->capacity) {
            return error_set(err, STATUS_USAGE, NULL, "step", ERROR_NO_OFFSET,
                             "layer %lld has run, and no token follows", (long long)layer);
        }
        TRY(run_batch(repl, err));
        if (repl_is_over(repl) || repl->stopped) {
            return STATUS_OK;
        }
        TRY(repl_begin_batch(repl, err));
    }
    uint32_t n_introduced = repl->n_introduced;
    uint32_t first = layer < 0 ? repl->next : plan_layer_begin(plan, (uint32_t)layer);
    end = layer < 0 ? group_end(plan, first) : end;
    TRY(repl_run_to(repl, end, err));
    if (!repl->stopped) {
        print_introduced(repl, n_introduced);
        print_steps(repl, first, end, true);
    }
    return STATUS_OK;
}

enum status parse_unit_count(const struct repl *repl, const struct words *words, int64_t most, struct unit_count *count,
                             struct error *err)
{
    static const char *const units[] = {[UNIT_OP] = "op", [UNIT_LAYER] = "layer", [UNIT_TOKEN] = "token"};
    const char *number = NULL;
    *count = (struct unit_count){.unit = UNIT_OP};
    if (words->n > 0) {
        uint32_t unit = 0;
        while (unit < sizeof(units) / sizeof(units[0]) && strcmp(words->word[0], units[unit]) != 0) {
            unit++;
        }
        bool named = unit < sizeof(units) / sizeof(units[0]);
        if (!named && (words->n == 2 || strchr("+-0123456789", words->word[0][0]) == NULL)) {
            return words_refuse(words, 0, err);
        }
        count->unit = named ? unit : UNIT_OP;
        number = named ? (words->n == 2 ? words->word[1] : NULL) : words->word[0];
    }
    bool is_layer = count->unit == UNIT_LAYER;
    count->n = is_layer ? -1 : 1;
    if (number == NULL) {
        return STATUS_OK;
    }
    return is_layer ? word_number(number, "layer", 0, (int64_t)repl->plan->n_layers - 1, &count->n, err)
                    : word_number(number, words->command->name, 1, most, &count->n, err);
}

enum status do_step(struct repl *repl, const struct words *words, struct error *err)
{
    struct unit_count count;
    TRY(parse_unit_count(repl, words, 1000000, &count, err));
    if (count.unit == UNIT_OP) {
        return step_ops(repl, count.n, err);
    }
    if (count.unit == UNIT_LAYER) {
        return step_layer(repl, count.n, err);
    }
    for (int64_t i = 0; i < count.n && !repl->stopped; i++) {
        TRY(repl_run_token(repl, err));
    }
    return STATUS_OK;
}

enum status do_next(struct repl *repl, const struct words *words, struct error *err)
{
    int64_t n = 1;
    if (words->n == 1) {
        TRY(word_number(words->word[0], "next", 1, 1000000, &n, err));
    }
    for (int64_t i = 0; i < n && !repl->stopped; i++) {
        TRY(step_layer(repl, -1, err));
    }
    return STATUS_OK;
}

/* The same prompt again, with room for n_decode decoded tokens. option: of the command; NULL: alone. */
static enum status restart_prompt(struct repl *repl, uint32_t n_decode, const char *option, struct error *err)
{
    if (repl->n_prompt == 0) {
        return error_set(err, STATUS_USAGE, NULL, option != NULL ? option : "restart", ERROR_NO_OFFSET,
                         repl->n_known > 0 ? "the tokens are a file's, expected --prompt TEXT or --ids 1,2,3"
                                           : "nothing ran yet, expected --prompt TEXT or --ids 1,2,3");
    }
    uint32_t n_ids = repl->n_prompt;
    int32_t *ids = xmalloc(n_ids * sizeof(*ids));
    memcpy(ids, repl->tokens, n_ids * sizeof(*ids));
    enum status status = repl_restart(repl, ids, n_ids, n_decode, err);
    free(ids);
    return status;
}

/* restart [--prompt TEXT | --chat FILE | --ids 1,2,3] [-n N]; without a prompt, with the one before. */
static enum status restart_tokens(struct repl *repl, const struct words *words, struct error *err)
{
    struct prompt prompt = {0};
    int64_t n_decode = repl->settings.decode;
    for (uint32_t i = 0; i < words->n; i += 2) {
        const char *option = words->word[i], *value = i + 1 < words->n ? words->word[i + 1] : NULL;
        enum status status = STATUS_OK;
        if (value != NULL && strcmp(option, "--prompt") == 0) {
            prompt.text = value;
        } else if (value != NULL && strcmp(option, "--chat") == 0) {
            prompt.chat = value;
        } else if (value != NULL && strcmp(option, "--ids") == 0) {
            prompt.ids = value;
        } else if (value != NULL && strcmp(option, "-n") == 0) {
            status = word_number(value, "-n", 0, 1000000, &n_decode, err);
        } else {
            status = words_refuse(words, i, err);
        }
        TRY(status);
    }
    if (prompt.text == NULL && prompt.ids == NULL && prompt.chat == NULL) {
        return restart_prompt(repl, (uint32_t)n_decode, "-n", err);
    }
    int32_t *ids;
    uint32_t n_ids;
    TRY(prompt_tokens(&prompt, &repl->session->model, &ids, &n_ids, err));
    enum status status = repl_restart(repl, ids, n_ids, (uint32_t)n_decode, err);
    free(ids);
    return status;
}

enum status do_restart(struct repl *repl, const struct words *words, struct error *err)
{
    if (words->n > 0) {
        TRY(restart_tokens(repl, words, err));
    } else if (repl_side_of(repl, SOURCE_GOLDEN) != NULL || repl_side_of(repl, SOURCE_TRACE) != NULL) {
        repl_restart_with_golden(repl);
    } else {
        TRY(restart_prompt(repl, repl->capacity - repl->n_prompt, NULL, err));
    }
    return do_where(repl, words, err);
}

enum status do_where(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    (void)err;
    char positions[64], label[64];
    if (repl->n_known == 0) {
        printf("no tokens to run: restart --prompt TEXT, or restart --ids 1,2,3\n");
        return STATUS_OK;
    }
    if (repl->n_rows == 0) {
        printf("before position 0 of %u, nothing ran yet\n", repl->n_known);
    } else if (repl->next == repl->plan->n_steps) {
        printf("after %s of %u, all %u stages ran\n", positions_text(repl, positions), repl->n_known,
               repl->plan->n_steps);
    } else {
        printf("%s of %u, %u of %u stages ran; next is %s\n", positions_text(repl, positions), repl->n_known,
               repl->next, repl->plan->n_steps, step_label(&repl->plan->steps[repl->next], label));
    }
    printf("tokens");
    for (uint32_t p = 0; p < repl->n_known; p++) {
        bool here = repl->n_rows > 0 && p >= repl->first && p < repl->first + repl->n_rows;
        printf(here ? " [%d]" : " %d", repl->tokens[p]);
    }
    printf("\n");
    return STATUS_OK;
}
