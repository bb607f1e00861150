#include "workbench/debugger/run/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "model/stop.h"
#include "workbench/audit/weights/golden_weights.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/run.h"

/* Adds up the squares of (side - golden) and of the golden, over the current batch's rows that both hold. false: there
 * is no such row. */
static bool compare_rows(const struct repl *repl, const struct trace_stage *stage, const struct trace_stage *golden,
                         double *difference, double *size)
{
    uint32_t n_golden = repl->golden->n_positions;
    bool common = false;
    for (uint32_t p = repl->first; p < repl->first + repl->n_rows && p < n_golden; p++) {
        const float *x = trace_row(stage, p), *y = trace_row(golden, p);
        common = common || (x != NULL && y != NULL);
        for (uint32_t i = 0; x != NULL && y != NULL && i < stage->width; i++) {
            *difference += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
            *size += (double)y[i] * y[i];
        }
    }
    return common;
}

enum { UNKNOWN, ROUNDED, FAILS }; /* of repl->golden_steps */

/* Whether the golden says that it was made with MODEL's weights. */
static bool same_weights(const struct repl *repl)
{
    char weights[65], config[65];
    return model_digests(&repl->session->model, weights, config, NULL) == STATUS_OK &&
           strcasecmp(repl->golden->weights_sha256, weights) == 0;
}

/* Whether a failing step of the golden only shows that its weights are MODEL's in another precision. Asked once a step,
 * over all of the golden's rows. */
static bool golden_is_rounded(struct repl *repl, uint32_t step, const struct finding *finding)
{
    char why[160];
    if (repl->golden_steps == NULL) {
        repl->golden_steps = xcalloc(repl->plan->n_steps, 1);
        memset(repl->golden_steps, same_weights(repl) ? FAILS : UNKNOWN, repl->plan->n_steps);
    }
    if (repl->golden_steps[step] == UNKNOWN) {
        bool other = golden_step_judge(repl->plan, step, repl->golden, finding, why) == GOLDEN_STEP_OTHER;
        if (stop_asked()) {
            return false; /* the caller asks, too */
        }
        repl->golden_steps[step] = other ? FAILS : ROUNDED;
    }
    return repl->golden_steps[step] == ROUNDED;
}

struct finding repl_audit_step(struct repl *repl, const struct repl_side *side, uint32_t step)
{
    struct finding finding = audit_step(repl->plan, step, side->trace);
    if (side->source == SOURCE_GOLDEN && finding_failed(&finding)) {
        finding.other_precision = golden_is_rounded(repl, step, &finding);
    }
    return finding;
}

/* Audits the current batch's rows of one step. Other rows of its output are hidden from the audit; all inputs are
 * visible. */
static struct finding audit_batch(struct repl *repl, const struct repl_side *side, uint32_t step)
{
    struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    if (stage == NULL || !repl_is_captured(repl, step)) {
        return (struct finding){.state = FINDING_MISSING};
    }
    struct trace_stage whole;
    trace_hide_others(side->trace, stage, repl->first, repl->n_rows, &whole);
    struct finding finding = audit_step(repl->plan, step, side->trace);
    trace_show_all(stage, &whole);
    if (side->source == SOURCE_GOLDEN && finding_failed(&finding)) {
        finding.other_precision = golden_is_rounded(repl, step, &finding);
    }
    return finding;
}

/* Compares a side with the golden at a step, over the current batch's rows. */
static void compare_step(struct repl *repl, const struct repl_side *side, uint32_t step,
                         struct repl_judgement *judgement)
{
    const struct repl_side *golden = repl_side_of(repl, SOURCE_GOLDEN);
    const struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    const struct trace_stage *wanted = golden != NULL ? trace_find_step(golden->trace, &repl->plan->steps[step]) : NULL;
    if (stage != NULL && wanted != NULL) {
        judgement->difference = judgement->size = 0;
        judgement->comparable = compare_rows(repl, stage, wanted, &judgement->difference, &judgement->size);
    }
}

