/* Translates the architecture and inference sections of an RDRR manifest into config.json's keys, so that one reader
 * interprets both. What lockstep cannot compute is refused by name. */
#include <stdio.h>
#include <string.h>

#include "model/files/rdrr.h"

/* Paths in the manifest and the keys of config.json with the same meaning. */
static const struct {
    const char *path, *key;
    bool required;
} same[] = {
    {"architecture.numLayers", "num_hidden_layers", true},
    {"architecture.hiddenSize", "hidden_size", true},
    {"architecture.intermediateSize", "intermediate_size", true},
    {"architecture.numAttentionHeads", "num_attention_heads", true},
    {"architecture.numKeyValueHeads", "num_key_value_heads", true},
    {"architecture.headDim", "head_dim", true},
    {"architecture.vocabSize", "vocab_size", true},
    {"architecture.maxSeqLen", "max_position_embeddings", false},
    {"inference.attention.queryPreAttnScalar", "query_pre_attn_scalar", false},
    {"inference.attention.attnLogitSoftcapping", "attn_logit_softcapping", false},
    {"inference.attention.slidingWindow", "sliding_window", false},
    {"inference.attention.attentionBias", "attention_bias", false},
    {"inference.normalization.rmsNormEps", "rms_norm_eps", true},
    {"inference.output.finalLogitSoftcapping", "final_logit_softcapping", false},
    {"inference.output.tieWordEmbeddings", "tie_word_embeddings", true},
    {"inference.rope.ropeTheta", "rope_theta", true},
    {"inference.rope.ropeLocalTheta", "rope_local_base_freq", false},
    {"inference.rope.partialRotaryFactor", "partial_rotary_factor", false},
    {"inference.ffn.swigluLimit", "swiglu_limit", false},
    {"moeConfig.numExperts", "num_local_experts", false},
    {"moeConfig.numExpertsPerToken", "num_experts_per_tok", false},
    {"eos_token_id", "eos_token_id", false},
    {"pad_token_id", "pad_token_id", false},
};

/* Settings that change the result and for which lockstep has one value. */
enum wanted {
    OFF,
    ON,
    ONE,
    RMSNORM,
    HEAD
}; /* accepted values: false or 0; true; 1; a word. Absent and null are accepted by each */
static const struct {
    const char *path;
    enum wanted wanted;
} fixed[] = {
    {"architecture.globalHeadDim", OFF},
    {"architecture.numGlobalKeyValueHeads", OFF},
    {"architecture.numKvSharedLayers", OFF},
    {"architecture.hiddenSizePerLayerInput", OFF},
    {"inference.attention.causal", ON},
    {"inference.attention.queryKeyNormType", RMSNORM},
    {"inference.attention.queryKeyNormAxis", HEAD},
    {"inference.attention.queryKeyNormLayers", OFF},
    {"inference.attention.queryKeyNormWeightLayers", OFF},
    {"inference.normalization.type", RMSNORM},
    {"inference.normalization.finalNormBiasTensor", OFF},
    {"inference.attention.attentionOutputGate", OFF},
    {"inference.attention.valueNorm", OFF},
    {"inference.ffn.gatedActivation", ON},
    {"inference.ffn.useDoubleWideMlp", OFF},
    {"inference.rope.ropeInterleaved", OFF},
    {"inference.rope.mropeInterleaved", OFF},
    {"inference.rope.mropeSection", OFF},
    {"inference.rope.ropeLocalScalingType", OFF},
    {"inference.rope.ropeLocalPartialRotaryFactor", OFF},
    {"inference.rope.ropeFrequencyBaseDim", OFF},
    {"inference.rope.ropeLocalFrequencyBaseDim", OFF},
    {"inference.output.embeddingTranspose", OFF},
    {"inference.output.embeddingScale", OFF},
    {"inference.output.embeddingPostprocessor", OFF},
    {"inference.output.lmHeadBiasTensor", OFF},
    {"inference.output.logitInputScale", ONE},
    {"inference.layerPattern.residualBranchScale", ONE},
};

/* Flags that must agree with the tensors of the first layer. */
static const struct {
    const char *path, *tensor;
} flags[] = {
    {"inference.attention.queryKeyNorm", "self_attn.q_norm.weight"},
    {"inference.attention.attentionBias", "self_attn.q_proj.bias"},
    {"inference.normalization.preFeedforwardNorm", "pre_feedforward_layernorm.weight"},
    {"inference.normalization.postFeedforwardNorm", "post_feedforward_layernorm.weight"},
};

static enum status check_fixed(const struct rdrr *in)
{
    static const char *const expected[] = {
        [OFF] = "null or false", [ON] = "true", [ONE] = "1", [RMSNORM] = "rmsnorm", [HEAD] = "head"};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        const json_t *value = rdrr_member(in->manifest, fixed[i].path);
        const char *word = json_string_value(value);
        bool right = fixed[i].wanted == ON ? json_is_true(value)
                     : fixed[i].wanted == OFF
                         ? json_is_false(value) || (json_is_number(value) && !json_number_value(value))
                     : fixed[i].wanted == ONE ? json_number_value(value) == 1
                                              : word && strcmp(word, expected[fixed[i].wanted]) == 0;
        if (value && !right) {
            return rdrr_refuse(in, fixed[i].path, "", value, expected[fixed[i].wanted]);
        }
    }
    return STATUS_OK;
}

