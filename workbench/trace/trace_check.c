/* Whether a trace can be one of a plan, and whether two traces are of the same tokens. */
#include <stdio.h>
#include <string.h>

#include "model/model.h"
#include "workbench/trace/trace.h"

/* Values a row of a stage of the layer; 0: the plan has none. */
static uint32_t width_in_plan(const struct plan *plan, int32_t layer, enum stage stage)
{
    int32_t step = plan_find(plan, layer, stage);
    return step >= 0 ? plan->steps[step].width : 0;
}

/* What to slice where a stage's rows are those of a fused product; "" where they are not. */
static const char *fused_cure(const struct plan *plan, const struct trace_stage *stage, char text[256])
{
    static const enum stage fused[][3] = {{STAGE_q_proj, STAGE_k_proj, STAGE_v_proj},
                                          {STAGE_k_proj, STAGE_v_proj, STAGE_COUNT},
                                          {STAGE_ffn_gate, STAGE_ffn_up, STAGE_COUNT}};
    text[0] = '\0';
    for (size_t i = 0; i < sizeof(fused) / sizeof(*fused) && !text[0]; i++) {
        uint32_t end[4] = {0};
        bool is_part = false;
        for (unsigned k = 0; k < 3; k++) {
            end[k + 1] = end[k] + (fused[i][k] < STAGE_COUNT ? width_in_plan(plan, stage->layer, fused[i][k]) : 0);
            is_part |= fused[i][k] == stage->stage;
        }
        if (!is_part || stage->width != end[3]) {
            continue;
        }
        size_t length = (size_t)snprintf(text, 256, ": of a fused product, record");
        for (unsigned k = 0; k < 3 && fused[i][k] < STAGE_COUNT; k++) {
            length += (size_t)snprintf(text + length, 256 - length, "%s x[:, %u:%u] as %s", k > 0 ? "," : "", end[k],
                                       end[k + 1], stage_name(fused[i][k]));
        }
        snprintf(text + length, 256 - length, "%s",
                 fused[i][0] == STAGE_ffn_gate ? ", or x[:, 0::2] and x[:, 1::2] where they alternate"
                                               : ", in the order of the fused weight");
    }
    return text;
}

static enum status check_stage(const struct trace *trace, const struct trace_stage *stage, const struct plan *plan,
                               struct error *err)
{
    char label[64];
    trace_label(stage, label);
    const struct config *config = &plan->model->config;
    int32_t step = plan_find(plan, stage->layer, stage->stage);
    uint64_t width;
    if (step >= 0) {
        width = plan->steps[step].width;
    } else if (stage->stage == STAGE_attn_probs) {
        width = (uint64_t)config->n_heads * trace->n_positions;
    } else if (stage->stage == STAGE_sample_probs || stage->stage == STAGE_sample_token) {
        width = stage->stage == STAGE_sample_probs ? config->vocab : 1;
    } else {
        return error_set(err, STATUS_BAD_INPUT, trace->path, label, ERROR_NO_OFFSET,
                         "is recorded, but %s (%s) has no such step", plan->model->path, config->model_type);
    }
    if (stage->width != width) {
        char cure[256];
        return error_set(err, STATUS_BAD_INPUT, trace->path, label, ERROR_NO_OFFSET,
                         "rows have %u values, expected %llu as in %s%s", stage->width, (unsigned long long)width,
                         plan->model->path, fused_cure(plan, stage, cure));
    }
    return STATUS_OK;
}

void trace_fill_logits(struct trace *trace, const struct plan *plan)
{
    const struct trace_stage *final = trace_find(trace, LAYER_NONE, STAGE_logits_final);
    const struct config *config = &plan->model->config;
    if (final == NULL || config->final_softcap > 0 || final->width != config->vocab ||
        trace_find(trace, LAYER_NONE, STAGE_logits) != NULL) {
        return;
    }
    struct trace_stage *logits = trace_add(trace, LAYER_NONE, STAGE_logits, config->vocab);
    final = trace_find(trace, LAYER_NONE, STAGE_logits_final);
    memcpy(logits->rows, final->rows, (size_t)trace->n_positions * final->width * sizeof(*final->rows));
    memcpy(logits->recorded, final->recorded, trace->n_positions);
    logits->n_recorded = final->n_recorded;
    logits->arith = final->arith;
    logits->weights_dtype = final->weights_dtype;
    if (final->error != NULL) {
        size_t n = (size_t)trace->n_positions * final->width;
        logits->error = xmalloc(n * sizeof(*logits->error));
        memcpy(logits->error, final->error, n * sizeof(*logits->error));
    }
}

