/* run, continue, until, back, goto. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/print_steps.h"
#include "workbench/debugger/run/full_comparison.h"
#include "workbench/debugger/run/run.h"
#include "workbench/probes/probe_config.h"
#include "workbench/python/python.h"
#include "workbench/report/wrapped_text.h"

/* Prints the text decoded so far, if the model has a tokenizer. */
static void print_output(struct repl *repl)
{
    const struct model *model = &repl->session->model;
    uint32_t n = repl->n_prompt > 0 ? repl->n_known - repl->n_prompt : 0;
    if (n > 0 && (model->tokenizer_json != NULL || model->tokenizer.model != NULL)) {
        char *text;
        struct error err;
        if (python_detokenize(model, repl->tokens + repl->n_prompt, n, &text, &err) == STATUS_OK) {
            char *quoted = xmalloc(strlen(text) * 4 + 16);
            quote_text(text, quoted, strlen(text) * 4 + 16);
            printf("Output %s\n", quoted);
            free(quoted);
            free(text);
        }
    }
    if (repl->config->given) {
        printf("Done\n");
    }
}

/* Runs up to n_tokens tokens, and prints the text if the run is over then. */
static enum status run_tokens(struct repl *repl, int64_t n_tokens, struct error *err)
{
    enum status status;
    do {
        status = repl_run_token(repl, err);
    } while (status == STATUS_OK && !repl->stopped && !repl_is_over(repl) && --n_tokens > 0);
    if (status == STATUS_OK && !repl->stopped && repl_is_over(repl)) {
        print_output(repl);
    }
    return status;
}

enum status do_continue(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    return run_tokens(repl, INT64_MAX, err);
}

enum status do_run(struct repl *repl, const struct words *words, struct error *err)
{
    int64_t n = INT64_MAX;
    if (words->n == 1) {
        TRY(word_number(words->word[0], "run", 1, 1000000, &n, err));
    }
    if (repl->n_batches > 0) {
        repl_go_to_start(repl);
    }
    return run_tokens(repl, n, err);
}

/* Whether a point lies at the end of a layer, before the layers, or at the end of a batch. */
static bool is_group_end(const struct repl *repl, uint64_t point)
{
    const struct step *steps = repl->plan->steps;
    uint32_t s = (uint32_t)(point % repl->plan->n_steps);
    return s == 0 || (steps[s].layer != steps[s - 1].layer && steps[s - 1].stage != STAGE_embed);
}

/* The point of `back layer`: before the layer that ran last; or, if layer >= 0, at the end of that layer. UINT64_MAX:
 * the run did not pass it. */
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

/* The point of `back token n`: before the n-th token back. The whole prompt counts as one token, even if it took
 * several batches. UINT64_MAX: there were fewer tokens. */
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

static enum status back_by(struct repl *repl, const struct unit_count *count, struct error *err)
{
    uint64_t point = repl_point(repl), target = UINT64_MAX;
    if (count->unit == UNIT_LAYER) {
        target = back_by_layer(repl, point, count->n);
    } else if (count->unit == UNIT_TOKEN) {
        target = back_by_token(repl, point, count->n);
    } else if ((uint64_t)count->n <= point) {
        target = point - (uint64_t)count->n;
    }
    if (target == UINT64_MAX) {
        return error_set(err, STATUS_USAGE, NULL, "back", ERROR_NO_OFFSET, "that is before the first stage that ran");
    }
    return repl_go_to_point(repl, target, err);
}

enum status do_back(struct repl *repl, const struct words *words, struct error *err)
{
    struct unit_count count;
    TRY(parse_unit_count(repl, words, 1000000000, &count, err));
    if (repl_point(repl) == 0) {
        return error_set(err, STATUS_USAGE, NULL, "back", ERROR_NO_OFFSET, "nothing ran yet");
    }
    TRY(back_by(repl, &count, err));
    return do_where(repl, words, err);
}

/* The batch that holds a position, or n_batches if none has begun. */
static uint32_t batch_of(const struct repl *repl, int64_t position)
{
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        if (position < (int64_t)repl->batches[b].first + repl->batches[b].n_rows) {
            return b;
        }
    }
    return repl->n_batches;
}