static bool has_tensor(const struct model *model, const char *suffix)
{
    char name[128];
    snprintf(name, sizeof(name), "model.layers.0.%s", suffix);
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static enum status check_flags(const struct rdrr *in)
{
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        const json_t *value = rdrr_member(in->manifest, flags[i].path);
        bool said = json_is_true(value), there = has_tensor(in->model, flags[i].tensor);
        if (value && !json_is_boolean(value)) {
            return rdrr_refuse(in, flags[i].path, "", value, "true or false");
        }
        if (said != there) {
            return error_set(in->err, STATUS_BAD_INPUT, in->file, flags[i].path, ERROR_NO_OFFSET,
                             "%s, but model.layers.0.%s is %s, expected flag and tensors to agree",
                             said ? "true" : "false", flags[i].tensor, there ? "there" : "missing");
        }
    }
    return STATUS_OK;
}

/* Settings that only a mixture of experts has, or that it must not have. GPT-OSS's mixture is the only known one. If
 * the manifest lacks the clamp's limit, the source's config.json, which a manifest may hold, gives it. */
static enum status check_experts(const struct rdrr *in, json_t *config)
{
    const json_t *experts = rdrr_member(in->manifest, "moeConfig"), *limit = json_object_get(config, "swiglu_limit");
    const json_t *format = rdrr_member(experts, "expertFormat"),
                 *width = rdrr_member(experts, "expertIntermediateSize");
    const json_t *mode = rdrr_member(in->manifest, "inference.ffn.branchMode");
    const json_t *whole = rdrr_member(in->manifest, "architecture.intermediateSize");
    const char *name = json_string_value(format), *branch = json_string_value(mode);
    if (mode && (!branch || (strcmp(branch, "auto") != 0 && strcmp(branch, experts ? "moe" : "dense") != 0))) {
        return rdrr_refuse(in, "inference.ffn.branchMode", "", mode, experts ? "auto or moe" : "auto or dense");
    }
    if (!experts) {
        return limit ? rdrr_refuse(in, "inference.ffn.swigluLimit", "", limit, "null, for there are no experts")
                     : STATUS_OK;
    }
    if (!name || strcmp(name, "gpt-oss") != 0) {
        return rdrr_refuse(in, "moeConfig.expertFormat", "", format, "gpt-oss");
    }
    if (width && !json_equal(width, whole)) {
        return rdrr_refuse(in, "moeConfig.expertIntermediateSize", "", width, "architecture.intermediateSize");
    }
    if (json_array_size(rdrr_member(experts, "sharedExperts")) > 0) {
        return rdrr_refuse(in, "moeConfig.sharedExperts", "", rdrr_member(experts, "sharedExperts"), "none");
    }
    if (!limit && rdrr_member(in->manifest, "config.swiglu_limit")) {
        json_object_set(config, "swiglu_limit", rdrr_member(in->manifest, "config.swiglu_limit"));
    }
    return STATUS_OK;
}

/* The manifest names no family. The norms show it: they must all belong to one family. */
static enum status find_family(const struct rdrr *in, json_t *config)
{
    static const struct {
        const char *model_type;
        bool qk_norm, sandwich, experts;
    } families[] = {{"llama", false, false, false},
                    {"gemma3_text", true, true, false},
                    {"gemma2", false, true, false},
                    {"gpt_oss", false, false, true}};
    const char *pre = "inference.normalization.preFeedforwardNorm",
               *post = "inference.normalization.postFeedforwardNorm";
    const char *norm = "inference.normalization.rmsNormWeightOffset", *scales = "inference.output.scaleEmbeddings";
    bool qk_norm = json_is_true(rdrr_member(in->manifest, "inference.attention.queryKeyNorm"));
    bool sandwich = json_is_true(rdrr_member(in->manifest, pre));
    bool experts = rdrr_member(in->manifest, "moeConfig") != NULL;
    if (sandwich != json_is_true(rdrr_member(in->manifest, post))) {
        return rdrr_refuse(in, post, "", rdrr_member(in->manifest, post), "the same as preFeedforwardNorm");
    }
    const struct family *family = NULL;
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (families[i].qk_norm == qk_norm && families[i].sandwich == sandwich && families[i].experts == experts) {
            family = family_by_model_type(families[i].model_type);
            json_object_set_new(config, "model_type", json_string(families[i].model_type));
        }
    }
    if (!family) {
        return rdrr_refuse(in, "inference.attention.queryKeyNorm", "",
                           rdrr_member(in->manifest, "inference.attention.queryKeyNorm"),
                           "the norms of a family that is known");
    }
    const json_t *offset = rdrr_member(in->manifest, norm), *scaled = rdrr_member(in->manifest, scales);
    if (json_is_true(offset) != (family->norm_offset != 0)) {
        return rdrr_refuse(in, norm, "", offset,
                           family->norm_offset != 0 ? "true, as this family's norms are" : "false");
    }
    const json_t *scalar = json_object_get(config, "query_pre_attn_scalar");
    if (scalar && !family->reads_query_scalar && !json_equal(scalar, json_object_get(config, "head_dim"))) {
        return rdrr_refuse(in, "inference.attention.queryPreAttnScalar", "", scalar, "headDim, as in this family");
    }
    if (json_is_true(scaled) != family->scales_embedding) {
        return rdrr_refuse(in, scales, "", scaled, family->scales_embedding ? "true, as in this family" : "false");
    }
    return STATUS_OK;
}

