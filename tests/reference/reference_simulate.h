/* Every op as a plain, honest kernel computes it: float32 arithmetic, sequential sums, and each intermediate value that
 * transformers stores rounded to the storage type. Written without regard to the bounds. */
#ifndef LOCKSTEP_TESTS_REFERENCE_REFERENCE_SIMULATE_H
#define LOCKSTEP_TESTS_REFERENCE_REFERENCE_SIMULATE_H

#include "reference/op.h"
#include "tests/reference/reference_case.h"

static inline float stored(float x, uint32_t storage)
{
    return round_to_dtype(x, storage);
}

static inline float simulate_dot(const float *a, const float *b, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static inline void simulate_embed(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct embed_params *p = &c->step.params.embed;
    float scale = stored(p->scale, storage);
    for (uint32_t i = 0; i < p->width; i++) {
        y[i] = stored(scale * c->weights[0][(uint32_t)c->rows[r].token * p->width + i], storage);
    }
}

static inline void simulate_rms_norm(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct rms_norm_params *p = &c->step.params.rms_norm;
    for (uint32_t g = 0; g < p->groups; g++) {
        const float *x = c->rows[r].in[0] + g * p->dim;
        float inverse = 1 / sqrtf(simulate_dot(x, x, p->dim) / (float)p->dim + p->eps);
        for (uint32_t i = 0; i < p->dim; i++) {
            y[g * p->dim + i] = stored(stored(x[i] * inverse, storage) * (p->offset + c->weights[0][i]), storage);
        }
    }
}

static inline void simulate_matmul(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct matmul_params *p = &c->step.params.matmul;
    for (uint32_t o = 0; o < p->n_out; o++) {
        y[o] = stored(simulate_dot(c->weights[0] + (uint64_t)o * p->n_in, c->rows[r].in[0], p->n_in), storage);
        if (p->has_bias) {
            y[o] = stored(y[o] + c->weights[1][o], storage);
        }
    }
}

/* Source: transformers, _compute_yarn_parameters, truncate false. */
static inline float simulate_yarn(const struct rope_params *p, uint32_t i)
{
    double per_log = p->dim / (2 * log(p->theta)), low = per_log * log(p->original / (p->high * 2 * M_PI));
    double high = per_log * log(p->original / (p->low * 2 * M_PI));
    low = fmax(low, 0), high = fmin(high, p->dim - 1);
    float ramp = fminf(fmaxf(((float)i - (float)low) / (float)(high - low), 0), 1), extrapolation = 1 - ramp;
    float wave = powf(p->theta, 2 * (float)i / (float)p->dim);
    return 1 / (p->factor * wave) * (1 - extrapolation) + 1 / wave * extrapolation;
}

static inline void simulate_rope(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct rope_params *p = &c->step.params.rope;
    for (uint32_t i = 0; i < p->dim / 2; i++) {
        float frequency = 1 / powf(p->theta, 2 * (float)i / (float)p->dim);
        if (p->type == ROPE_TYPE_LINEAR) {
            frequency /= p->factor;
        }
        if (p->type == ROPE_TYPE_YARN) {
            frequency = simulate_yarn(p, i);
        }
        float angle = (float)c->rows[r].position * frequency;
        float cosine = stored(p->scale * cosf(angle), storage), sine = stored(p->scale * sinf(angle), storage);
        for (uint32_t first = i; first < p->heads * p->dim; first += p->dim) {
            uint32_t second = first + p->dim / 2;
            float a = c->rows[r].in[0][first], b = c->rows[r].in[0][second];
            y[first] = stored(stored(a * cosine, storage) - stored(b * sine, storage), storage);
            y[second] = stored(stored(b * cosine, storage) + stored(a * sine, storage), storage);
        }
    }
}

/* Positions [first, first + n). */
struct visible_keys {
    uint32_t first, n;
};

/* Scores of one head, then their softmax: p [n]. */
static inline void simulate_probabilities(const struct op_case *c, uint32_t r, uint32_t h, uint32_t storage,
                                          struct visible_keys keys, float *p)
{
    uint32_t first = keys.first, n = keys.n;
    const struct attention_params *a = &c->step.params.attention;
    uint32_t kv = h / (a->heads / a->kv_heads);
    float max = -INFINITY, sum = 0;
    for (uint32_t j = 0; j < n; j++) {
        const float *k = c->inputs[1] + ((first + j) * a->kv_heads + kv) * a->dim;
        p[j] = stored(stored(simulate_dot(c->rows[r].in[0] + h * a->dim, k, a->dim), storage) * a->scale, storage);
        if (a->softcap != 0) {
            p[j] = stored(stored(tanhf(stored(p[j] / a->softcap, storage)), storage) * a->softcap, storage);
        }
        max = fmaxf(max, p[j]);
    }
    for (uint32_t j = 0; j < n; j++) {
        sum += p[j] = expf(p[j] - max);
    }
    for (uint32_t j = 0; j < n; j++) {
        p[j] = stored(p[j] / sum, storage);
    }
}

static inline void simulate_attention(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct attention_params *a = &c->step.params.attention;
    uint32_t end = c->rows[r].position + 1, n = a->window && a->window < end ? a->window : end;
    float *p = xmalloc(n * sizeof(float));
    for (uint32_t h = 0; h < a->heads; h++) {
        simulate_probabilities(c, r, h, storage, (struct visible_keys){end - n, n}, p);
        for (uint32_t i = 0; i < a->dim; i++) {
            float sum = 0;
            for (uint32_t j = 0; j < n; j++) {
                sum += p[j] * c->inputs[2][((end - n + j) * a->kv_heads + h / (a->heads / a->kv_heads)) * a->dim + i];
            }
            y[h * a->dim + i] = stored(sum, storage);
        }
    }
    free(p);
}

static inline void simulate_glu(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    for (uint32_t i = 0; i < c->step.width; i++) {
        float g = c->rows[r].in[0][i], z = 0.79788456f * (g + 0.044715f * g * g * g);
        bool silu = c->step.params.glu.activation == ACTIVATION_SILU;
        float activated = silu ? g / (1 + expf(-g)) : 0.5f * g * (1 + tanhf(z));
        y[i] = stored(stored(activated, storage) * c->rows[r].in[1][i], storage);
    }
}

static inline void simulate_add(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    for (uint32_t i = 0; i < c->step.width; i++) {
        y[i] = stored(c->rows[r].in[0][i] + c->rows[r].in[1][i], storage);
    }
}

static inline void simulate_softcap(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    float cap = c->step.params.softcap.cap;
    for (uint32_t i = 0; i < c->step.width; i++) {
        float x = c->rows[r].in[0][i];
        y[i] = cap != 0 ? stored(stored(tanhf(stored(x / cap, storage)), storage) * cap, storage) : x;
    }
}

/* Index of the j-th largest of n; the first among equals. */
static inline uint32_t simulate_place(const float *x, uint32_t n, uint32_t j)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t before = 0;
        for (uint32_t k = 0; k < n; k++) {
            before += x[k] > x[i] || (x[k] == x[i] && k < i);
        }
        if (before == j) {
            return i;
        }
    }
    return n;
}

