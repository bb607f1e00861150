/* Reads rotary embedding from a GGUF's metadata, or from a table of divisors of its frequencies. Sources:
 * ggml/docs/gguf.md for the keys; llama.cpp, convert_hf_to_gguf.py and llama-context.cpp, for the defaults and the
 * table. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/files/gguf.h"

static enum status read_linear(const struct gguf *gguf, struct rope *rope)
{
    const char *key = gguf_arch_key(gguf, "rope.scaling.factor");
    if (!gguf_find(gguf, key) && gguf_find(gguf, gguf_arch_key(gguf, "rope.scale_linear"))) {
        key = gguf_arch_key(gguf, "rope.scale_linear"); /* older name of the key */
    }
    TRY(gguf_float(gguf, key, true, &rope->factor));
    rope->type = rope->factor == 1 ? ROPE_TYPE_DEFAULT : ROPE_TYPE_LINEAR;
    return STATUS_OK;
}

/* Refuses keys of other models' YaRN, which change the result. */
static enum status refuse_unknown(const struct gguf *gguf)
{
    static const char *const ones[] = {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                                       "rope.scaling.yarn_ext_factor"};
    for (size_t i = 0; i < sizeof(ones) / sizeof(ones[0]); i++) {
        const char *key = gguf_arch_key(gguf, ones[i]);
        float value = 1;
        TRY(gguf_float(gguf, key, false, &value));
        if (value != 1) {
            return gguf_refuse(gguf, key, gguf_find(gguf, key), "1");
        }
    }
    const char *key = gguf_arch_key(gguf, "rope.scaling.yarn_log_multiplier");
    const struct gguf_value *value = gguf_find(gguf, key);
    return value ? gguf_refuse(gguf, key, value, "no such key") : STATUS_OK;
}

static enum status read_yarn(const struct gguf *gguf, struct rope *rope)
{
    const struct family *family = gguf->model->config.family;
    uint32_t original = 0;
    rope->type = ROPE_TYPE_YARN;
    rope->low = 1; /* llama.cpp's defaults, and the paper's */
    rope->high = 32;
    rope->truncate = !family->gguf_yarn_untruncated;
    TRY(gguf_float(gguf, gguf_arch_key(gguf, "rope.scaling.factor"), true, &rope->factor));
    TRY(gguf_count(gguf, gguf_arch_key(gguf, "rope.scaling.original_context_length"), true, UINT32_MAX, &original));
    TRY(gguf_float(gguf, gguf_arch_key(gguf, "rope.scaling.yarn_beta_slow"), false, &rope->low));
    TRY(gguf_float(gguf, gguf_arch_key(gguf, "rope.scaling.yarn_beta_fast"), false, &rope->high));
    TRY(refuse_unknown(gguf));
    const char *fast = gguf_arch_key(gguf, "rope.scaling.yarn_beta_fast");
    if (rope->low >= rope->high) {
        return gguf_refuse(gguf, fast, gguf_find(gguf, fast), "more than yarn_beta_slow");
    }
    if (!rope->truncate) {
        loader_note(gguf->model,
                    "%s: YaRN's range is not truncated, as in %s's config.json; llama.cpp truncates it, so that its "
                    "q_rope and k_rope are others",
                    gguf->file->path, family->name);
    }
    rope->original = (float)original;
    rope->scale = (float)rope_yarn_magnitude(rope->factor, 1);
    return STATUS_OK;
}

static enum status read_scaling(const struct gguf *gguf, struct rope *rope)
{
    const char *key = gguf_arch_key(gguf, "rope.scaling.type"), *type = NULL;
    TRY(gguf_string(gguf, key, false, &type));
    bool has_factor = gguf_find(gguf, gguf_arch_key(gguf, "rope.scaling.factor")) ||
                      gguf_find(gguf, gguf_arch_key(gguf, "rope.scale_linear"));
    if (type ? strcmp(type, "linear") == 0 : has_factor) {
        return read_linear(gguf, rope);
    }
    if (type && strcmp(type, "yarn") == 0) {
        return read_yarn(gguf, rope);
    }
    return !type || strcmp(type, "none") == 0 ? STATUS_OK
                                              : gguf_refuse(gguf, key, gguf_find(gguf, key), "none, linear or yarn");
}

