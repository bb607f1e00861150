/* report: a page of the run. Where `diff` would run the same, it is the page that diff writes; else it is of what ran.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/debugger/command.h"
#include "workbench/debugger/run/full_comparison.h"
#include "workbench/pages/pages.h"
#include "workbench/session/compare_run.h"
#include "workbench/session/step_kernel.h"
#include "workbench/trace/json_file.h"

/* FILE.html or FILE.md. */
static enum status choose_page(const char *path, struct page_files *files, struct error *err)
{
    const char *dot = strrchr(path, '.');
    *files = (struct page_files){0};
    if (dot != NULL && strcmp(dot, ".html") == 0) {
        files->html = path;
    } else if (dot != NULL && strcmp(dot, ".md") == 0) {
        files->md = path;
    } else {
        return error_set(err, STATUS_USAGE, path, NULL, ERROR_NO_OFFSET, "expected a name that ends in .html or .md");
    }
    return STATUS_OK;
}

/* One past the last position of which a step ran. */
static uint32_t positions_begun(const struct repl *repl)
{
    bool any = repl->n_rows > 0 && repl->next > 0;
    return repl->n_rows == 0 ? 0 : any ? repl->first + repl->n_rows : repl->first;
}

/* Hides the rows of the current batch of a stage that did not run in it yet. */
static void hide_ahead(const struct repl *repl, const struct trace *trace, struct trace_stage *stage)
{
    int32_t step = plan_find(repl->plan, stage->layer, stage->stage);
    for (uint32_t p = repl->first; step >= (int32_t)repl->next && p < trace->n_positions; p++) {
        stage->recorded[p] = 0;
    }
}

/* Adds a copy of the first rows of a side. A running side's choices are no rows of its run. */
static void add_rows(const struct repl *repl, struct comparison *comparison, const struct repl_side *side,
                     uint32_t n_positions)
{
    struct trace copy;
    trace_copy(&copy, side->trace);
    copy.n_positions = n_positions < copy.n_positions ? n_positions : copy.n_positions;
    for (uint32_t i = copy.n_stages; i-- > 0;) {
        struct trace_stage *stage = &copy.stages[i];
        if (side->backend != NULL) {
            hide_ahead(repl, &copy, stage);
        }
        stage->n_recorded = 0;
        for (uint32_t p = 0; p < copy.n_positions; p++) {
            stage->n_recorded += stage->recorded[p];
        }
        if (side->backend != NULL && (stage->stage == STAGE_sample_token || stage->n_recorded == 0)) {
            trace_remove_stage(&copy, stage);
        }
    }
    comparison_add(comparison, side->source, &copy);
}

/* Says what a page of these rows may show that diff would not. */
static void add_notes(const struct repl *repl, struct comparison *comparison, uint32_t n_positions)
{
    char label[64];
    comparison_note(comparison, "of what ran at the prompt: %u of %u positions", n_positions, repl->capacity);
    if (!repl_is_uniform(repl)) {
        comparison_note(comparison, "some rows are of an earlier engine or setting: it changed during the run");
    }
    for (uint32_t i = 0; i < repl->n_patches; i++) {
        comparison_note(comparison, "%s is patched: what differs there is the patch",
                        step_label(&repl->plan->steps[repl->patches[i].step], label));
    }
}

/* Judges what ran. */
static enum status compare_rows(struct repl *repl, struct comparison *comparison, struct error *err)
{
    const enum source order[] = {SOURCE_ENGINE, SOURCE_TRACE, SOURCE_REFERENCE, SOURCE_GOLDEN};
    uint32_t n_positions = positions_begun(repl);
    bool same_weights = true;
    if (n_positions == 0) {
        return error_set(err, STATUS_USAGE, NULL, "report", ERROR_NO_OFFSET,
                         "nothing ran yet, expected until diverge, step or continue first");
    }
    struct repl_side *golden = repl_side_of(repl, SOURCE_GOLDEN);
    if (golden != NULL) {
        TRY(compare_check_golden(repl->session, comparison, golden->trace, NULL, &same_weights, err));
    }
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const struct repl_side *side = repl_side_of(repl, order[i]);
        if (side != NULL) {
            add_rows(repl, comparison, side, n_positions);
        }
    }
    add_notes(repl, comparison, n_positions);
    comparison_judge(comparison, same_weights, NULL);
    return stop_check(err);
}

static enum status write_page(const struct repl *repl, struct comparison *comparison, const struct page_files *files,
                              struct error *err)
{
    bool engine = repl->session->on[SOURCE_ENGINE];
    free(comparison->run.kernel);
    comparison->run.kernel = NULL;
    step_kernel_describe(comparison, engine ? &repl->session->backend[SOURCE_ENGINE] : NULL);
    const struct report report = comparison_view(comparison);
    json_t *document = report_json(&report);
    if (files->html != NULL) {
        json_put(document, "details", page_details(&report));
    }
    enum status status = pages_write(document, files, err);
    json_decref(document);
    return status;
}

enum status do_report(struct repl *repl, const struct words *words, struct error *err)
{
    struct page_files files;
    const struct comparison *same = NULL;
    struct comparison own = {.plan = repl->plan};
    TRY(choose_page(words->word[0], &files, err));
    TRY(repl_compare(repl, &same, err));
    enum status status = same != NULL ? STATUS_OK : compare_rows(repl, &own, err);
    if (status == STATUS_OK) {
        repl->python_used = true;
        status = write_page(repl, same != NULL ? repl->comparison : &own, &files, err);
    }
    if (same == NULL) {
        comparison_free(&own);
    }
    if (status == STATUS_OK) {
        printf("%s: %s\n", words->word[0], same != NULL ? "the page of diff" : "a page of what ran");
    }
    return status;
}