void repl_add_introduced(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step, const struct finding *finding)
{
    repl->introduced = xrealloc(repl->introduced, (repl->n_introduced + 1) * sizeof(*repl->introduced));
    repl->introduced[repl->n_introduced++] = (struct repl_introduced){step, side, batch, *finding};
}

void repl_add_introduced_if_failed(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step)
{
    const struct finding *finding = &repl_judgement_of(repl, batch, side, step)->finding;
    if (finding_failed(finding)) {
        repl_add_introduced(repl, batch, side, step, finding);
    }
}

void repl_judge_step(struct repl *repl, uint32_t batch, uint32_t side_index, uint32_t step)
{
    struct repl_side *side = &repl->sides[side_index];
    struct repl_judgement *judgement = repl_judgement_of(repl, batch, side_index, step);
    *judgement = (struct repl_judgement){.finding = audit_batch(repl, side, step)};
    if (side == repl_leader(repl) && repl_is_patched(repl, step)) {
        /* These rows are the user's, not the op's: measured, but not judged. */
        judgement->finding = (struct finding){.state = FINDING_AUDITED,
                                              .rms = judgement->finding.rms,
                                              .max_abs = judgement->finding.max_abs,
                                              .nonfinite = judgement->finding.nonfinite};
    }
    compare_step(repl, side, step, judgement);
}

struct repl_judgement *repl_judgement_of(const struct repl *repl, uint32_t batch, uint32_t side, uint32_t step)
{
    ASSERT(batch < repl->n_batches);
    return &repl->batches[batch].judgements[(uint64_t)side * repl->plan->n_steps + step];
}

void repl_update_summary(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step)
{
    const struct repl_judgement *judgement = repl_judgement_of(repl, batch, side, step);
    struct repl_summary *summary = &repl->sides[side].summaries[step];
    summary->latest = judgement->finding;
    if (summary->worst.state == FINDING_MISSING || !(summary->latest.max_ratio <= summary->worst.max_ratio)) {
        summary->worst = summary->latest;
    }
    summary->latest_relative = NAN;
    if (judgement->comparable) {
        summary->latest_relative = judgement->difference == 0 ? 0 : sqrt(judgement->difference / judgement->size);
        summary->difference += judgement->difference;
        summary->size += judgement->size;
    }
}

struct repl_summary repl_no_summary(void)
{
    return (struct repl_summary){
        .latest = {.state = FINDING_MISSING}, .worst = {.state = FINDING_MISSING}, .latest_relative = NAN};
}

void repl_summarize(struct repl *repl)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
            repl->sides[i].summaries[s] = repl_no_summary();
            for (uint32_t b = 0; b < repl->n_batches; b++) {
                if (b + 1 < repl->n_batches || s < repl->next) {
                    repl_update_summary(repl, b, i, s);
                }
            }
        }
    }
}

void repl_rejudge(struct repl *repl, uint32_t first, uint32_t last)
{
    uint32_t first_position = repl->first, n_rows = repl->n_rows; /* put back at the end */
    repl->n_introduced = 0;
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        uint32_t end = b + 1 < repl->n_batches ? repl->plan->n_steps : repl->next;
        repl->first = repl->batches[b].first;
        repl->n_rows = repl->batches[b].n_rows;
        for (uint32_t s = 0; s < end; s++) {
            for (uint32_t i = 0; i < repl->n_sides; i++) {
                if (repl->sides[i].backend == NULL || (s >= first && s < last)) {
                    repl_judge_step(repl, b, i, s);
                } else {
                    compare_step(repl, &repl->sides[i], s, repl_judgement_of(repl, b, i, s));
                }
                repl_add_introduced_if_failed(repl, b, i, s);
            }
        }
        if (end == repl->plan->n_steps) {
            repl_judge_choices(repl, b);
        }
    }
    repl->first = first_position;
    repl->n_rows = n_rows;
    repl_summarize(repl);
}
