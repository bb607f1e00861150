/* patch, unpatch: replace the rows of a leader's stage each time it runs, by another source's rows or by a multiple. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/run.h"

bool repl_is_patched(const struct repl *repl, uint32_t step)
{
    for (uint32_t i = 0; i < repl->n_patches; i++) {
        if (repl->patches[i].step == step) {
            return true;
        }
    }
    return false;
}

/* Where a patch takes its rows from. */
static const struct trace *patch_trace(struct repl *repl, const struct repl_patch *patch)
{
    struct repl_side *side = repl_side_of(repl, patch->source);
    return patch->kind == PATCH_FILE ? patch->file : side != NULL ? side->trace : NULL;
}

/* The row that a patch puts in place at a position, or NULL. A running side has computed its rows of the current batch,
 * though they are not yet marked as recorded. */
static const float *patch_row(struct repl *repl, const struct repl_patch *patch, uint32_t position)
{
    const struct step *step = &repl->plan->steps[patch->step];
    const struct trace *trace = patch_trace(repl, patch);
    const struct trace_stage *stage = trace != NULL ? trace_find_step(trace, step) : NULL;
    if (stage == NULL || position >= trace->n_positions) {
        return NULL;
    }
    bool running = patch->kind == PATCH_SIDE && repl_side_of(repl, patch->source)->backend != NULL;
    return running ? stage->rows + (uint64_t)position * stage->width : trace_row(stage, position);
}

enum status repl_apply_patches(struct repl *repl, uint32_t step, float *rows, struct error *err)
{
    uint32_t width = repl->plan->steps[step].width;
    for (uint32_t i = 0; i < repl->n_patches; i++) {
        const struct repl_patch *patch = &repl->patches[i];
        for (uint32_t r = 0; patch->step == step && r < repl->n_rows; r++) {
            float *row = rows + (uint64_t)r * width;
            if (patch->kind == PATCH_SCALE) {
                for (uint32_t d = 0; d < width; d++) {
                    row[d] = (float)(row[d] * patch->scale);
                }
                continue;
            }
            const float *from = patch_row(repl, patch, repl->first + r);
            if (from == NULL) {
                char label[64];
                return error_set(err, STATUS_BAD_INPUT, NULL, step_label(&repl->plan->steps[step], label),
                                 ERROR_NO_OFFSET, "the patch has no row for position %u, expected one (or unpatch)",
                                 repl->first + r);
            }
            memcpy(row, from, width * sizeof(*row));
        }
    }
    return STATUS_OK;
}

static void free_file(const struct repl_patch *patch)
{
    if (patch->file != NULL) {
        trace_free(patch->file);
        free(patch->file);
    }
}

static void drop_patch(struct repl *repl, uint32_t i)
{
    free_file(&repl->patches[i]);
    memmove(&repl->patches[i], &repl->patches[i + 1], (repl->n_patches - i - 1) * sizeof(*repl->patches));
    repl->n_patches--;
}

void repl_drop_patches(struct repl *repl)
{
    while (repl->n_patches > 0) {
        drop_patch(repl, repl->n_patches - 1);
    }
}

/* Reads a file, whose tokens must be the run's as far as both go. */
static enum status read_patch_file(const struct repl *repl, const char *path, struct repl_patch *patch,
                                   struct error *err)
{
    struct trace *trace = xcalloc(1, sizeof(*trace));
    enum status status = trace_read(trace, path, err);
    if (status != STATUS_OK) {
        free(trace);
        return status;
    }
    status = trace_check_plan(trace, repl->plan, err);
    for (uint32_t p = 0; status == STATUS_OK && p < trace->n_positions && p < repl->n_known; p++) {
        if (trace->tokens[p] != repl->tokens[p]) {
            status = error_set(err, STATUS_BAD_INPUT, path, "tokens", ERROR_NO_OFFSET,
                               "token %d at position %u, expected the run's %d", trace->tokens[p], p, repl->tokens[p]);
        }
    }
    if (status != STATUS_OK) {
        trace_free(trace);
        free(trace);
        return status;
    }
    patch->kind = PATCH_FILE;
    patch->file = trace;
    return STATUS_OK;
}

static enum status parse_source(struct repl *repl, const char *word, struct repl_patch *patch, struct error *err)
{
    bool is_side = strcmp(word, "reference") == 0 || strcmp(word, "golden") == 0 || strcmp(word, "engine") == 0;
    if (!is_side) {
        return read_patch_file(repl, word, patch, err);
    }
    struct repl_side *side;
    enum status status = word_side(repl, word, &side, err);
    if (status == STATUS_OK && side == repl_leader(repl)) {
        status = error_set(err, STATUS_USAGE, NULL, "patch", ERROR_NO_OFFSET,
                           "the %s is the side that is patched, expected another source", word);
    }
    if (status == STATUS_OK) {
        patch->kind = PATCH_SIDE;
        patch->source = side->source;
    }
    return status;
}

