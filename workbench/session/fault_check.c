#include "workbench/session/fault_check.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"

/* What is run on a model without a golden. */
#define PROMPT_TOKENS 10
#define DECODED_TOKENS 6

static void make_tokens(struct trace *tokens)
{
    int32_t ids[PROMPT_TOKENS + DECODED_TOKENS];
    uint8_t phase[PROMPT_TOKENS + DECODED_TOKENS];
    for (int32_t i = 0; i < PROMPT_TOKENS + DECODED_TOKENS; i++) {
        ids[i] = (7 + 11 * i) % 29;
        phase[i] = i < PROMPT_TOKENS ? PHASE_PREFILL : PHASE_DECODE;
    }
    trace_init(tokens, "made-up tokens", "", 0, PROMPT_TOKENS + DECODED_TOKENS, ids, phase);
}

/* Runs the tokens on the engine, with the faults planted in it, and judges its trace. The reference does not run: the
 * audit computes the reference's ops. */
static enum status judge_engine(struct fault_check *check, struct comparison *comparison, struct error *err)
{
    struct trace trace;
    *comparison = (struct comparison){.plan = &check->session->plan};
    check->session->samples = true;
    const struct record_options options = {
        .n_positions = check->tokens.n_positions, .tokens = check->tokens.tokens, .phase = check->tokens.phase};
    TRY(session_record(check->session, SOURCE_ENGINE, &options, &trace, err));
    comparison_add(comparison, SOURCE_ENGINE, &trace);
    comparison_judge(comparison, true, NULL);
    enum status status = stop_check(err);
    if (status != STATUS_OK) {
        comparison_free(comparison);
    }
    return status;
}

/* Opens a session. It takes over the engine of the one before it; the first opens an engine. */
static enum status open_session(struct session *session, struct session *before, const char *model, const char *device,
                                const struct trace *tokens, struct error *err)
{
    bool takes = before && before->on[SOURCE_ENGINE];
    const struct session_options options = {.engine = !takes, .device = device, .max_positions = tokens->n_positions};
    TRY(session_open(session, model, &options, err));
    enum status status = STATUS_OK;
    if (takes) {
        status = session_take_engine(session, before, &options, err);
    }
    if (status == STATUS_OK && tokens->n_stages > 0) {
        status = trace_check_plan(tokens, &session->plan, err);
    }
    if (status != STATUS_OK) {
        session_close(session);
    }
    return status;
}

enum status fault_check_open(struct fault_check *check, const char *model, const char *golden, const char *device,
                             struct error *err)
{
    struct trace tokens = {0};
    omp_set_num_threads(1); /* the models are small; threads would only wait for each other */
    if (golden) {
        TRY(trace_read(&tokens, golden, err));
    } else {
        make_tokens(&tokens);
    }
    struct session *session = xcalloc(1, sizeof(*session)); /* must not move: the engine borrows its plan */
    enum status status = open_session(session, check->session, model, device, &tokens, err);
    fault_check_close(check);
    if (status != STATUS_OK) {
        trace_free(&tokens);
        free(session);
        return status;
    }
    check->session = session;
    check->tokens = tokens;
    return judge_engine(check, &check->healthy, err);
}

void fault_check_close(struct fault_check *check)
{
    if (!check->session) {
        return;
    }
    comparison_free(&check->healthy);
    trace_free(&check->tokens);
    session_close(check->session);
    free(check->session);
    *check = (struct fault_check){0};
}

