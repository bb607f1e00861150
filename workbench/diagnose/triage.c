#include "workbench/diagnose/triage.h"

#include <math.h>
#include <stdio.h>

#include "model/model.h"
#include "workbench/trace/sample.h"

/* How much larger than before, or than the golden's, values must be. */
#define EXPLOSION 10

struct patient {
    const struct plan *plan;
    const struct audit *audit;
    uint32_t trace;                    /* of the audit */
    const struct trace *rows, *golden; /* golden: NULL if there is none, or it is the patient */
};

static const struct finding *finding_at(const struct patient *patient, uint32_t step, bool golden)
{
    return audit_finding(patient->audit, step, golden ? patient->audit->n_traces - 1 : patient->trace);
}

/* Whether the golden shows values of this size too. */
static bool golden_has(const struct patient *patient, uint32_t step, double max_abs)
{
    if (!patient->golden || finding_at(patient, step, true)->state == FINDING_MISSING) {
        return false;
    }
    return finding_at(patient, step, true)->max_abs * EXPLOSION > max_abs;
}

static bool shows_nonfinite(const struct patient *patient, uint32_t *at)
{
    for (uint32_t s = 0; s < patient->plan->n_steps; s++) {
        if (finding_at(patient, s, false)->nonfinite > 0 &&
            !(patient->golden && finding_at(patient, s, true)->nonfinite > 0)) {
            *at = s;
            return true;
        }
    }
    return false;
}

static bool shows_explosion(const struct patient *patient, uint32_t *at)
{
    double before = 0;
    for (uint32_t s = 0; s < patient->plan->n_steps; s++) {
        const struct finding *finding = finding_at(patient, s, false);
        if (patient->plan->steps[s].stage != STAGE_layer_out || finding->state == FINDING_MISSING) {
            continue;
        }
        if (before > 0 && finding->max_abs > EXPLOSION * before && !golden_has(patient, s, finding->max_abs)) {
            *at = s;
            return true;
        }
        before = finding->max_abs;
    }
    return false;
}

/* The largest value of a dim, or of all others. */
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

/* The dim whose largest value is ten times that of any other; -1: there is none, or the golden's is as large. */
static int64_t spike_of(const struct patient *patient, uint32_t s)
{
    const struct step *step = &patient->plan->steps[s];
    const struct trace_stage *stage = trace_find_step(patient->rows, step);
    double most = finding_at(patient, s, false)->max_abs;
    if (!stage || golden_has(patient, s, most)) {
        return -1;
    }
    for (uint32_t d = 0; d < stage->width; d++) {
        if (largest(patient->rows, stage, d, false) < most) {
            continue;
        }
        return most > EXPLOSION * largest(patient->rows, stage, d, true) ? (int64_t)d : -1;
    }
    return -1;
}

/* From some layer to the last, two at least, the same dim. */
static bool shows_spike(const struct patient *patient, uint32_t *at)
{
    int64_t dim = -1;
    uint32_t n = 0;
    for (uint32_t s = 0; s < patient->plan->n_steps; s++) {
        if (patient->plan->steps[s].stage != STAGE_layer_out ||
            finding_at(patient, s, false)->state == FINDING_MISSING) {
            continue;
        }
        int64_t here = spike_of(patient, s);
        n = here < 0 ? 0 : here == dim ? n + 1 : 1;
        *at = n == 1 ? s : *at;
        dim = here;
    }
    return n >= 2;
}

/* The likeliest token after a position; -1: not recorded. */
static int64_t choice_at(const struct trace *trace, uint32_t position)
{
    const struct trace_stage *logits = trace ? trace_find(trace, LAYER_NONE, STAGE_logits_final) : NULL;
    const float *row = logits && position < trace->n_positions ? trace_row(logits, position) : NULL;
    return row ? (int64_t)argmax(row, logits->width) : -1;
}

static bool shows_pad(const struct patient *patient, uint32_t *at)
{
    int32_t pad = patient->plan->model ? patient->plan->model->config.pad_id : -1;
    *at = patient->plan->n_steps - 1;
    for (uint32_t p = 0; p < patient->rows->n_positions && pad >= 0; p++) {
        if (choice_at(patient->rows, p) == pad && choice_at(patient->golden, p) != pad) {
            return true;
        }
    }
    return false;
}

