/* run, continue, until, back, goto: far moves, forward by running and back by what was recorded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/repl_show.h"
#include "workbench/probes/probe_config.h"
#include "workbench/python/python.h"

/* What was decoded so far, as text where the model has a tokenizer. */
static void show_output(struct repl *repl)
{
    const struct model *model = &repl->session->model;
    uint32_t n = repl->n_prompt > 0 ? repl->n_known - repl->n_prompt : 0;
    if (n > 0 && (model->tokenizer_json != NULL || model->tokenizer.model != NULL)) {
        char *text;
        struct error err;
        if (python_detokenize(model, repl->tokens + repl->n_prompt, n, &text, &err) == STATUS_OK) {
            char *quoted = xmalloc(strlen(text) * 4 + 16);
            show_quoted(text, quoted, strlen(text) * 4 + 16);
            printf("Output %s\n", quoted);
            free(quoted);
            free(text);
        }
    }
    if (repl->config->given) {
        printf("Done\n");
    }
}

static enum status go_on(struct repl *repl, int64_t n_tokens, struct error *err)
{
    enum status status;
    do {
        status = step_token(repl, err);
    } while (status == STATUS_OK && !repl->stopped && !repl_over(repl) && --n_tokens > 0);
    if (status == STATUS_OK && !repl->stopped && repl_over(repl)) {
        show_output(repl);
    }
    return status;
}

enum status repl_continue(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    return go_on(repl, INT64_MAX, err);
}

