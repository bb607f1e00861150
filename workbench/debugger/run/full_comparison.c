#include "workbench/debugger/run/full_comparison.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/python/python.h"
#include "workbench/session/compare_run.h"
#include "workbench/session/step_kernel.h"

void repl_forget_comparison(struct repl *repl)
{
    if (repl->comparison != NULL) {
        struct repl_side *side = repl_side_of(repl, SOURCE_TRACE);
        if (side != NULL) {
            side->trace = repl->foreign; /* its copy in the comparison is freed */
        }
        comparison_free(repl->comparison);
        free(repl->comparison);
        repl->comparison = NULL;
    }
}

bool repl_is_uniform(const struct repl *repl)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        for (uint32_t b = 0; b < repl->n_batches; b++) {
            const struct repl_batch *batch = &repl->batches[b];
            if (repl->sides[i].backend != NULL && (batch->version[i] != repl->sides[i].version || batch->from[i] > 0)) {
                return false;
            }
        }
    }
    return true;
}

static bool has_counterpart(struct repl *repl)
{
    bool has_file = repl_side_of(repl, SOURCE_GOLDEN) != NULL || repl_side_of(repl, SOURCE_TRACE) != NULL;
    if (!has_file || repl->n_prompt > 0 || repl->n_patches > 0 || repl->captured != NULL || repl->settings.no_fuse) {
        return false;
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].lost) {
            return false;
        }
    }
    return repl_is_uniform(repl);
}

/* The golden's own sampling, as `diff` takes it. */
static void take_sampling(struct session *session, const struct trace *golden)
{
    session->sampling = golden->sampling;
    session->samples = trace_find(golden, LAYER_NONE, STAGE_sample_probs) != NULL ||
                       trace_find(golden, LAYER_NONE, STAGE_sample_token) != NULL;
}

/* Adds a copy of a trace that was read. */
static void add_copy(struct comparison *comparison, enum source source, const struct trace *trace)
{
    struct trace copy;
    trace_copy(&copy, trace);
    comparison_add(comparison, source, &copy);
}

/* Adds the foreign trace, or the engine; and the reference. tokens: of the run. */
static enum status fill_sides(struct repl *repl, struct comparison *comparison, const struct trace *tokens,
                              struct error *err)
{
    bool same;
    if (repl->foreign != NULL) {
        add_copy(comparison, SOURCE_TRACE, repl->foreign);
        TRY(comparison_check_digests(comparison, &repl->session->model, comparison->list[0], &same, err));
    }
    TRY(compare_record(repl->session, comparison, SOURCE_ENGINE, tokens, true, err));
    return compare_record(repl->session, comparison, SOURCE_REFERENCE, tokens, true, err);
}

static enum status fill(struct repl *repl, struct comparison *comparison, bool *same_weights, struct error *err)
{
    struct session *session = repl->session;
    struct sampling sampling = session->sampling;
    bool samples = session->samples;
    const struct trace *tokens = repl->golden != NULL ? repl->golden : repl->foreign;
    *same_weights = true;
    if (repl->golden != NULL) {
        TRY(compare_check_golden(session, comparison, repl->golden, NULL, same_weights, err));
    }
    take_sampling(session, tokens);
    enum status status = fill_sides(repl, comparison, tokens, err);
    session->sampling = sampling;
    session->samples = samples;
    if (status == STATUS_OK && repl->golden != NULL) {
        add_copy(comparison, SOURCE_GOLDEN, repl->golden);
    }
    return status;
}

/* The kernel and the token's text, for the answer. */
static void describe(struct repl *repl, struct comparison *comparison)
{
    const struct introduced *first = verdict_first(&comparison->verdict);
    const struct finding *finding = audit_finding(&comparison->audit, first->step, first->trace);
    const struct trace *trace = comparison->list[first->trace];
    comparison->run.token_text = python_token_text(&repl->session->model, trace->tokens[finding->position]);
    step_kernel_find_first(comparison,
                           repl->session->on[SOURCE_ENGINE] ? &repl->session->backend[SOURCE_ENGINE] : NULL);
}

enum status repl_compare(struct repl *repl, const struct comparison **comparison, struct error *err)
{
    const struct repl_side *leader = repl_leader(repl);
    *comparison = NULL;
    if (!has_counterpart(repl)) {
        return STATUS_OK;
    }
    if (repl->comparison == NULL || repl->compared_version != leader->version) {
        bool same_weights = false;
        struct comparison *made = xcalloc(1, sizeof(*made));
        made->plan = repl->plan;
        made->parts.at_prompt = true;
        made->blind_spots = true;
        repl_forget_comparison(repl);
        repl->comparison = made;
        repl->compared_version = leader->version;
        enum status status = fill(repl, made, &same_weights, err);
        for (uint32_t i = 0; i < repl->n_sides; i++) {
            repl->sides[i].behind = true;
        }
        if (status == STATUS_OK) {
            comparison_judge(made, same_weights, NULL);
            status = stop_check(err);
        }
        if (status != STATUS_OK) {
            repl_forget_comparison(repl);
            return status;
        }
        if (made->verdict.n_introduced > 0) {
            describe(repl, made);
        }
    }
    *comparison = repl->comparison;
    return STATUS_OK;
}

const char *repl_diverged_text(const char *source, const struct step *step, char text[REPL_VERDICT_SIZE])
{
    char label[64];
    snprintf(text, REPL_VERDICT_SIZE, "diverged: %s, %s", source, step_label(step, label));
    return text;
}

const char *repl_verdict_text(const struct comparison *comparison, char text[REPL_VERDICT_SIZE])
{
    const struct verdict *verdict = &comparison->verdict;
    if (!verdict->diverged) {
        return strcpy(text, conclusion_name(verdict->conclusion));
    }
    const struct introduced *first = verdict_first(verdict);
    return repl_diverged_text(verdict_source(verdict->outlier, first->source), &comparison->plan->steps[first->step],
                              text);
}

/* The prompt's step of the same layer and stage; -1: none. */
static int32_t own_step(const struct repl *repl, const struct step *step)
{
    return plan_find(&repl->judged_plan, step->layer, step->stage);
}

bool repl_first_divergence(const struct repl *repl, const struct comparison *comparison, uint32_t *step,
                           uint32_t *position)
{
    if (!comparison->verdict.diverged || comparison->verdict.n_introduced == 0) {
        return false;
    }
    const struct introduced *first = verdict_first(&comparison->verdict);
    int32_t own = own_step(repl, &comparison->plan->steps[first->step]);
    *step = (uint32_t)own;
    *position = audit_finding(&comparison->audit, first->step, first->trace)->position;
    return own >= 0;
}

bool repl_is_introduced(const struct repl *repl, const struct comparison *comparison,
                        const struct repl_introduced *introduced)
{
    for (uint32_t i = 0; i < comparison->verdict.n_introduced; i++) {
        const struct introduced *at = &comparison->verdict.introduced[i];
        if (at->source == repl->sides[introduced->side].source &&
            own_step(repl, &comparison->plan->steps[at->step]) == (int32_t)introduced->step) {
            return true;
        }
    }
    return false;
}
