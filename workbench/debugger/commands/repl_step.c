/* step, restart, where: moving the one position that both sides share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/repl_show.h"
#include "workbench/python/prompt_tokens.h"
#include "workbench/python/python.h"
#include "workbench/session/progress.h"

/* One past the last step of the group that a step is in: its layer, with embed in layer 0's and the rest after the
 * layers. */
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

/* Where Ctrl-C left the position. */
static enum status where_interrupted(const struct repl *repl, enum status status, struct error *err)
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

/* A breakpoint among the steps that just ran: what ran beyond it is taken back. */
static enum status look_for_stop(struct repl *repl, uint32_t first, struct error *err)
{
    const struct repl_break *why;
    int64_t step = repl_stop_at(repl, first, repl->next, &why);
    if (step < 0) {
        return STATUS_OK;
    }
    enum status status = STATUS_OK;
    progress_wipe();
    char text[128], label[64], positions[64];
    show_break(repl, why, text);
    uint32_t number = why->number;
    if ((uint32_t)step + 1 < repl->next) {
        status = repl_go_back(repl, repl->n_batches - 1, (uint32_t)step + 1, err);
    }
    if (status == STATUS_OK) {
        repl->stopped = true;
        if (number == 0) {
            printf("%s after %s, %s\n", text, step_label(&repl->plan->steps[step], label),
                   show_positions(repl, positions));
        } else {
            printf("breakpoint %u (%s) after %s, %s\n", number, text, step_label(&repl->plan->steps[step], label),
                   show_positions(repl, positions));
        }
        show_steps(repl, (uint32_t)step, (uint32_t)step + 1, true);
    }
    return status;
}

