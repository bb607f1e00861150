/* assert: for scripts, which end at the first command that fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/full_comparison.h"
#include "workbench/debugger/run/run.h"

static enum status refuse(struct error *err, enum status status, const char *what)
{
    return error_set(err, status, NULL, "assert parity", ERROR_NO_OFFSET, "%s", what);
}

/* Where `diff` has no counterpart: the errors that the run introduced, once all of it ran. */
static enum status assert_nothing_introduced(const struct repl *repl, struct error *err)
{
    if (repl->n_batches == 0) {
        return refuse(err, STATUS_USAGE, "nothing ran yet, expected continue first");
    }
    if (repl->n_patches > 0) {
        return refuse(err, STATUS_USAGE, "stages are patched, expected unpatch and restart first");
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].lost) {
            return refuse(err, STATUS_DEVICE, "the engine is lost, expected set device first");
        }
    }
    if (!repl_is_uniform(repl)) {
        return refuse(err, STATUS_USAGE, "the engine changed during the run, expected restart and continue");
    }
    if (!repl_is_over(repl)) {
        return refuse(err, STATUS_UNDECIDED, "not all tokens ran, expected continue first");
    }
    return repl->n_introduced > 0 ? refuse(err, STATUS_DIVERGED, "a step introduced an error (first shows it)")
                                  : STATUS_OK;
}

static enum status assert_parity(struct repl *repl, struct error *err)
{
    const struct comparison *comparison = NULL;
    if (repl->n_sides == 0) {
        return assert_nothing_introduced(repl, err);
    }
    TRY(repl_compare(repl, &comparison, err));
    if (comparison == NULL) {
        return assert_nothing_introduced(repl, err);
    }
    if (!comparison->verdict.diverged) {
        return comparison->verdict.conclusion == CONCLUSION_UNDECIDED
                   ? error_set(err, STATUS_UNDECIDED, NULL, "assert parity", ERROR_NO_OFFSET,
                               "undecided: too few rows can be judged")
                   : STATUS_OK;
    }
    char verdict[REPL_VERDICT_SIZE], what[512];
    snprintf(what, sizeof(what), "%s%s%s", repl_verdict_text(comparison, verdict),
             comparison->n_diagnoses > 0 ? ", " : "",
             comparison->n_diagnoses > 0 ? comparison->diagnoses[0].fault : "");
    return refuse(err, STATUS_DIVERGED, what);
}

/* The worst ratio that any running side, or the golden, has had at a step. *judged: every side but the golden was
 * judged there. */
static double worst_ratio(const struct repl *repl, uint32_t step, bool *judged)
{
    double worst = 0;
    bool any = false;
    *judged = true;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct finding *finding = &repl->sides[i].summaries[step].worst;
        if (finding->state == FINDING_AUDITED && finding->rows_judged > 0 && !finding->other_precision) {
            any = true;
            worst = finding->max_ratio > worst || finding->max_ratio != finding->max_ratio ? finding->max_ratio : worst;
        } else if (repl->sides[i].source != SOURCE_GOLDEN) {
            *judged = false;
        }
    }
    *judged &= any;
    return worst;
}

static enum status assert_ratio(struct repl *repl, const struct words *words, struct error *err)
{
    uint32_t step;
    char *end, label[64];
    bool judged;
    if (words->n != 4 || strcmp(words->word[1], "ratio") != 0 || strcmp(words->word[2], "<") != 0) {
        return error_set(err, STATUS_USAGE, NULL, "assert", ERROR_NO_OFFSET,
                         "expected assert parity, or assert STAGE[@LAYER] ratio < X");
    }
    bool one_layer;
    TRY(word_step(repl, words->word[0], &step, &one_layer, err));
    double limit = strtod(words->word[3], &end);
    if (end == words->word[3] || *end != '\0') {
        return error_set(err, STATUS_USAGE, NULL, "assert", ERROR_NO_OFFSET, "\"%s\", expected a number",
                         words->word[3]);
    }
    if (repl->n_patches > 0) {
        return error_set(err, STATUS_USAGE, NULL, "assert", ERROR_NO_OFFSET,
                         "stages are patched, expected unpatch and restart first");
    }
    if (!repl_is_uniform(repl)) {
        return error_set(err, STATUS_USAGE, NULL, "assert", ERROR_NO_OFFSET,
                         "the engine changed during the run, expected restart and continue");
    }
    uint32_t n_judged = 0, n_unjudged = 0;
    for (uint32_t s = one_layer ? step : 0; s < (one_layer ? step + 1 : repl->plan->n_steps); s++) {
        if (repl->plan->steps[s].stage != repl->plan->steps[step].stage) {
            continue;
        }
        TRY(repl_ensure_captured(repl, s, err));
        double worst = worst_ratio(repl, s, &judged);
        n_judged += judged;
        n_unjudged += !judged;
        if (!(worst < limit)) {
            return error_set(err, STATUS_DIVERGED, NULL, "assert", ERROR_NO_OFFSET,
                             "%s: the worst ratio is %.4g, expected below %s", step_label(&repl->plan->steps[s], label),
                             worst, words->word[3]);
        }
    }
    return n_judged > 0 && n_unjudged == 0
               ? STATUS_OK
               : error_set(err, STATUS_UNDECIDED, NULL, "assert", ERROR_NO_OFFSET,
                           "%s was not judged in every layer and side so far", words->word[0]);
}

enum status do_assert(struct repl *repl, const struct words *words, struct error *err)
{
    bool parity = words->n == 1 && strcmp(words->word[0], "parity") == 0;
    enum status status = parity ? assert_parity(repl, err) : assert_ratio(repl, words, err);
    repl->failed_assert = repl->failed_assert == STATUS_OK ? status : repl->failed_assert;
    return status;
}
