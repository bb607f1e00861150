#include "workbench/diagnose/numbers/config_parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct parameter parameters[] = {
    {OP_rms_norm, "wrong-eps", "rms_norm_eps", FIELD(rms_norm.eps), 1e-13, 10, false, false},
    {OP_rope, "wrong-rope-theta", "rope_theta", FIELD(rope.theta), 10, 1e9, false, false},
    {OP_rope, "wrong-rope-factor", "rope scaling's factor", FIELD(rope.factor), 0.1, 200, false, false},
    {OP_rope, "wrong-rope-original", "rope scaling's original_max_position_embeddings", FIELD(rope.original), 16, 1e6,
     false, false},
    {OP_rope, "wrong-rope-scale", "the factor of rope's cos and sin", FIELD(rope.scale), 0.1, 10, false, false},
    {OP_attention, "wrong-attention-scale", "query_pre_attn_scalar (or head_dim)", FIELD(attention.scale), 1e-3, 4,
     true, false},
    {OP_attention, "wrong-attention-softcap", "attn_logit_softcapping", FIELD(attention.softcap), 0.5, 2000, false,
     false},
    {OP_softcap, "wrong-final-softcap", "final_logit_softcapping", FIELD(softcap.cap), 0.5, 2000, false, false},
    {OP_swiglu, "wrong-swiglu-alpha", "swiglu_alpha", FIELD(swiglu.alpha), 0.1, 100, false, false},
    {OP_swiglu, "wrong-swiglu-limit", "swiglu_limit", FIELD(swiglu.limit), 0.01, 1000, false, true},
    {OP_rope, "wrong-rope-low", "low_freq_factor (YaRN: beta_slow)", FIELD(rope.low), 0.05, 100, false, true},
    {OP_rope, "wrong-rope-high", "high_freq_factor (YaRN: beta_fast)", FIELD(rope.high), 0.05, 500, false, true},
};

const struct parameter *config_parameters(uint32_t *n)
{
    *n = sizeof(parameters) / sizeof(*parameters);
    return parameters;
}

/* The parameters of attention_probs begin with those of attention. */
_Static_assert(FIELD(attention_probs.attention) == FIELD(attention), "one offset for both");
bool config_is_attention(const struct step *step)
{
    return step->op == OP_attention || step->op == OP_attention_probs;
}

bool parameter_is_of(const struct parameter *parameter, const struct step *step)
{
    return parameter->op == step->op || (parameter->op == OP_attention && config_is_attention(step));
}

bool parameter_is_used(const struct parameter *parameter, const struct step *step)
{
    uint32_t type = step->params.rope.type;
    bool of_limits = parameter->field == FIELD(rope.original) || parameter->field == FIELD(rope.low) ||
                     parameter->field == FIELD(rope.high);
    return parameter->op != OP_rope || !of_limits || type == ROPE_TYPE_LLAMA3 || type == ROPE_TYPE_YARN;
}

float parameter_get(const struct step *step, size_t field)
{
    float value;
    memcpy(&value, (const char *)&step->params + field, sizeof(value));
    return value;
}

void parameter_set(struct step *step, size_t field, double value)
{
    float rounded = (float)value;
    memcpy((char *)&step->params + field, &rounded, sizeof(rounded));
    if (field == FIELD(rope.factor) && step->params.rope.type == ROPE_TYPE_YARN) {
        step->params.rope.scale = (float)(0.1 * log(value) + 1); /* YaRN derives it from the factor */
    }
}

double round_digits(double value, int digits)
{
    char text[32];
    snprintf(text, sizeof(text), "%.*e", digits - 1, value);
    return strtod(text, NULL);
}
