/* Chooses each side's next token and judges the choice like a stage. No backend runs that step, and no stage before it
 * shows a bug in it, such as padding that is not masked. */
#include "model/stop.h"
#include "workbench/debugger/run/judge.h"

void repl_init_judged_plan(struct repl *repl)
{
    const struct judged samples = {
        .samples = true, .n_positions = 1, .masked_id = config_masked_id(&repl->session->model.config)};
    plan_copy_judged(&repl->judged_plan, repl->plan, &samples);
    ASSERT(repl->judged_plan.steps[repl_sample_step(repl)].stage == STAGE_sample_token);
}

uint32_t repl_sample_step(const struct repl *repl)
{
    return repl->judged_plan.n_steps - 1;
}

/* Whether a token is chosen at the end of the current batch: not within a prompt. */
static bool ends_with_choice(const struct repl *repl)
{
    uint32_t next = repl->first + repl->n_rows;
    return repl->next == repl->plan->n_steps && (next >= repl->n_known || repl->phase[next] == PHASE_DECODE);
}

/* Records the likeliest token by the side's logits. The engine may be told to choose masked padding
 * (TAMPER_PAD_CHOSEN). */
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

/* Judges the choice at one position; choices at other positions are hidden from the audit. */
static struct finding judge_choice(const struct repl *repl, const struct repl_side *side, uint32_t position)
{
    struct trace_stage *stage = trace_find(side->trace, LAYER_NONE, STAGE_sample_token);
    if (stage == NULL || position >= side->trace->n_positions || trace_row(stage, position) == NULL) {
        return (struct finding){.state = FINDING_MISSING};
    }
    struct trace_stage whole;
    trace_hide_others(side->trace, stage, position, 1, &whole);
    struct finding finding = audit_step(&repl->judged_plan, repl_sample_step(repl), side->trace);
    trace_show_all(stage, &whole);
    return finding;
}

void repl_judge_choices(struct repl *repl, uint32_t batch)
{
    uint32_t position = repl->batches[batch].first + repl->batches[batch].n_rows - 1;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        struct finding finding = judge_choice(repl, &repl->sides[i], position);
        if (finding_failed(&finding) && !stop_asked()) {
            repl_add_introduced(repl, batch, i, repl_sample_step(repl), &finding);
        }
    }
}

void repl_choose_tokens(struct repl *repl)
{
    if (!ends_with_choice(repl)) {
        return;
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl_side_runs(&repl->sides[i])) {
            choose(repl, &repl->sides[i], repl->first + repl->n_rows - 1);
        }
    }
    repl_judge_choices(repl, repl->n_batches - 1);
}

void repl_drop_choices(const struct repl *repl, const struct repl_side *side)
{
    struct trace_stage *stage = trace_find(side->trace, LAYER_NONE, STAGE_sample_token);
    bool done = repl->next == repl->plan->n_steps; /* then the choice at the batch's last position stays */
    uint32_t end = repl->first + repl->n_rows, first = end > 0 && !done ? end - 1 : end;
    for (uint32_t p = first; stage != NULL && p < side->trace->n_positions; p++) {
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
