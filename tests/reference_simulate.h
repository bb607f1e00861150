/* Every op as a plain kernel computes it: float32 arithmetic, sequential sums, and each intermediate value that
 * transformers stores rounded to the storage type. An honest kernel, written without a look at the bounds. */
#ifndef LOCKSTEP_TESTS_REFERENCE_SIMULATE_H
#define LOCKSTEP_TESTS_REFERENCE_SIMULATE_H

#include "reference/op.h"
#include "tests/reference_case.h"

static inline float stored(float x, uint32_t storage)
{
    return round_to_dtype(x, storage);
}

static inline float simulate_dot(const float *a, const float *b, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static inline void simulate_embed(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct embed_params *p = &c->step.params.embed;
    float scale = stored(p->scale, storage);
    for (uint32_t i = 0; i < p->width; i++)
        y[i] = stored(scale * c->weights[0][(uint32_t)c->rows[r].token * p->width + i], storage);
}

static inline void simulate_rms_norm(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct rms_norm_params *p = &c->step.params.rms_norm;
    for (uint32_t g = 0; g < p->groups; g++) {
        const float *x = c->rows[r].in[0] + g * p->dim;
        float inverse = 1 / sqrtf(simulate_dot(x, x, p->dim) / (float)p->dim + p->eps);
        for (uint32_t i = 0; i < p->dim; i++)
            y[g * p->dim + i] = stored(stored(x[i] * inverse, storage) * (p->offset + c->weights[0][i]), storage);
    }
}

static inline void simulate_matmul(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct matmul_params *p = &c->step.params.matmul;
    for (uint32_t o = 0; o < p->n_out; o++) {
        y[o] = stored(simulate_dot(c->weights[0] + (uint64_t)o * p->n_in, c->rows[r].in[0], p->n_in), storage);
        if (p->has_bias)
            y[o] = stored(y[o] + c->weights[1][o], storage);
    }
}

static inline void simulate_rope(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct rope_params *p = &c->step.params.rope;
    for (uint32_t i = 0; i < p->dim / 2; i++) {
        float frequency = 1 / powf(p->theta, 2 * (float)i / (float)p->dim);
        if (p->type == ROPE_TYPE_LINEAR)
            frequency /= p->factor;
        float angle = (float)c->rows[r].position * frequency;
        float cosine = stored(cosf(angle), storage), sine = stored(sinf(angle), storage);
        for (uint32_t first = i; first < p->heads * p->dim; first += p->dim) {
            uint32_t second = first + p->dim / 2;
            float a = c->rows[r].in[0][first], b = c->rows[r].in[0][second];
            y[first] = stored(stored(a * cosine, storage) - stored(b * sine, storage), storage);
            y[second] = stored(stored(b * cosine, storage) + stored(a * sine, storage), storage);
        }
    }
}

/* Scores of one head, then their softmax. */
static inline void simulate_probabilities(const struct op_case *c, uint32_t r, uint32_t h, uint32_t storage, float *p,
                                          uint32_t first, uint32_t n)
{
    const struct attention_params *a = &c->step.params.attention;
    uint32_t kv = h / (a->heads / a->kv_heads);
    float max = -INFINITY, sum = 0;
    for (uint32_t j = 0; j < n; j++) {
        const float *k = c->inputs[1] + ((first + j) * a->kv_heads + kv) * a->dim;
        p[j] = stored(stored(simulate_dot(c->rows[r].in[0] + h * a->dim, k, a->dim), storage) * a->scale, storage);
        if (a->softcap != 0)
            p[j] = stored(stored(tanhf(stored(p[j] / a->softcap, storage)), storage) * a->softcap, storage);
        max = fmaxf(max, p[j]);
    }
    for (uint32_t j = 0; j < n; j++)
        sum += p[j] = expf(p[j] - max);
    for (uint32_t j = 0; j < n; j++)
        p[j] = stored(p[j] / sum, storage);
}

static inline void simulate_attention(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    const struct attention_params *a = &c->step.params.attention;
    uint32_t end = c->rows[r].position + 1, n = a->window && a->window < end ? a->window : end;
    float *p = xmalloc(n * sizeof(float));
    for (uint32_t h = 0; h < a->heads; h++) {
        simulate_probabilities(c, r, h, storage, p, end - n, n);
        for (uint32_t i = 0; i < a->dim; i++) {
            float sum = 0;
            for (uint32_t j = 0; j < n; j++)
                sum += p[j] * c->inputs[2][((end - n + j) * a->kv_heads + h / (a->heads / a->kv_heads)) * a->dim + i];
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
    for (uint32_t i = 0; i < c->step.width; i++)
        y[i] = stored(c->rows[r].in[0][i] + c->rows[r].in[1][i], storage);
}

static inline void simulate_softcap(const struct op_case *c, uint32_t r, uint32_t storage, float *y)
{
    float cap = c->step.params.softcap.cap;
    for (uint32_t i = 0; i < c->step.width; i++) {
        float x = c->rows[r].in[0][i];
        y[i] = cap != 0 ? stored(stored(tanhf(stored(x / cap, storage)), storage) * cap, storage) : x;
    }
}

/* All rows of a case; the caller frees. A new op without its simulation does not compile. */
static inline float *simulate(const struct op_case *c, uint32_t storage)
{
    static void (*const ops[OP_COUNT])(const struct op_case *, uint32_t, uint32_t, float *) = {
#define X(name, inputs, weights, what) [OP_##name] = simulate_##name,
        OPS(X)
#undef X
    };
    float *y = xmalloc((uint64_t)c->n_rows * c->step.width * sizeof(float));
    for (uint32_t r = 0; r < c->n_rows; r++)
        ops[c->step.op](c, r, storage, y + (uint64_t)r * c->step.width);
    return y;
}

#endif