/* Reads what comes after STAGE@LAYER: from SOURCE, or scale X. */
static enum status parse_replacement(struct repl *repl, const char *how, const char *what, struct repl_patch *patch,
                                     struct error *err)
{
    if (strcmp(how, "from") == 0) {
        return parse_source(repl, what, patch, err);
    }
    if (strcmp(how, "scale") != 0) {
        return error_set(err, STATUS_USAGE, NULL, "patch", ERROR_NO_OFFSET,
                         "\"%s\", expected from reference|golden|FILE, or scale X", how);
    }
    char *end;
    patch->kind = PATCH_SCALE;
    patch->scale = strtod(what, &end);
    return end != what && *end == '\0'
               ? STATUS_OK
               : error_set(err, STATUS_USAGE, NULL, "scale", ERROR_NO_OFFSET, "\"%s\", expected a number", what);
}

enum status repl_check_experts(const struct step *step, const struct trace *trace, const char *what, struct error *err)
{
    const struct trace_stage *stage = step->op == OP_topk ? trace_find_step(trace, step) : NULL;
    for (uint32_t p = 0; stage != NULL && p < trace->n_positions; p++) {
        const float *row = trace_row(stage, p);
        uint32_t n = step->params.topk.n;
        for (uint32_t d = 0; row != NULL && d < step->width; d++) {
            if (!(row[d] >= 0 && row[d] < (float)n && row[d] == (float)(uint32_t)row[d])) {
                char label[64];
                return error_set(err, STATUS_BAD_INPUT, NULL, step_label(step, label), ERROR_NO_OFFSET,
                                 "%s has %g at position %u, dim %u, expected whole numbers from 0 to %u", what, row[d],
                                 p, d, n - 1);
            }
        }
    }
    return STATUS_OK;
}

/* Refuses a patch that names experts which the model does not have. */
static enum status check_experts(struct repl *repl, const struct repl_patch *patch, const char *what, struct error *err)
{
    const struct step *step = &repl->plan->steps[patch->step];
    char label[64];
    if (step->op == OP_topk && patch->kind == PATCH_SCALE) {
        return error_set(err, STATUS_USAGE, NULL, step_label(step, label), ERROR_NO_OFFSET,
                         "scale %s of numbers of experts, expected from a source: whole numbers from 0 to %u", what,
                         step->params.topk.n - 1);
    }
    return patch->kind == PATCH_SCALE ? STATUS_OK : repl_check_experts(step, patch_trace(repl, patch), what, err);
}

static enum status parse_patch(struct repl *repl, const struct words *words, struct repl_patch *patch,
                               struct error *err)
{
    TRY(word_step(repl, words->word[0], &patch->step, NULL, err));
    TRY(parse_replacement(repl, words->word[1], words->word[2], patch, err));
    const struct step *step = &repl->plan->steps[patch->step];
    if (patch->kind == PATCH_SCALE || trace_find_step(patch_trace(repl, patch), step) != NULL) {
        enum status status = check_experts(repl, patch, words->word[2], err);
        if (status != STATUS_OK) {
            free_file(patch);
        }
        return status;
    }
    free_file(patch);
    char label[64];
    return error_set(err, STATUS_BAD_INPUT, NULL, step_label(step, label), ERROR_NO_OFFSET,
                     "is not in %s, expected a source that holds the stage", words->word[2]);
}

/* Goes back to before a step that already ran in this batch, so that it runs again with the changed patches. */
static enum status go_before(struct repl *repl, uint32_t step, struct error *err)
{
    if (repl->n_batches == 0 || repl->next <= step) {
        repl_side_changed(repl, repl_leader(repl));
        return STATUS_OK;
    }
    TRY(repl_go_back(repl, repl->n_batches - 1, step, err));
    repl_side_changed(repl, repl_leader(repl));
    char label[64];
    printf("back to before %s, which had run\n", step_label(&repl->plan->steps[step], label));
    return STATUS_OK;
}

enum status do_patch(struct repl *repl, const struct words *words, struct error *err)
{
    if (repl->n_sides == 0) {
        return error_set(err, STATUS_USAGE, NULL, "patch", ERROR_NO_OFFSET, "no run to patch, expected restart first");
    }
    struct repl_patch patch = {0};
    TRY(parse_patch(repl, words, &patch, err));
    for (uint32_t i = repl->n_patches; i-- > 0;) {
        if (repl->patches[i].step == patch.step) {
            drop_patch(repl, i);
        }
    }
    repl->patches = xrealloc(repl->patches, (repl->n_patches + 1) * sizeof(*repl->patches));
    repl->patches[repl->n_patches++] = patch;
    TRY(repl_update_capture(repl, err));
    char label[64];
    printf("%s of the %s is patched, each time it runs, until unpatch\n",
           step_label(&repl->plan->steps[patch.step], label), source_name(repl_leader(repl)->source));
    return go_before(repl, patch.step, err);
}

enum status do_unpatch(struct repl *repl, const struct words *words, struct error *err)
{
    uint32_t step, first = repl->plan->n_steps, n = repl->n_patches;
    if (words->n == 1) {
        TRY(word_step(repl, words->word[0], &step, NULL, err));
    }
    for (uint32_t i = repl->n_patches; i-- > 0;) {
        if (words->n == 0 || repl->patches[i].step == step) {
            first = repl->patches[i].step < first ? repl->patches[i].step : first;
            drop_patch(repl, i);
        }
    }
    if (n == repl->n_patches) {
        return error_set(err, STATUS_USAGE, NULL, "unpatch", ERROR_NO_OFFSET, "nothing is patched there");
    }
    printf("%u removed\n", n - repl->n_patches);
    return go_before(repl, first, err);
}