enum status config_gguf_ropes(const struct gguf *gguf)
{
    struct config *config = &gguf->model->config;
    struct rope *rope = &config->rope_global;
    const char *base = gguf_arch_key(gguf, "rope.freq_base");
    *rope = (struct rope){.type = ROPE_TYPE_DEFAULT, .theta = config->family->rope_theta, .factor = 1, .scale = 1};
    TRY(gguf_float(gguf, base, config->family->ropes_by_layer_type, &rope->theta));
    if (!gguf_find(gguf, base)) {
        loader_note(gguf->model, "%s: %s is missing; %g, as llama.cpp assumes", gguf->file->path, base,
                    (double)rope->theta);
    }
    TRY(read_scaling(gguf, rope));
    config->rope_local = *rope;
    if (config->family->ropes_by_layer_type) {
        config->rope_local = (struct rope){
            .type = ROPE_TYPE_DEFAULT, .theta = config->family->rope_theta_local, .factor = 1, .scale = 1};
    }
    if (config->family->ropes_by_layer_type) {
        TRY(gguf_float(gguf, gguf_arch_key(gguf, "rope.freq_base_swa"), false, &config->rope_local.theta));
    }
    return STATUS_OK;
}

/* The divisor of frequency i in llama3's scaling. *error: how far a converter's float32 can be from it, by rounding of
 * base^(2i/dim) (as in rope's bound), of the wavelength, and of each later operation. */
static double llama3_divisor(const struct rope *rope, uint32_t dim, uint32_t i, double *error)
{
    const double unit = FLT_EPSILON / 2;
    double exponent = 2.0 * i / dim, frequency = pow((double)rope->theta, -exponent);
    double turns = (double)rope->original * frequency / (2 * M_PI); /* turns of the pair over the original context */
    double span = (double)rope->high - (double)rope->low, factor = (double)rope->factor;
    double smooth = fmin(fmax((turns - (double)rope->low) / span, 0), 1);
    double divisor = 1 / ((1 - smooth) / factor + smooth);
    double turns_error = turns * unit * (7 + exponent * log((double)rope->theta));
    bool constant = turns + turns_error < (double)rope->low || turns - turns_error > (double)rope->high;
    *error = constant ? 0 : divisor * (divisor * turns_error / span * (1 - 1 / factor) + 6 * unit);
    return divisor;
}

/* Whether these parameters give the table. */
static bool makes_table(const struct rope *rope, const float *table, uint32_t dim)
{
    bool same = true;
    for (uint32_t i = 0; i < dim / 2 && same; i++) {
        double error, divisor = llama3_divisor(rope, dim, i, &error);
        same = fabs((double)table[i] - divisor) <= error;
    }
    return same;
}

enum status config_gguf_factors(const struct gguf *gguf, const struct tensor *table)
{
    struct config *config = &gguf->model->config;
    uint32_t dim = config->head_dim;
    bool fits = table->dtype == DTYPE_F32 && table->n_dims == 1 && table->shape[0] == dim / 2 && dim >= 2;
    bool wanted = config->family->gguf_rope_factors && config->rope_global.type == ROPE_TYPE_DEFAULT;
    const float *factors = (const float *)(const void *)table->bytes;
    struct rope rope = config->rope_global;
    rope.type = ROPE_TYPE_LLAMA3;
    rope.low = 1; /* the same in every Llama */
    rope.high = 4;
    for (uint32_t i = 0; fits && wanted && i < dim / 2; i++) {
        rope.factor = fmaxf(rope.factor, factors[i]);
    }
    for (rope.original = 8192; fits && wanted && rope.original > 16; rope.original /= 2) {
        if (makes_table(&rope, factors, dim)) {
            config->rope_global = config->rope_local = rope;
            return STATUS_OK;
        }
    }
    return error_set(gguf->err, STATUS_BAD_INPUT, table->file, table->stored_name, (int64_t)table->offset, "%s",
                     !wanted ? "a table of rope frequency factors, expected rope without one"
                     : !fits
                         ? "a table of rope frequency factors of another shape or dtype, expected F32 of head_dim / 2"
                         : "rope frequency factors that llama3's scaling does not make, expected its table");
}
