/* Cures of tokens that are not those that the recorded rows were computed from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "model/stop.h"
#include "workbench/diagnose/diagnose_internal.h"
#include "workbench/diagnose/recording/cure.h"

/* The token whose embedding is the recorded row of position 0; where that is not recorded, BOS; -1: none. */
static int32_t first_embedded(const struct trace *trace, const struct plan *plan)
{
    const struct config *config = &plan->model->config;
    int32_t s = plan_find(plan, LAYER_NONE, STAGE_embed), token = -1;
    struct trace_stage *stage = s >= 0 ? trace_find(trace, LAYER_NONE, STAGE_embed) : NULL;
    struct op_trial trial;
    if (!stage || !stage->recorded[0]) {
        return config->bos_id;
    }
    trial_open(&trial, plan, (uint32_t)s, trace);
    struct op_row row = trial.rows.n > 0 ? trial.rows.rows[0] : (struct op_row){0};
    for (uint32_t k = 0; trial.rows.n > 0 && k < config->vocab && token < 0 && !stop_asked(); k++) {
        row.token = (int32_t)k;
        trial_run(&trial, &plan->steps[s], &row, 1);
        token = trial_row_ratio(&trial, &row, 0) <= 1 ? (int32_t)k : -1;
    }
    trial_close(&trial);
    return token;
}

static void mark_first_step(const struct trace *trace, const struct plan *plan, struct cure *cure)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (trace_find_step(trace, &plan->steps[s])) {
            cure->changed[s] = 1;
            return;
        }
    }
}

bool cure_extra_bos(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    int32_t first = first_embedded(trace, plan), bos = plan->model->config.bos_id;
    if (first < 0 || trace->n_positions < 2) {
        return false;
    }
    bool twice = first == trace->tokens[0];
    memmove(trace->tokens + 1, trace->tokens, (trace->n_positions - 1) * sizeof(*trace->tokens));
    trace->tokens[0] = first;
    cure->name = twice ? "bos-doubled" : "bos-missing";
    snprintf(cure->text, sizeof(cure->text),
             twice ? "the rows are of a run whose tokens begin with BOS (%d) twice, and /tokens has it once; let the "
                     "tokenizer or the template add it, not both, or record the tokens that ran"
                   : "the rows are of a run whose tokens begin with %d%s, which /tokens lacks; record the tokens that "
                     "ran, that one first",
             first, first == bos ? " (BOS)" : "");
    mark_first_step(trace, plan, cure);
    return true;
}

bool cure_lacking_bos(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    int32_t bos = plan->model->config.bos_id, first = trace->tokens[0];
    if (trace->n_positions < 3) {
        return false;
    }
    bool twice = trace->tokens[1] == first;
    memmove(trace->tokens, trace->tokens + 1, (trace->n_positions - 1) * sizeof(*trace->tokens));
    trace->tokens[trace->n_positions - 1] = -1;
    cure->name = twice ? "bos-doubled" : "bos-missing";
    snprintf(cure->text, sizeof(cure->text),
             twice ? "/tokens begins with %d%s twice, and the rows are of a run with one of them; record the tokens "
                     "that ran"
                   : "the rows are of a run without the first of /tokens, %d%s; run the engine with it, or record the "
                     "tokens that ran",
             first, first == bos ? " (BOS)" : "");
    mark_first_step(trace, plan, cure);
    return true;
}

#define MOST_POSITIONS 131072 /* of a model that does not say how many it takes */

/* By how much the rows' positions are too small, as rope has rotated the first recorded row. 0: not known. */
static uint32_t missing_positions(const struct trace *trace, const struct plan *plan)
{
    uint32_t found = 0;
    for (uint32_t s = 0; s < plan->n_steps && found == 0; s++) {
        const struct step *step = &plan->steps[s];
        struct op_trial trial;
        if (step->op != OP_rope || !trace_find_step(trace, step)) {
            continue;
        }
        trial_open(&trial, plan, s, trace);
        struct op_row row = trial.rows.n > 0 ? trial.rows.rows[0] : (struct op_row){0};
        uint32_t first = row.position, declared = plan->model->config.max_positions;
        uint32_t most = declared > 0 ? declared : MOST_POSITIONS;
        for (uint32_t n = 1; trial.rows.n > 0 && n < most && found == 0 && !stop_asked(); n++) {
            row.position = first + n;
            trial_run(&trial, step, &row, 1);
            struct op_row recorded = {.position = first};
            found = trial_row_ratio(&trial, &recorded, 0) <= 1 ? n : 0;
        }
        uint32_t n_rows = trial.rows.n;
        trial_close(&trial);
        if (n_rows > 0) {
            break;
        }
    }
    return found;
}

/* The same rows, n positions later. The tokens before them are not known. */
static void move_behind(struct trace *trace, uint32_t n)
{
    uint32_t n_positions = trace->n_positions + n;
    trace->tokens = xrealloc(trace->tokens, n_positions * sizeof(*trace->tokens));
    trace->phase = xrealloc(trace->phase, n_positions);
    memmove(trace->tokens + n, trace->tokens, trace->n_positions * sizeof(*trace->tokens));
    memmove(trace->phase + n, trace->phase, trace->n_positions);
    for (uint32_t i = 0; i < n; i++) {
        trace->tokens[i] = -1;
    }
    memset(trace->phase, PHASE_PREFILL, n);
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        struct trace_stage *stage = &trace->stages[i];
        uint64_t n_values = (uint64_t)trace->n_positions * stage->width, before = (uint64_t)n * stage->width;
        stage->rows = xrealloc(stage->rows, (n_values + before) * sizeof(*stage->rows));
        memmove(stage->rows + before, stage->rows, n_values * sizeof(*stage->rows));
        stage->recorded = xrealloc(stage->recorded, n_positions);
        memmove(stage->recorded + n, stage->recorded, trace->n_positions);
        memset(stage->recorded, 0, n);
        if (stage->error) {
            stage_set_rounded(stage, n_positions, stage->arith.u_rounded);
        }
    }
    trace->n_positions = n_positions;
}

bool cure_missing_prompt(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    if (trace->phase[0] != PHASE_DECODE) {
        return false;
    }
    uint32_t n = missing_positions(trace, plan);
    for (uint32_t i = trace->n_stages; i-- > 0;) { /* a row of probabilities has a value for every position */
        if (trace->stages[i].stage == STAGE_attn_probs) {
            trace_remove_stage(trace, &trace->stages[i]);
        }
    }
    move_behind(trace, n > 0 ? n : 1);
    cure->name = "prompt-missing";
    char count[32] = "the";
    if (n > 0) {
        snprintf(count, sizeof(count), "the %u", n);
    }
    snprintf(cure->text, sizeof(cure->text),
             "the file begins with a decoded token, and %s positions before it are missing; record /tokens and /phase "
             "of the whole run, the prompt first, and give datasets of decode rows alone an attribute positions; "
             "attention is judged where the prompt's k and v rows are recorded, too",
             count);
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        cure->changed[s] = plan->steps[s].op == OP_rope && trace_find_step(trace, &plan->steps[s]);
    }
    return true;
}
