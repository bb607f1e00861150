#include "workbench/diagnose/triage.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/model.h"
#include "workbench/trace/sample.h"

/* An explosion: this many times larger than a layer before, or than in the golden. */
#define EXPLOSION 10

struct examined {
    const struct plan *plan;
    const struct audit *audit;
    uint32_t trace;                    /* its index in the audit */
    const struct trace *rows, *golden; /* golden: NULL if there is none, or it is examined itself */
};

static const struct finding *finding_at(const struct examined *examined, uint32_t step, bool golden)
{
    return audit_finding(examined->audit, step, golden ? examined->audit->n_traces - 1 : examined->trace);
}

/* Whether the golden has values of this size, too. */
static bool golden_has(const struct examined *examined, uint32_t step, double max_abs)
{
    if (!examined->golden || finding_at(examined, step, true)->state == FINDING_MISSING) {
        return false;
    }
    return finding_at(examined, step, true)->max_abs * EXPLOSION > max_abs;
}

static bool shows_nonfinite(const struct examined *examined, uint32_t *at)
{
    for (uint32_t s = 0; s < examined->plan->n_steps; s++) {
        if (finding_at(examined, s, false)->nonfinite > 0 &&
            !(examined->golden && finding_at(examined, s, true)->nonfinite > 0)) {
            *at = s;
            return true;
        }
    }
    return false;
}

static bool shows_explosion(const struct examined *examined, uint32_t *at)
{
    double before = 0;
    for (uint32_t s = 0; s < examined->plan->n_steps; s++) {
        const struct finding *finding = finding_at(examined, s, false);
        if (examined->plan->steps[s].stage != STAGE_layer_out || finding->state == FINDING_MISSING) {
            continue;
        }
        if (before > 0 && finding->max_abs > EXPLOSION * before && !golden_has(examined, s, finding->max_abs)) {
            *at = s;
            return true;
        }
        before = finding->max_abs;
    }
    return false;
}

/* The largest absolute value of a dim, or of all other dims. */
static double largest(const struct trace *trace, const struct trace_stage *stage, int64_t dim, bool others)
{
    double most = 0;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        const float *row = trace_row(stage, p);
        for (uint32_t d = 0; row && d < stage->width; d++) {
            if ((d == dim) != others && fabs(row[d]) > most) {
                most = fabs(row[d]);
            }
        }
    }
    return most;
}

/* The dim whose largest value is over ten times that of any other. -1: there is none, or the golden's is as large. */
static int64_t spike_of(const struct examined *examined, uint32_t s)
{
    const struct step *step = &examined->plan->steps[s];
    const struct trace_stage *stage = trace_find_step(examined->rows, step);
    double most = finding_at(examined, s, false)->max_abs;
    if (!stage || golden_has(examined, s, most)) {
        return -1;
    }
    for (uint32_t d = 0; d < stage->width; d++) {
        if (largest(examined->rows, stage, d, false) < most) {
            continue;
        }
        return most > EXPLOSION * largest(examined->rows, stage, d, true) ? (int64_t)d : -1;
    }
    return -1;
}

/* The same dim stands out from some layer to the last, in two at least. */
static bool shows_spike(const struct examined *examined, uint32_t *at)
{
    int64_t dim = -1;
    uint32_t n = 0;
    for (uint32_t s = 0; s < examined->plan->n_steps; s++) {
        if (examined->plan->steps[s].stage != STAGE_layer_out ||
            finding_at(examined, s, false)->state == FINDING_MISSING) {
            continue;
        }
        int64_t here = spike_of(examined, s);
        n = here < 0 ? 0 : here == dim ? n + 1 : 1;
        *at = n == 1 ? s : *at;
        dim = here;
    }
    return n >= 2;
}

/* The likeliest token after a position; -1: no logits are recorded. */
static int64_t choice_at(const struct trace *trace, uint32_t position)
{
    const struct trace_stage *logits = trace ? trace_find(trace, LAYER_NONE, STAGE_logits_final) : NULL;
    const float *row = logits && position < trace->n_positions ? trace_row(logits, position) : NULL;
    return row ? (int64_t)argmax(row, logits->width) : -1;
}

static bool shows_pad(const struct examined *examined, uint32_t *at)
{
    int32_t pad = examined->plan->model ? examined->plan->model->config.pad_id : -1;
    *at = examined->plan->n_steps - 1;
    for (uint32_t p = 0; p < examined->rows->n_positions && pad >= 0; p++) {
        if (choice_at(examined->rows, p) == pad && choice_at(examined->golden, p) != pad) {
            return true;
        }
    }
    return false;
}

/* The same token is chosen four times in a row. */
static bool shows_repetition(const struct examined *examined, uint32_t *at)
{
    uint32_t n = 0;
    *at = examined->plan->n_steps - 1;
    for (uint32_t p = 1; p < examined->rows->n_positions; p++) {
        int64_t choice = choice_at(examined->rows, p);
        bool again = choice >= 0 && choice == choice_at(examined->rows, p - 1) &&
                     !(examined->golden && choice == choice_at(examined->golden, p));
        n = again ? n + 1 : 0;
        if (n >= 3) {
            return true;
        }
    }
    return false;
}

static bool shows_other_choices(const struct examined *examined, uint32_t *at)
{
    *at = examined->plan->n_steps - 1;
    for (uint32_t p = 0; examined->golden && p < examined->rows->n_positions; p++) {
        if (choice_at(examined->rows, p) >= 0 && choice_at(examined->rows, p) != choice_at(examined->golden, p)) {
            return true;
        }
    }
    return false;
}

