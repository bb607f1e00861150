/* The token that each side chooses after a batch, judged like the stages of the plan: no backend runs that step, and
 * what is wrong with a choice (padding that is not left out) is in no stage before it. */
#include "model/stop.h"
#include "workbench/debugger/repl.h"

void repl_plan_samples(struct repl *repl)
{
    const struct judged samples = {
        .samples = true, .n_positions = 1, .masked_id = config_masked_id(&repl->session->model.config)};
    plan_copy_judged(&repl->judged, repl->plan, &samples);
    ASSERT(repl->judged.steps[repl_sample_step(repl)].stage == STAGE_sample_token);
}

uint32_t repl_sample_step(const struct repl *repl)
{
    return repl->judged.n_steps - 1;
}

/* Whether a token is chosen after the current batch: not within a prompt. */
static bool chooses(const struct repl *repl)
{
    uint32_t next = repl->first + repl->n_rows;
    return repl->next == repl->plan->n_steps && (next >= repl->n_known || repl->phase[next] == PHASE_DECODE);
}

/* What the side's logits make the likeliest; with TAMPER_PAD_CHOSEN padding may be. */
static void choose(const struct repl *repl, struct repl_side *side, uint32_t position)
{
    const struct trace_stage *logits = trace_find(side->trace, LAYER_NONE, STAGE_logits_final);
    const float *row = logits != NULL ? trace_row(logits, position) : NULL;
    if (row == NULL) {
        return;
    }
    int32_t masked = session_chooser_masks(repl->session, side->backend);
    float token = (float)sample_greedy(row, logits->width, masked);
    trace_set_row(side->trace, trace_add(side->trace, LAYER_NONE, STAGE_sample_token, 1), position, &token);
}

/* The choice at one position, with those at others hidden. */
static struct finding judge_choice(const struct repl *repl, const struct repl_side *side, uint32_t position)
{
    struct trace_stage *stage = trace_find(side->trace, LAYER_NONE, STAGE_sample_token);
    if (stage == NULL || position >= side->trace->n_positions || trace_row(stage, position) == NULL) {
        return (struct finding){.state = FINDING_MISSING};
    }
    struct trace_stage whole;
    trace_hide_others(side->trace, stage, position, 1, &whole);
    struct finding finding = audit_step(&repl->judged, repl_sample_step(repl), side->trace);
    trace_show_all(stage, &whole);
    return finding;
}

void repl_judge_choice(struct repl *repl, uint32_t batch)
{
    uint32_t position = repl->batches[batch].first + repl->batches[batch].n_rows - 1;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        struct finding finding = judge_choice(repl, &repl->sides[i], position);
        if (finding_failed(&finding) && !stop_asked()) {
            repl_add_finding(repl, batch, i, repl_sample_step(repl), &finding);
        }
    }
}

void repl_choose(struct repl *repl)
{
    if (!chooses(repl)) {
        return;
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl_runs(&repl->sides[i])) {
            choose(repl, &repl->sides[i], repl->first + repl->n_rows - 1);
        }
    }
    repl_judge_choice(repl, repl->n_batches - 1);
}

void repl_forget_choices(const struct repl *repl, const struct repl_side *side)
{
    struct trace_stage *stage = trace_find(side->trace, LAYER_NONE, STAGE_sample_token);
    uint32_t end = repl->first + repl->n_rows, done = repl->next == repl->plan->n_steps;
    for (uint32_t p = end > 0 && !done ? end - 1 : end; stage != NULL && p < side->trace->n_positions; p++) {
        stage->n_recorded -= stage->recorded[p];
        stage->recorded[p] = 0;
    }
}

bool repl_choice_failed(const struct repl *repl)
{
    for (uint32_t i = repl->n_introduced; i-- > 0 && repl->introduced[i].batch + 1 == repl->n_batches;) {
        if (repl->introduced[i].step == repl_sample_step(repl)) {
            return true;
        }
    }
    return false;
}