static bool runs_in_one_batch(const struct fault_check *check)
{
    uint32_t n_prompt = 0;
    while (n_prompt < check->tokens.n_positions && check->tokens.phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    return n_prompt <= check->session->backend[SOURCE_ENGINE].max_rows;
}

enum status fault_check_applies(const struct fault_check *check, const char *text, bool *applies, int64_t *planted,
                                struct error *err)
{
    struct fault_request request;
    const struct plan *plan = &check->session->plan;
    TRY(fault_parse(&request, text, err));
    struct plan copy;
    int32_t first;
    plan_copy(&copy, plan);
    *applies = fault_plant(&request, &copy, &first, NULL) == STATUS_OK;
    *planted = -1;
    /* It shows at the first edited step, or at a later one: an overflow or a window needs rows that reach it. Healthy
     * rows decide. */
    const struct plan *judged = check->healthy.plan;
    for (uint32_t i = 0; *applies && first >= 0 && !request.fault->silent && i < judged->n_steps && *planted < 0; i++) {
        bool there = request.fault->shows_at
                         ? judged->steps[i].stage == request.fault->shows_at
                         : i < plan->n_steps && memcmp(&copy.steps[i], &plan->steps[i], sizeof(copy.steps[i])) != 0;
        if (there && fault_shows(request.fault, judged, i, check->healthy.list[0])) {
            *planted = i;
        }
    }
    *applies = *applies && (first < 0 || *planted >= 0 || request.fault->silent);
    *applies &= !request.fault->in_chunks || runs_in_one_batch(check); /* there it is silent */
    plan_free(&copy);
    return STATUS_OK;
}

const char *fault_check_name(const struct fault_request *request)
{
    bool one_layer = request->layer != LAYER_NONE;
    return one_layer && request->fault->alone ? request->fault->alone : request->fault->name;
}

/* Whether a diagnosis names the fault, and is as sure of it as its row says. */
static bool names(const struct diagnosis *diagnosis, const struct fault_request *request)
{
    return strcmp(diagnosis->fault, fault_check_name(request)) == 0 &&
           diagnosis->how == fault_named_how(request->fault);
}

/* Whether step `planted` introduces an error in the phase where the fault shows. */
static bool shows_at(const struct fault *fault, int64_t planted, const struct comparison *judged)
{
    for (uint32_t i = 0; i < judged->verdict.n_introduced; i++) {
        if ((int64_t)judged->verdict.introduced[i].step != planted) {
            continue;
        }
        uint32_t position = audit_finding(&judged->audit, (uint32_t)planted, 0)->position;
        return !fault->decode_only || judged->list[0]->phase[position] == PHASE_DECODE;
    }
    return false;
}

/* Whether the first error is found where the fault was planted, and is named first. */
static bool is_found(const struct fault_request *request, const struct fault_outcome *outcome)
{
    const struct fault *fault = request->fault;
    if (fault->breaks_engine) {
        return outcome->failed;
    }
    if (fault->silent) {
        return outcome->found < 0;
    }
    const struct comparison *judged = &outcome->judged;
    return outcome->found >= 0 && outcome->found == outcome->planted && shows_at(fault, outcome->planted, judged) &&
           judged->n_diagnoses > 0 && names(&judged->diagnoses[0], request);
}

static void fill_outcome(struct fault_outcome *outcome, const struct fault *fault)
{
    const struct comparison *judged = &outcome->judged;
    const struct diagnosis *first = judged->n_diagnoses > 0 ? &judged->diagnoses[0] : NULL;
    outcome->found = !outcome->failed && judged->verdict.diverged ? (int64_t)verdict_first(&judged->verdict)->step : -1;
    if (outcome->failed) { /* no value was judged, so nothing is proven */
        outcome->how = "consistent";
        snprintf(outcome->named, sizeof(outcome->named), "%s", fault->breaks_engine ? fault->name : "");
        return;
    }
    outcome->how = first ? diagnosis_how_name(first->how) : fault->silent && outcome->found < 0 ? "silent" : "none";
    snprintf(outcome->named, sizeof(outcome->named), "%s", first ? first->fault : "");
}

/* Plants n faults in the engine and runs it. outcome->failed: the engine computed nothing, as is expected of `first`.
 */
static enum status run_planted(struct fault_check *check, const char *const *texts, uint32_t n,
                               const struct fault *first, struct fault_outcome *outcome, struct error *err)
{
    const struct session_options options = {.max_positions = check->tokens.n_positions, .faults = texts, .n_faults = n};
    TRY(session_take_engine(check->session, check->session, &options, err));
    struct error broken;
    enum status status = judge_engine(check, &outcome->judged, &broken);
    outcome->failed = status == STATUS_DEVICE && first->breaks_engine && strstr(broken.text, "not captured");
    if (status != STATUS_OK && !outcome->failed) {
        *err = broken;
        return status;
    }
    return STATUS_OK;
}

enum status fault_check_run(struct fault_check *check, const char *text, struct fault_outcome *outcome,
                            struct error *err)
{
    struct fault_request request;
    bool applies;
    *outcome = (struct fault_outcome){0};
    TRY(fault_parse(&request, text, err));
    TRY(fault_check_applies(check, text, &applies, &outcome->planted, err));
    TRY(run_planted(check, &text, 1, request.fault, outcome, err));
    fill_outcome(outcome, request.fault);
    outcome->ok = is_found(&request, outcome);
    return STATUS_OK;
}

/* Whether a diagnosis is of a bug in this step: at the same stage of one of its layers. */
static bool is_at(const struct diagnosis *diagnosis, const struct plan *plan, int64_t step)
{
    bool same_stage = plan->steps[diagnosis->step].stage == plan->steps[step].stage;
    for (uint32_t i = 0; i < diagnosis->n_layers && same_stage; i++) {
        if ((int32_t)diagnosis->layers[i] == plan->steps[step].layer) {
            return true;
        }
    }
    return (int64_t)diagnosis->step == step;
}

/* Whether one of several planted faults is found and named at its own place. */
static enum status is_among(const struct fault_check *check, const char *text, const struct fault_outcome *outcome,
                            bool *among, struct error *err)
{
    struct fault_request request;
    bool applies;
    int64_t planted;
    TRY(fault_parse(&request, text, err));
    TRY(fault_check_applies(check, text, &applies, &planted, err));
    const struct comparison *judged = &outcome->judged;
    *among = false;
    for (uint32_t i = 0; i < judged->n_diagnoses && !*among; i++) { /* a step's first diagnosis counts */
        bool first = i == 0 || judged->diagnoses[i].step != judged->diagnoses[i - 1].step;
        *among = first && planted >= 0 && is_at(&judged->diagnoses[i], judged->plan, planted) &&
                 names(&judged->diagnoses[i], &request) && shows_at(request.fault, planted, judged);
    }
    return STATUS_OK;
}

enum status fault_check_together(struct fault_check *check, const char *const *texts, uint32_t n,
                                 struct fault_outcome *outcome, struct error *err)
{
    struct fault_request first;
    *outcome = (struct fault_outcome){.planted = -1};
    TRY(fault_parse(&first, texts[0], err));
    TRY(run_planted(check, texts, n, first.fault, outcome, err));
    fill_outcome(outcome, first.fault);
    outcome->ok = true;
    for (uint32_t i = 0; i < n; i++) {
        bool among;
        TRY(is_among(check, texts[i], outcome, &among, err));
        outcome->ok = outcome->ok && among;
    }
    return STATUS_OK;
}

void fault_outcome_free(struct fault_outcome *outcome)
{
    comparison_free(&outcome->judged);
}