/* The triage table of a debugging guide, the most telling symptom first. */
static const struct {
    const char *name, *symptom, *cause;
    bool (*shows)(const struct examined *examined, uint32_t *at);
} rows[] = {
    {"triage-nan-or-inf", "Values are NaN or infinite", "a numerical overflow in attention or the FFN",
     shows_nonfinite},
    {"triage-exploding-values", "The largest value grows more than 10 times in one layer",
     "a norm whose weight lacks its offset of 1, or wrongly decoded blocks of weights", shows_explosion},
    {"triage-single-dimension-spike", "The same dim is far larger than all others in layer after layer",
     "a corrupt weight, or an index that is off", shows_spike},
    {"triage-pad-wins", "The padding token is the likeliest", "pad_token_id is not masked in sampling", shows_pad},
    {"triage-repeating-tokens", "The same token is the likeliest again and again",
     "a corrupt KV cache, or a wrong attention mask", shows_repetition},
    {"triage-wrong-token-probabilities", "The likeliest tokens differ from the golden's",
     "a softcap, a scale or a norm's offset in an earlier op; the final softcap if every other stage passes",
     shows_other_choices},
};

uint32_t triage_find(const struct audit *audit, const struct verdict *verdict, const struct trace *const *traces,
                     const enum source *sources, struct diagnosis *found, uint32_t max)
{
    uint32_t n = 0, last = audit->n_traces - 1;
    if (verdict->n_introduced == 0) {
        return 0;
    }
    const struct introduced *first = verdict_first(verdict);
    bool beside = last > 0 && sources[last] == SOURCE_GOLDEN && first->trace != last &&
                  traces[last]->n_positions == traces[first->trace]->n_positions;
    struct examined examined = {audit->plan, audit, first->trace, traces[first->trace], beside ? traces[last] : NULL};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) && n < max; i++) {
        uint32_t at = 0;
        char label[64];
        if (!rows[i].shows(&examined, &at) || at < first->step) { /* it was there before the error */
            continue;
        }
        struct diagnosis *diagnosis = &found[n++];
        *diagnosis = (struct diagnosis){.how = HOW_CONSISTENT,
                                        .kind = KIND_SYMPTOM,
                                        .postmortem = "",
                                        .step = first->step,
                                        .introduced = first->step,
                                        .trace = first->trace};
        snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", rows[i].name);
        snprintf(diagnosis->text, sizeof(diagnosis->text), "%s (%s). A symptom, not a proof; the cause is often %s.",
                 rows[i].symptom, step_label(&audit->plan->steps[at], label), rows[i].cause);
    }
    return n;
}

const char *triage_next(const struct plan *plan, uint32_t step, const struct diagnosis *found, uint32_t n)
{
    uint32_t wrong = n > 0 && found[0].how == HOW_REPRODUCED ? found[0].step : step;
    if (n > 0 && strcmp(found[0].fault, DIAGNOSIS_OTHER_TOKENS) == 0) {
        return "record layer_out of every layer, and run this again: it names the first that is wrong";
    }
    switch (plan->steps[wrong].op) {
    case OP_rms_norm:
        return "check the norm's offset (1 + weight or weight, and whether the file has it folded in) and eps";
    case OP_attention:
    case OP_attention_probs:
        return "check the scale (query_pre_attn_scalar), attn_logit_softcapping, sliding_window and which layers slide";
    case OP_softcap:
        return "check final_logit_softcapping";
    case OP_rope:
        return "check rope_theta, its scaling, and the order of pairs (halves or neighbours)";
    case OP_embed:
        return "check the token ids, the scale of the embedding and the dtype of its rows";
    case OP_glu:
    case OP_swiglu:
        return "check hidden_act, and which input is the gate";
    case OP_sample_probs:
    case OP_sample_token:
        return "check that pad_token_id is masked before the choice; temperature, top_k and top_p";
    case OP_matmul:
    case OP_expert_matmul:
        return "check this weight's name, layer and layout; run the model in f16 or f32 to tell quantisation apart";
    default:
        return "run the step alone at the prompt: goto it, print its inputs, patch them from the reference";
    }
}

/* The step that the prompt can go to: what no backend runs stands at the step that makes it. */
static uint32_t step_that_runs(const struct plan *plan, uint32_t step)
{
    if (plan->steps[step].op < OP_COUNT) {
        return step;
    }
    if (plan->steps[step].op == OP_attention_probs) {
        return (uint32_t)plan_find(plan, plan->steps[step].layer, STAGE_attn_out);
    }
    while (step > 0 && plan->steps[step].op > OP_COUNT) {
        step--;
    }
    return step;
}

uint32_t triage_commands(const struct triage_place *place, char commands[TRIAGE_MOST_COMMANDS][TRIAGE_COMMAND_SIZE])
{
    uint32_t at = step_that_runs(place->plan, place->step);
    const struct step *step = &place->plan->steps[at];
    char layer[16] = "", range[32] = "";
    if (step->layer != LAYER_NONE) {
        snprintf(commands[0], TRIAGE_COMMAND_SIZE, "goto %d.%s %u", step->layer, stage_name(step->stage),
                 place->position);
        snprintf(layer, sizeof(layer), "@%d", step->layer);
    } else {
        snprintf(commands[0], TRIAGE_COMMAND_SIZE, "goto %s %u", stage_name(step->stage), place->position);
    }
    if (place->finding != NULL && at == place->step) { /* eight dims around the one that is off */
        uint32_t first = place->finding->dim & ~7u, end = first + 8 < step->width ? first + 8 : step->width;
        snprintf(range, sizeof(range), " %u:%u", first, end);
    }
    snprintf(commands[1], TRIAGE_COMMAND_SIZE, "print %s%s %u%s", stage_name(step->stage), layer, place->position,
             range);
    return 2;
}