enum status trace_check_plan(const struct trace *trace, const struct plan *plan, struct error *err)
{
    if (trace->n_layers != plan->n_layers) {
        return error_set(err, STATUS_BAD_INPUT, trace->path, "n_layers", ERROR_NO_OFFSET, "is %u, expected %u as in %s",
                         trace->n_layers, plan->n_layers, plan->model->path);
    }
    uint32_t vocab = plan->model->config.vocab;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        if (trace->tokens[p] < 0 || (uint32_t)trace->tokens[p] >= vocab) {
            return error_set(err, STATUS_BAD_INPUT, trace->path, "/tokens", ERROR_NO_OFFSET,
                             "position %u is token %d, expected less than %u, the vocabulary of %s", p,
                             trace->tokens[p], vocab, plan->model->path);
        }
    }
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        TRY(check_stage(trace, &trace->stages[i], plan, err));
    }
    return STATUS_OK;
}

/* Whether a trace's tokens, from `first` on, are another's from its `other_first` on. */
static bool are_tokens_of(const struct trace *trace, uint32_t first, const struct trace *other, uint32_t other_first)
{
    uint32_t left = trace->n_positions - first, other_left = other->n_positions - other_first;
    uint32_t n = left < other_left ? left : other_left;
    return n > 1 && memcmp(trace->tokens + first, other->tokens + other_first, n * sizeof(*trace->tokens)) == 0;
}

/* Where a trace's tokens lie within the golden's; n_positions of the golden: nowhere. Of a single token it says
 * nothing. */
static uint32_t find_within(const struct trace *trace, const struct trace *golden)
{
    uint32_t n = trace->n_positions;
    for (uint32_t first = 0; n > 1 && first + n <= golden->n_positions; first++) {
        if (memcmp(golden->tokens + first, trace->tokens, n * sizeof(*trace->tokens)) == 0) {
            return first;
        }
    }
    return golden->n_positions;
}

/* How many tokens the trace has, from position p on, in the place of the golden's one, after which both go on alike; 0:
 * it is not so. */
static uint32_t tokens_for_one(const struct trace *trace, const struct trace *golden, uint32_t p)
{
    uint32_t left = golden->n_positions - p - 1;
    for (uint32_t n = 2; n < 24 && p + n <= trace->n_positions; n++) {
        uint32_t same = left < 3 ? left : 3;
        if (trace->n_positions - p - n >= same && same > 0 &&
            memcmp(trace->tokens + p + n, golden->tokens + p + 1, same * sizeof(*trace->tokens)) == 0) {
            return n;
        }
    }
    return 0;
}

/* What to do where the golden's first token is missing, or stands twice. "": neither. */
static const char *shifted_cure(const struct trace *trace, const struct trace *golden)
{
    if (are_tokens_of(trace, 1, golden, 0)) {
        return trace->tokens[0] == golden->tokens[0]
                   ? ": the first token, BOS as a rule, stands twice: let the tokenizer or the template add it, not "
                     "both"
                   : ": the first token, BOS as a rule, is not in the golden: run both with it, or both without";
    }
    if (are_tokens_of(trace, 0, golden, 1)) {
        return ": the golden's first token, BOS as a rule, is missing: run the engine on the golden's own tokens";
    }
    return "";
}

/* How the tokens differ, from position p on, and what to do. */
static const char *token_cure(const struct trace *trace, const struct trace *golden, uint32_t p, char text[200])
{
    const char *shifted = shifted_cure(trace, golden);
    uint32_t first = find_within(trace, golden), n = tokens_for_one(trace, golden, p);
    snprintf(text, 200, "%s", shifted);
    if (*shifted == '\0' && first < golden->n_positions) {
        snprintf(text, 200, ": these are positions %u to %u alone: the chat template around them is missing", first,
                 first + trace->n_positions - 1);
    } else if (*shifted == '\0' && n > 0) {
        snprintf(text, 200,
                 ": %u tokens stand for one, as where a special token is spelled as text: have the tokenizer parse it",
                 n);
    }
    return text;
}

enum status trace_check_same_tokens(const struct trace *trace, const struct trace *golden, struct error *err)
{
    char cure[200];
    uint32_t n = trace->n_positions < golden->n_positions ? trace->n_positions : golden->n_positions;
    for (uint32_t p = 0; p < n; p++) {
        if (trace->tokens[p] != golden->tokens[p]) {
            return error_set(err, STATUS_BAD_INPUT, trace->path, "/tokens", ERROR_NO_OFFSET,
                             "position %u is token %d, expected %d as in %s%s", p, trace->tokens[p], golden->tokens[p],
                             golden->path, token_cure(trace, golden, p, cure));
        }
        if (trace->phase[p] != golden->phase[p]) {
            return error_set(err, STATUS_BAD_INPUT, trace->path, "/phase", ERROR_NO_OFFSET,
                             "position %u is phase %u, expected %u as in %s", p, trace->phase[p], golden->phase[p],
                             golden->path);
        }
    }
    if (trace->n_positions != golden->n_positions) {
        return error_set(err, STATUS_BAD_INPUT, trace->path, "/tokens", ERROR_NO_OFFSET,
                         "position %u is the first that only one has: %u positions, expected %u as in %s%s", n,
                         trace->n_positions, golden->n_positions, golden->path,
                         trace->n_positions < golden->n_positions
                             ? ": the end is missing, in a chat the template's prompt for an answer"
                             : "");
    }
    return STATUS_OK;
}