enum status repl_run_command(struct repl *repl, const struct words *words, struct error *err)
{
    int64_t n = INT64_MAX;
    enum status status = STATUS_OK;
    if (words->n == 1) {
        status = words_number(words->word[0], "run", 1, 1000000, &n, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (repl->n_batches > 0) {
        repl_go_to_start(repl);
    }
    return go_on(repl, n, err);
}

enum status repl_until(struct repl *repl, const struct words *words, struct error *err)
{
    if (strcmp(words->word[0], "diverge") != 0) {
        return error_set(err, STATUS_USAGE, NULL, "until", ERROR_NO_OFFSET, "\"%s\", expected diverge", words->word[0]);
    }
    repl->breaks = xrealloc(repl->breaks, (repl->n_breaks + 1) * sizeof(*repl->breaks));
    repl->breaks[repl->n_breaks++] = (struct repl_break){.diverge = true};
    enum status status = go_on(repl, INT64_MAX, err);
    repl->n_breaks--; /* commands that would change the list do not run meanwhile */
    if (status == STATUS_OK && !repl->stopped) {
        printf("no step introduced an error%s\n",
               repl->reads == NULL ? "" : " among those read back (set layers all looks at each)");
    }
    return status;
}

/* Whether a point is at the end of a layer, of what comes before the layers, or of a batch. */
static bool is_group_end(const struct repl *repl, uint64_t point)
{
    const struct step *steps = repl->plan->steps;
    uint32_t s = (uint32_t)(point % repl->plan->n_steps);
    return s == 0 || (steps[s].layer != steps[s - 1].layer && steps[s - 1].stage != STAGE_embed);
}

/* Where `back layer` leads: before the group that ran last, or to the end of layer `layer`. */
static uint64_t back_by_layer(const struct repl *repl, uint64_t point, int64_t layer)
{
    uint32_t n_steps = repl->plan->n_steps;
    if (layer < 0) {
        do {
            point--;
        } while (point > 0 && !is_group_end(repl, point));
        return point;
    }
    uint64_t end = plan_layer_end(repl->plan, (uint32_t)layer), batch = (point - 1) / n_steps;
    if (batch * n_steps + end < point) {
        return batch * n_steps + end;
    }
    return batch > 0 ? (batch - 1) * n_steps + end : UINT64_MAX;
}

/* Where `back token` leads: before the n-th token behind; the prompt is one, whose positions run in batches. */
static uint64_t back_by_token(const struct repl *repl, uint64_t point, int64_t n)
{
    uint64_t batch = (point - 1) / repl->plan->n_steps;
    for (;;) {
        while (batch > 0 && repl->phase[repl->batches[batch].first] == PHASE_PREFILL) {
            batch--;
        }
        if (--n == 0) {
            return batch * repl->plan->n_steps;
        }
        if (batch-- == 0) {
            return UINT64_MAX;
        }
    }
}

static enum status back_by(struct repl *repl, const char *unit, int64_t n, struct error *err)
{
    uint64_t point = repl_point(repl), target = UINT64_MAX;
    if (strcmp(unit, "layer") == 0) {
        target = back_by_layer(repl, point, n);
    } else if (strcmp(unit, "token") == 0) {
        target = back_by_token(repl, point, n);
    } else if ((uint64_t)n <= point) {
        target = point - (uint64_t)n;
    }
    if (target == UINT64_MAX) {
        return error_set(err, STATUS_USAGE, NULL, "back", ERROR_NO_OFFSET, "that is before the first stage that ran");
    }
    return repl_go_to_point(repl, target, err);
}

enum status repl_back(struct repl *repl, const struct words *words, struct error *err)
{
    const char *unit = words->n > 0 ? words->word[0] : "op", *number = words->n == 2 ? words->word[1] : NULL;
    bool known = strcmp(unit, "op") == 0 || strcmp(unit, "layer") == 0 || strcmp(unit, "token") == 0;
    if (!known && words->n == 1) {
        number = unit;
        unit = "op";
    } else if (!known) {
        return error_set(err, STATUS_USAGE, NULL, "back", ERROR_NO_OFFSET, "\"%s\", expected op, layer or token", unit);
    }
    bool is_layer = strcmp(unit, "layer") == 0;
    int64_t n = is_layer ? -1 : 1;
    enum status status = STATUS_OK;
    if (number != NULL) {
        status = is_layer ? words_number(number, "layer", 0, (int64_t)repl->plan->n_layers - 1, &n, err)
                          : words_number(number, "back", 1, 1000000000, &n, err);
    }
    if (status == STATUS_OK && repl->n_batches == 0) {
        status = error_set(err, STATUS_USAGE, NULL, "back", ERROR_NO_OFFSET, "nothing ran yet");
    }
    if (status == STATUS_OK) {
        status = back_by(repl, unit, n, err);
    }
    return status == STATUS_OK ? repl_where(repl, words, err) : status;
}

/* The batch that began and holds a position, or n_batches. */
static uint32_t batch_of(const struct repl *repl, int64_t position)
{
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        if (position < (int64_t)repl->batches[b].first + repl->batches[b].n_rows) {
            return b;
        }
    }
    return repl->n_batches;
}

/* Runs batches until the one that holds the position is there, then to the step in it. */
static enum status run_forward(struct repl *repl, int64_t position, uint32_t next, struct error *err)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && !repl->stopped && batch_of(repl, position) == repl->n_batches) {
        if (repl->next < repl->plan->n_steps) {
            status = run_to(repl, repl->plan->n_steps, err);
        }
        if (status == STATUS_OK && !repl->stopped) {
            status = repl_begin(repl, err);
        }
    }
    return status == STATUS_OK && !repl->stopped && repl->next < next ? run_to(repl, next, err) : status;
}

enum status repl_goto(struct repl *repl, const struct words *words, struct error *err)
{
    uint32_t step;
    int64_t position = repl->first;
    enum status status = words_place(repl, words->word[0], &step, err);
    if (status == STATUS_OK && words->n == 2) {
        status = words_number(words->word[1], "token", 0, (int64_t)repl->capacity - 1, &position, err);
    }
    if (status == STATUS_OK && repl->n_known == 0) {
        status = repl_begin(repl, err); /* says what is missing */
    }
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t batch = batch_of(repl, position);
    bool behind = batch + 1 < repl->n_batches || (batch + 1 == repl->n_batches && step + 1 <= repl->next);
    status = behind ? repl_go_back(repl, batch, step + 1, err) : run_forward(repl, position, step + 1, err);
    return status == STATUS_OK && !repl->stopped ? repl_where(repl, words, err) : status;
}
