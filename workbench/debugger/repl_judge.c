/* What ran is judged: the audit of the current batch's rows, step by step, and how far they are from the golden's. */
#include "workbench/debugger/repl.h"

/* Sums of squares of (side - golden) and of the golden, over the current batch's rows that both hold. false: none. */
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

/* The audit of the current batch's rows of one step alone: the other rows of its output are hidden from it, its inputs
 * are all there. */
static struct finding judge_batch(const struct repl *repl, const struct repl_side *side, uint32_t step)
{
    struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    if (stage == NULL || !repl_reads(repl, step)) {
        return (struct finding){.state = FINDING_MISSING};
    }
    struct trace_stage whole;
    trace_hide_others(side->trace, stage, repl->first, repl->n_rows, &whole);
    struct finding finding = audit_step(repl->plan, step, side->trace);
    trace_show_all(stage, &whole);
    return finding;
}

/* How far a side is from the golden at a step, over the current batch's rows. */
static void compare_step(struct repl *repl, const struct repl_side *side, uint32_t step, struct repl_judged *judged)
{
    const struct repl_side *golden = repl_side_of(repl, SOURCE_GOLDEN);
    const struct trace_stage *stage = trace_find_step(side->trace, &repl->plan->steps[step]);
    const struct trace_stage *wanted = golden != NULL ? trace_find_step(golden->trace, &repl->plan->steps[step]) : NULL;
    if (stage != NULL && wanted != NULL) {
        judged->difference = judged->size = 0;
        judged->comparable = compare_rows(repl, stage, wanted, &judged->difference, &judged->size);
    }
}

void repl_add_finding(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step, const struct finding *finding)
{
    repl->introduced = xrealloc(repl->introduced, (repl->n_introduced + 1) * sizeof(*repl->introduced));
    repl->introduced[repl->n_introduced++] = (struct repl_introduced){step, side, batch, *finding};
}

void repl_add_introduced(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step)
{
    const struct finding *finding = &repl_judged_of(repl, batch, side, step)->finding;
    if (finding_failed(finding)) {
        repl_add_finding(repl, batch, side, step, finding);
    }
}

void repl_judge(struct repl *repl, uint32_t batch, uint32_t side_index, uint32_t step)
{
    struct repl_side *side = &repl->sides[side_index];
    struct repl_judged *judged = repl_judged_of(repl, batch, side_index, step);
    *judged = (struct repl_judged){.finding = judge_batch(repl, side, step)};
    if (side == repl_leader(repl) && repl_is_patched(repl, step)) {
        judged->finding = (struct finding){.state = FINDING_AUDITED,
                                           .rms = judged->finding.rms,
                                           .max_abs = judged->finding.max_abs,
                                           .nonfinite = judged->finding.nonfinite}; /* ours, not the op's: not judged */
    }
    compare_step(repl, side, step, judged);
}

void repl_judge_again(struct repl *repl, uint32_t first, uint32_t last)
{
    uint32_t position = repl->first, n_rows = repl->n_rows;
    repl->n_introduced = 0;
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        uint32_t end = b + 1 < repl->n_batches ? repl->plan->n_steps : repl->next;
        repl->first = repl->batches[b].first;
        repl->n_rows = repl->batches[b].n_rows;
        for (uint32_t s = 0; s < end; s++) {
            for (uint32_t i = 0; i < repl->n_sides; i++) {
                if (repl->sides[i].backend == NULL || (s >= first && s < last)) {
                    repl_judge(repl, b, i, s);
                } else {
                    compare_step(repl, &repl->sides[i], s, repl_judged_of(repl, b, i, s));
                }
                repl_add_introduced(repl, b, i, s);
            }
        }
        if (end == repl->plan->n_steps) {
            repl_judge_choice(repl, b);
        }
    }
    repl->first = position;
    repl->n_rows = n_rows;
    repl_fold_all(repl);
}