/* Runs to step `next` of the batch that holds the position. */
static enum status run_forward(struct repl *repl, int64_t position, uint32_t next, struct error *err)
{
    while (!repl->stopped && batch_of(repl, position) == repl->n_batches) {
        if (repl->next < repl->plan->n_steps) {
            TRY(repl_run_to(repl, repl->plan->n_steps, err));
        }
        if (!repl->stopped) {
            TRY(repl_begin_batch(repl, err));
        }
    }
    return !repl->stopped && repl->next < next ? repl_run_to(repl, next, err) : STATUS_OK;
}

/* Goes, back or forward, to before step `next` of the batch that holds the position. */
static enum status go_to(struct repl *repl, int64_t position, uint32_t next, struct error *err)
{
    uint32_t batch = batch_of(repl, position);
    bool passed = batch + 1 < repl->n_batches || (batch + 1 == repl->n_batches && next <= repl->next);
    return passed ? repl_go_back(repl, batch, next, err) : run_forward(repl, position, next, err);
}

enum status do_goto(struct repl *repl, const struct words *words, struct error *err)
{
    uint32_t step;
    int64_t position = repl->first;
    TRY(word_place(repl, words->word[0], &step, err));
    if (words->n == 2) {
        TRY(word_number(words->word[1], "token", 0, (int64_t)repl->capacity - 1, &position, err));
    }
    if (repl->n_known == 0) {
        TRY(repl_begin_batch(repl, err)); /* fails and says why */
    }
    TRY(go_to(repl, position, step + 1, err));
    return repl->stopped ? STATUS_OK : do_where(repl, words, err);
}

/* Runs on until a step introduces an error. Stops right after it, and sets repl->stopped; or at the end of the run. */
static enum status run_until_introduced(struct repl *repl, struct error *err)
{
    repl->stopped = false;
    repl->breakpoints = xrealloc(repl->breakpoints, (repl->n_breakpoints + 1) * sizeof(*repl->breakpoints));
    repl->breakpoints[repl->n_breakpoints++] = (struct repl_breakpoint){.diverge = true};
    enum status status = run_tokens(repl, INT64_MAX, err);
    repl->n_breakpoints--; /* it is still the last one: no command that changes the list ran */
    return status;
}

/* Goes to where `diff` finds the first divergence, and prints its answer. */
static enum status show_first(struct repl *repl, const struct comparison *comparison, struct error *err)
{
    uint32_t step, position;
    if (repl_first_divergence(repl, comparison, &step, &position)) {
        repl->stopped = false;
        TRY(go_to(repl, position, step < repl->plan->n_steps ? step + 1 : repl->plan->n_steps, err));
        repl->stopped = true;
    }
    comparison_print(comparison, stdout);
    return STATUS_OK;
}

static void print_parity(const struct repl *repl, const struct comparison *comparison)
{
    printf("no step introduced an error%s\n",
           repl->captured == NULL ? "" : " in the layers that are read back (set layers all reads every layer)");
    if (comparison != NULL) {
        comparison_print(comparison, stdout);
    }
}

enum status do_until(struct repl *repl, const struct words *words, struct error *err)
{
    const struct comparison *comparison = NULL;
    if (strcmp(words->word[0], "diverge") != 0) {
        return words_refuse(words, 0, err);
    }
    uint32_t n_before = repl->n_introduced;
    bool over = repl_is_over(repl);
    TRY(run_until_introduced(repl, err));
    while (repl->stopped) {
        const struct repl_introduced *last = &repl->introduced[n_before];
        TRY(repl_compare(repl, &comparison, err));
        if (comparison == NULL) {
            print_answer(repl, last);
            return STATUS_OK;
        }
        if (n_before == 0 && comparison->verdict.diverged) {
            return show_first(repl, comparison, err);
        }
        if (repl_is_introduced(repl, comparison, last)) {
            print_answer(repl, last);
            return STATUS_OK;
        }
        n_before = repl->n_introduced;
        if (repl_is_over(repl)) {
            break; /* it was the last step */
        }
        TRY(run_until_introduced(repl, err));
    }
    TRY(over ? STATUS_OK : repl_compare(repl, &comparison, err));
    if (comparison != NULL && n_before == 0 && comparison->verdict.diverged) {
        return show_first(repl, comparison, err); /* of roundings or tokens, of which no step alone tells */
    }
    print_parity(repl, comparison);
    return STATUS_OK;
}