enum status run_to(struct repl *repl, uint32_t last, struct error *err)
{
    while (repl->next < last && !repl->stopped) {
        uint32_t first = repl->next, end = group_end(repl->plan, first);
        enum status status = repl_advance(repl, end < last ? end : last, err);
        if (status != STATUS_OK) {
            return where_interrupted(repl, status, err);
        }
        progress_show((void *)(uintptr_t) "stage", repl->next, last);
        status = look_for_stop(repl, first, err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status step_ops(struct repl *repl, int64_t n, struct error *err)
{
    for (int64_t i = 0; i < n; i++) {
        bool was_done = repl->next == repl->plan->n_steps;
        enum status status = repl_begin(repl, err);
        uint32_t step = repl->next;
        if (status == STATUS_OK) {
            status = repl_advance(repl, step + 1, err);
        }
        if (status != STATUS_OK) {
            return where_interrupted(repl, status, err);
        }
        bool new_layer = step > 0 && repl->plan->steps[step].layer != repl->plan->steps[step - 1].layer;
        show_steps(repl, step, step + 1, i == 0 || was_done || new_layer);
    }
    return STATUS_OK;
}

/* To the end of the current batch, or of the next one if it is done. */
static enum status step_batch(struct repl *repl, struct error *err)
{
    uint32_t n_introduced = repl->n_introduced;
    enum status status = repl_begin(repl, err);
    if (status == STATUS_OK) {
        status = run_to(repl, repl->plan->n_steps, err);
    }
    if (status == STATUS_OK && repl->next == repl->plan->n_steps) {
        show_batch(repl);
        show_introduced(repl, n_introduced);
    }
    return status;
}

enum status step_token(struct repl *repl, struct error *err)
{
    enum status status;
    do {
        status = step_batch(repl, err);
    } while (status == STATUS_OK && !repl->stopped && !repl_over(repl) &&
             repl->phase[repl->first + repl->n_rows] == PHASE_PREFILL);
    return status;
}

/* To the end of the layer that is run next, or of the layer of this number: past it, in the next batch. */
static enum status step_layer(struct repl *repl, int64_t layer, struct error *err)
{
    const struct plan *plan = repl->plan;
    uint32_t end = layer < 0 ? 0 : plan_layer_end(plan, (uint32_t)layer);
    uint32_t n_introduced = repl->n_introduced;
    enum status status = repl_begin(repl, err);
    if (status == STATUS_OK && layer >= 0 && repl->next >= end) {
        if (repl->first + repl->n_rows == repl->capacity) {
            return error_set(err, STATUS_USAGE, NULL, "step", ERROR_NO_OFFSET,
                             "layer %lld is behind, and no token follows", (long long)layer);
        }
        status = step_batch(repl, err);
        if (status != STATUS_OK || repl_over(repl) || repl->stopped) {
            return status;
        }
        n_introduced = repl->n_introduced;
        status = repl_begin(repl, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t first = repl->next;
    if (layer < 0) {
        end = group_end(plan, first);
    }
    status = run_to(repl, end, err);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t begin = layer < 0 ? first : plan_layer_begin(plan, (uint32_t)layer);
    if (repl->stopped) {
        return STATUS_OK;
    }
    show_introduced(repl, n_introduced);
    show_steps(repl, begin, end, true);
    return STATUS_OK;
}

enum status repl_step(struct repl *repl, const struct words *words, struct error *err)
{
    const char *unit = words->n > 0 ? words->word[0] : "op";
    bool is_layer = strcmp(unit, "layer") == 0, is_token = strcmp(unit, "token") == 0, is_op = strcmp(unit, "op") == 0;
    bool only_number = words->n == 1 && !is_layer && !is_token && !is_op;
    const char *number = words->n == 2 ? words->word[1] : only_number ? words->word[0] : NULL;
    if (words->n == 2 && !is_layer && !is_token && !is_op) {
        return error_set(err, STATUS_USAGE, NULL, "step", ERROR_NO_OFFSET, "\"%s\", expected op, layer or token", unit);
    }
    int64_t n = is_layer ? -1 : 1;
    enum status status = STATUS_OK;
    if (number != NULL && is_layer) {
        status = words_number(number, "layer", 0, (int64_t)repl->plan->n_layers - 1, &n, err);
    } else if (number != NULL) {
        status = words_number(number, "step", 1, 1000000, &n, err);
    }
    if (status != STATUS_OK || is_layer) {
        return status != STATUS_OK ? status : step_layer(repl, n, err);
    }
    if (!is_token) {
        return step_ops(repl, n, err);
    }
    for (int64_t i = 0; status == STATUS_OK && i < n && !repl->stopped; i++) {
        status = step_token(repl, err);
    }
    return status;
}

/* --prompt TEXT or --ids 1,2,3, with -n N. */
static enum status restart_tokens(struct repl *repl, const struct words *words, struct error *err)
{
    struct prompt prompt = {0};
    int64_t n_decode = repl->settings.decode;
    for (uint32_t i = 0; i < words->n; i += 2) {
        const char *option = words->word[i], *value = i + 1 < words->n ? words->word[i + 1] : NULL;
        enum status status = STATUS_OK;
        if (value != NULL && strcmp(option, "--prompt") == 0) {
            prompt.text = value;
        } else if (value != NULL && strcmp(option, "--ids") == 0) {
            prompt.ids = value;
        } else if (value != NULL && strcmp(option, "-n") == 0) {
            status = words_number(value, "-n", 0, 1000000, &n_decode, err);
        } else {
            status = error_set(err, STATUS_USAGE, NULL, "restart", ERROR_NO_OFFSET,
                               "\"%s\", expected --prompt TEXT or --ids 1,2,3, and -n N", option);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    int32_t *ids;
    uint32_t n_ids;
    enum status status = prompt_tokens(&prompt, &repl->session->model, &ids, &n_ids, err);
    if (status == STATUS_OK) {
        status = repl_restart(repl, ids, n_ids, (uint32_t)n_decode, err);
        free(ids);
    }
    return status;
}

enum status repl_restart_command(struct repl *repl, const struct words *words, struct error *err)
{
    enum status status = STATUS_OK;
    if (words->n > 0) {
        status = restart_tokens(repl, words, err);
    } else if (repl_side_of(repl, SOURCE_GOLDEN) != NULL) {
        repl_restart_golden(repl);
    } else if (repl->n_prompt == 0) {
        status = error_set(err, STATUS_USAGE, NULL, "restart", ERROR_NO_OFFSET,
                           "nothing ran yet, expected --prompt TEXT or --ids 1,2,3");
    } else {
        int32_t *ids = xcalloc(repl->n_prompt, sizeof(*ids));
        uint32_t n_ids = repl->n_prompt;
        memcpy(ids, repl->tokens, n_ids * sizeof(*ids));
        status = repl_restart(repl, ids, n_ids, repl->capacity - n_ids, err);
        free(ids);
    }
    return status == STATUS_OK ? repl_where(repl, words, err) : status;
}

enum status repl_where(struct repl *repl, const struct words *words, struct error *err)
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
        printf("after %s of %u, all %u stages ran\n", show_positions(repl, positions), repl->n_known,
               repl->plan->n_steps);
    } else {
        printf("%s of %u, %u of %u stages ran; next is %s\n", show_positions(repl, positions), repl->n_known,
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