/* The same choice four times in a row. */
static bool shows_repetition(const struct patient *patient, uint32_t *at)
{
    uint32_t n = 0;
    *at = patient->plan->n_steps - 1;
    for (uint32_t p = 1; p < patient->rows->n_positions; p++) {
        int64_t choice = choice_at(patient->rows, p);
        bool again = choice >= 0 && choice == choice_at(patient->rows, p - 1) &&
                     !(patient->golden && choice == choice_at(patient->golden, p));
        n = again ? n + 1 : 0;
        if (n >= 3) {
            return true;
        }
    }
    return false;
}

static bool shows_other_choices(const struct patient *patient, uint32_t *at)
{
    *at = patient->plan->n_steps - 1;
    for (uint32_t p = 0; patient->golden && p < patient->rows->n_positions; p++) {
        if (choice_at(patient->rows, p) >= 0 && choice_at(patient->rows, p) != choice_at(patient->golden, p)) {
            return true;
        }
    }
    return false;
}

/* seeds: the triage table of a debugging guide; the most telling first. */
static const struct {
    const char *name, *symptom, *cause;
    bool (*shows)(const struct patient *patient, uint32_t *at);
} rows[] = {
    {"triage-nan-or-inf", "values are NaN or infinite", "a numerical overflow in attention or the FFN",
     shows_nonfinite},
    {"triage-exploding-values", "the largest value grows more than 10 times in one layer",
     "a norm whose weight misses the 1 that is added to it, or blocks of weights that are decoded wrongly",
     shows_explosion},
    {"triage-single-dimension-spike", "one and the same dim stands out by far in layer after layer",
     "a corrupt weight, or an index that is off", shows_spike},
    {"triage-pad-wins", "the padding token is the likeliest", "pad_token_id is not masked in sampling", shows_pad},
    {"triage-repeating-tokens", "the same token is the likeliest again and again",
     "a corrupt KV cache, or a wrong attention mask", shows_repetition},
    {"triage-wrong-token-probabilities", "other tokens are the likeliest than in the golden",
     "a softcap, a scale or a norm's offset upstream; the final softcap if every other stage passes",
     shows_other_choices},
};

uint32_t triage_find(const struct audit *audit, const struct verdict *verdict, const struct trace *const *traces,
                     const enum source *sources, struct diagnosis *found, uint32_t max)
{
    uint32_t n = 0, last = audit->n_traces - 1;
    if (verdict->n_introduced == 0) {
        return 0;
    }
    const struct introduced *first = &verdict->introduced[0];
    bool beside = last > 0 && sources[last] == SOURCE_GOLDEN && first->trace != last &&
                  traces[last]->n_positions == traces[first->trace]->n_positions;
    struct patient patient = {audit->plan, audit, first->trace, traces[first->trace], beside ? traces[last] : NULL};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) && n < max; i++) {
        uint32_t at = 0;
        char label[64];
        if (!rows[i].shows(&patient, &at) || at < first->step) { /* what was there before is no symptom of the error */
            continue;
        }
        struct diagnosis *diagnosis = &found[n++];
        *diagnosis = (struct diagnosis){.how = HOW_CONSISTENT,
                                        .postmortem = "",
                                        .step = first->step,
                                        .introduced = first->step,
                                        .trace = first->trace};
        snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", rows[i].name);
        snprintf(diagnosis->text, sizeof(diagnosis->text), "a symptom, not a proof: %s (%s); often that is %s",
                 rows[i].symptom, step_label(&audit->plan->steps[at], label), rows[i].cause);
    }
    return n;
}

const char *triage_next(const struct plan *plan, uint32_t step, const struct diagnosis *found, uint32_t n)
{
    uint32_t wrong = n > 0 && found[0].how == HOW_REPRODUCED ? found[0].step : step;
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
        return "check this weight: run the model in f16 or f32 to set quantisation apart, and compare its name, layer "
               "and "
               "layout";
    default:
        return "run the step alone at the prompt: goto it, print its inputs, patch them from the reference";
    }
}