static inline void simulate_topk(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    (void)storage;
    for (uint32_t j = 0; j < c->step.width; j++) {
        y[j] = (float)simulate_place(c->rows[r].in[0], c->step.params.topk.n, j);
    }
}

static inline void simulate_topk_softmax(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const float *x = c->rows[r].in[0];
    uint32_t n = c->step.params.topk_softmax.n, k = c->step.width;
    float max = x[simulate_place(x, n, 0)], sum = 0;
    for (uint32_t j = 0; j < k; j++) {
        sum += y[j] = expf(x[simulate_place(x, n, j)] - max);
    }
    for (uint32_t j = 0; j < k; j++) {
        y[j] = stored(y[j] / sum, storage);
    }
}

static inline void simulate_expert_matmul(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct expert_matmul_params *p = &c->step.params.expert_matmul;
    for (uint32_t at = 0; at < c->step.width; at++) {
        uint32_t j = at / p->n_out, row = (uint32_t)c->rows[r].in[1][j] * p->n_out + at % p->n_out;
        const float *x = c->rows[r].in[0] + (p->shared_x ? 0 : j * p->n_in);
        y[at] = stored(simulate_dot(c->weights[0] + (uint64_t)row * p->n_in, x, p->n_in), storage);
        y[at] = stored(y[at] + c->weights[1][row], storage);
    }
}

static inline void simulate_swiglu(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct swiglu_params *p = &c->step.params.swiglu;
    for (uint32_t i = 0; i < p->width; i++) {
        float gate = fminf(c->rows[r].in[0][2 * i], p->limit);
        float up = fmaxf(fminf(c->rows[r].in[0][2 * i + 1], p->limit), -p->limit);
        float sigmoid = stored(1 / (1 + expf(-stored(gate * p->alpha, storage))), storage);
        y[i] = stored(stored(up + 1, storage) * stored(gate * sigmoid, storage), storage);
    }
}

static inline void simulate_expert_sum(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct expert_sum_params *p = &c->step.params.expert_sum;
    for (uint32_t i = 0; i < p->width; i++) {
        y[i] = 0;
        for (uint32_t j = 0; j < p->k; j++) {
            y[i] = stored(y[i] + stored(c->rows[r].in[0][j * p->width + i] * c->rows[r].in[1][j], storage), storage);
        }
    }
}

/* Computes all rows of a case; the caller frees them. A new op without its simulation does not compile. */
static inline float *simulate(const struct op_case *c, uint32_t storage)
{
    static void (*const ops[OP_COUNT])(const struct op_case *, uint32_t, uint32_t, float *) = {
#define X(name, inputs, weights, what) [OP_##name] = simulate_##name,
        OPS(X)
#undef X
    };
    float *y = xmalloc((uint64_t)c->n_rows * c->step.width * sizeof(float));
    for (uint32_t r = 0; r < c->n_rows; r++) {
        ops[c->step.op](c, r, storage, y + (uint64_t)r * c->step.width);
    }
    return y;
}

#endif