static enum status add_activation(const struct rdrr *in, json_t *config)
{
    const json_t *value = rdrr_member(in->manifest, "inference.ffn.activation");
    const char *name = json_string_value(value);
    if (name && strcmp(name, "gelu") == 0) {
        name = "gelu_pytorch_tanh"; /* DOPPLER's gelu.wgsl computes this one */
    }
    uint32_t code;
    if (!name || !activation_by_name(name, &code)) {
        return rdrr_refuse(in, "inference.ffn.activation", "", value, "gelu or silu");
    }
    json_object_set_new(config, "hidden_act", json_string(name));
    return STATUS_OK;
}

static void add_rope_scaling(const struct rdrr *in, json_t *config)
{
    static const struct {
        const char *path, *key;
    } parts[] = {
        {"inference.rope.ropeScalingFactor", "factor"},
        {"inference.rope.yarnBetaFast", "beta_fast"},
        {"inference.rope.yarnBetaSlow", "beta_slow"},
        {"inference.rope.yarnOriginalMaxPos", "original_max_position_embeddings"},
        {"config.rope_parameters.truncate", "truncate"}, /* from the source's config: a manifest has no key for it */
        {"config.rope_scaling.truncate", "truncate"},
    };
    json_t *type = rdrr_member(in->manifest, "inference.rope.ropeScalingType");
    if (!type) {
        return;
    }
    json_t *scaling = json_object();
    json_object_set(scaling, "rope_type", type);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        json_t *value = rdrr_member(in->manifest, parts[i].path);
        if (value) {
            json_object_set(scaling, parts[i].key, value);
        }
    }
    json_object_set_new(config, "rope_scaling", scaling);
}

/* Global layers: all of them, every period-th from an offset on, the even or the odd ones, or those of a list. */
static enum status add_layers(const struct rdrr *in, json_t *config)
{
    const char *path = "inference.layerPattern";
    json_t *pattern = rdrr_member(in->manifest, path), *types = rdrr_member(pattern, "layerTypes");
    const char *type = json_string_value(rdrr_member(pattern, "type")),
               *global = json_string_value(rdrr_member(pattern, "globalPattern"));
    json_int_t period = json_integer_value(rdrr_member(pattern, "period")),
               offset = json_integer_value(rdrr_member(pattern, "offset"));
    json_int_t n_layers = json_integer_value(rdrr_member(in->manifest, "architecture.numLayers"));
    bool uniform = type && strcmp(type, "uniform") == 0, every = type && strcmp(type, "every_n") == 0;
    if (type && strcmp(type, "custom") == 0 && json_is_array(types)) {
        json_object_set(config, "layer_types", types);
        return STATUS_OK;
    }
    if (type && strcmp(type, "alternating") == 0 && global &&
        (strcmp(global, "even") == 0 || strcmp(global, "odd") == 0)) {
        every = true;
        period = 2;
        offset = strcmp(global, "odd") == 0;
    }
    if (!uniform && (!every || period < 1 || offset < 0)) {
        return rdrr_refuse(in, path, "", pattern, "uniform, every_n with a period, alternating even or odd, or custom");
    }
    json_t *list = json_array();
    for (json_int_t i = 0; i < n_layers && i < 4096; i++) { /* config_json.c refuses more layers */
        json_array_append_new(
            list, json_string(uniform || (i - offset) % period == 0 ? "full_attention" : "sliding_attention"));
    }
    json_object_set_new(config, "layer_types", list);
    return STATUS_OK;
}

static enum status translate(const struct rdrr *in, json_t *config)
{
    TRY(check_fixed(in));
    TRY(check_flags(in));
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        json_t *value = rdrr_member(in->manifest, same[i].path);
        if (!value && same[i].required) {
            return rdrr_refuse(in, same[i].path, "", NULL, "it, for nothing is assumed");
        }
        if (value) {
            json_object_set(config, same[i].key, value);
        }
    }
    TRY(check_experts(in, config));
    TRY(find_family(in, config));
    TRY(add_activation(in, config));
    TRY(add_layers(in, config));
    add_rope_scaling(in, config);
    return STATUS_OK;
}

enum status rdrr_config(const struct rdrr *in)
{
    json_t *config = json_object();
    enum status status = translate(in, config);
    if (status == STATUS_OK) {
        status = config_from_object(in->model, in->file, config, in->err);
    }
    json_decref(config);
    return status;
}
