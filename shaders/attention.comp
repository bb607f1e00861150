/* y = softmax(cap(scale * q k)) v over the visible keys. One workgroup per row and head. It takes the keys in chunks of CHUNK
 * with a running maximum, so that any number of keys works (an engine that kept scores in a fixed array ignored the keys
 * past 256: fix "attention decode array"). */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "math.glsl"
#include "reduce.glsl"

layout(constant_id = 5) const uint HEAD_DIM = 64;
const uint CHUNK = 256;

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    attention_params op;
};
layout(set = 0, binding = 3) readonly buffer Queries
{
    float q[];
};
layout(set = 0, binding = 3) readonly buffer WideQueries
{
    vec4 q4[]; /* the same; llvmpipe loads 16 bytes in the time of 4 */
};
layout(set = 0, binding = 4) readonly buffer Keys
{
    float keys[]; /* [position, kv_heads, dim] */
};
layout(set = 0, binding = 4) readonly buffer WideKeys
{
    vec4 keys4[];
};
layout(set = 0, binding = 5) readonly buffer Values
{
    float values[];
};
layout(set = 0, binding = 5) readonly buffer WideValues
{
    vec4 values4[];
};

layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(set = 0, binding = 6) readonly buffer Sinks
{
    uint bias_words[]; /* [heads], if op.has_sinks */
};
#include "bias.glsl"

/* Heads of whole quads are read as such; and where lanes are few, one has four elements of the values' sum. */
#ifdef VARIANT_QUERY_AS_F32
const bool BY_QUADS = false;
#else
const bool BY_QUADS = HEAD_DIM % 4 == 0;
#endif
const bool SUM_BY_QUADS = HEAD_DIM % 4 == 0 && gl_WorkGroupSize.x * 4 <= HEAD_DIM;

shared float p[CHUNK];      /* of the chunk: scores, then probabilities that are not yet divided by their sum */
shared float sum[HEAD_DIM]; /* the sum of p v so far */

uint row, position, first_key, n_keys; /* n_keys keys from first_key on are visible */

/* Element i of the query of head h. */
float query(uint h, uint i)
{
#ifdef VARIANT_QUERY_AS_F32
    uint width = op.heads * HEAD_DIM, first = row * width, word = h * HEAD_DIM + i;
    return word >= width / 2
               ? 0.0
               : uintBitsToFloat(half_bits(q[first + 2 * word]) | half_bits(q[first + 2 * word + 1]) << 16);
#else
    return q[(row * op.heads + h) * HEAD_DIM + i];
#endif
}

/* The head of keys and values that a query head reads. */
uint kv_head_of(uint h)
{
#ifdef VARIANT_KV_HEADS_IN_TURN
    return h % op.kv_heads;
#else
    return h / (op.heads / op.kv_heads);
#endif
}

/* The score of visible key j for head h. */
float score(uint h, uint j)
{
    uint key = first_key + j;
#ifdef VARIANT_KV_STALE
    if (batch.decode != 0 && key == position && position >= 1)
        key--;
#endif
    uint b = (key * op.kv_heads + kv_head_of(h)) * HEAD_DIM;
    float s = 0.0;
    uint i = 0;
    for (; i < HEAD_DIM && BY_QUADS; i += 4)
        s += dot(q4[((row * op.heads + h) * HEAD_DIM + i) / 4], keys4[(b + i) / 4]);
    for (; i + 4 <= HEAD_DIM; i += 4)
        s += dot(vec4(query(h, i), query(h, i + 1), query(h, i + 2), query(h, i + 3)),
                 vec4(keys[b + i], keys[b + i + 1], keys[b + i + 2], keys[b + i + 3]));
    for (; i < HEAD_DIM; i++)
        s += query(h, i) * keys[b + i];
    s *= op.scale;
    return op.softcap == 0.0 ? s : op.softcap * tanh_exact(divide(s, op.softcap));
}

#ifdef VARIANT_SOFTMAX_SIZES_SWAPPED
/* The probability of key j within its run of `heads` scores; model/variants.h says what the bug does. */
float swapped_probability(uint h, uint j)
{
    uint f = h * n_keys + j, first = f / op.heads * op.heads;
    float maximum = score(first / n_keys, first % n_keys), total = 0.0;
    for (uint i = 1; i < op.heads; i++)
        maximum = max(maximum, score((first + i) / n_keys, (first + i) % n_keys));
    for (uint i = 0; i < op.heads; i++)
        total += exp_exact(score((first + i) / n_keys, (first + i) % n_keys) - maximum);
    return divide(exp_exact(score(h, j) - maximum), total);
}
#endif

/* Does what add_values does, for elements i … i + 3. at: index of element i of the first key's value. */
void add_value_quads(uint i, uint at, uint n, uint stride, float scale)
{
    vec4 a = vec4(sum[i], sum[i + 1], sum[i + 2], sum[i + 3]) * scale;
    uint j = 0;
    for (; j + 4 <= n; j += 4, at += 4 * stride) {
        vec4 p4 = vec4(p[j], p[j + 1], p[j + 2], p[j + 3]);
        mat4 v = transpose(mat4(values4[at / 4], values4[(at + stride) / 4], values4[(at + 2 * stride) / 4],
                                values4[(at + 3 * stride) / 4]));
        a += vec4(dot(p4, v[0]), dot(p4, v[1]), dot(p4, v[2]), dot(p4, v[3]));
    }
    for (; j < n; j++, at += stride)
        a += p[j] * values4[at / 4];
    for (uint k = 0; k < 4; k++)
        sum[i + k] = a[k];
}

/* Multiplies `sum` by `scale` and adds p v of the n keys of the chunk that starts at visible key `from`. */
void add_values(uint from, uint n, uint kv_head, float scale)
{
    uint stride = op.kv_heads * HEAD_DIM;
    for (uint i = gl_LocalInvocationID.x * 4; i < HEAD_DIM && SUM_BY_QUADS; i += gl_WorkGroupSize.x * 4)
        add_value_quads(i, ((first_key + from) * op.kv_heads + kv_head) * HEAD_DIM + i, n, stride, scale);
    if (SUM_BY_QUADS)
        return;
    for (uint i = gl_LocalInvocationID.x; i < HEAD_DIM; i += gl_WorkGroupSize.x) {
        uint at = ((first_key + from) * op.kv_heads + kv_head) * HEAD_DIM + i;
        float a = sum[i] * scale;
        uint j = 0;
        for (; j + 4 <= n; j += 4, at += 4 * stride)
            a += dot(vec4(p[j], p[j + 1], p[j + 2], p[j + 3]),
                     vec4(values[at], values[at + stride], values[at + 2 * stride], values[at + 3 * stride]));
        for (; j < n; j++, at += stride)
            a += p[j] * values[at];
        sum[i] = a;
    }
}

void main()
{
    uint group = group_index(), lane = gl_LocalInvocationID.x;
    row = group / op.heads;
    if (row >= dispatch.n_rows)
        return;
    uint head = group % op.heads, kv_head = kv_head_of(head);
    position = batch.first_position + row;
    first_key = op.window != 0 && position >= op.window ? position + 1 - op.window : 0;
#ifdef VARIANT_OWN_KEY_ONLY
    first_key = batch.decode != 0 ? position : first_key;
#endif
    n_keys = position + 1 - first_key;
#ifdef VARIANT_KEYS_256
    n_keys = min(n_keys, 256);
#endif
#ifdef VARIANT_NEXT_KEY
    n_keys += batch.decode == 0 && row + 1 < dispatch.n_rows ? 1 : 0;
#endif

    for (uint i = lane; i < HEAD_DIM; i += gl_WorkGroupSize.x)
        sum[i] = 0.0;
    /* A sink is a score without a value; the sums start with it. */
    float maximum = op.has_sinks != 0 ? bias(head) : 0.0, total = op.has_sinks != 0 ? 1.0 : 0.0;
    for (uint from = 0; from < n_keys; from += CHUNK) {
        uint n = min(CHUNK, n_keys - from);
#ifdef VARIANT_SOFTMAX_SIZES_SWAPPED
        float scale = 1.0;
        for (uint j = lane; j < n; j += gl_WorkGroupSize.x)
            p[j] = swapped_probability(head, from + j);
        total = 1.0;
        barrier();
#else
        float chunk_max = uintBitsToFloat(0xff800000); /* -infinity */
        for (uint j = lane; j < n; j += gl_WorkGroupSize.x) {
            p[j] = score(head, from + j);
            chunk_max = max(chunk_max, p[j]);
        }
        chunk_max = reduce_max(chunk_max);
        bool first = from == 0 && op.has_sinks == 0;
        float next = first ? chunk_max : max(maximum, chunk_max);
#ifdef VARIANT_NO_MAXIMUM
        maximum = next = 0.0;
#endif
        float scale = first ? 0.0 : exp_exact(maximum - next);
        float chunk_total = 0.0;
        for (uint j = lane; j < n; j += gl_WorkGroupSize.x) {
            p[j] = exp_exact(p[j] - next);
#ifdef VARIANT_NO_MAXIMUM
            p[j] = p[j] < uintBitsToFloat(0x00800000) ? 0.0 : p[j];
#endif
            chunk_total += p[j];
        }
        total = total * scale + reduce_sum(chunk_total);
        maximum = next;
#endif
        add_values(from, n, kv_head, scale);
        barrier();
    }
    for (uint i = lane; i < HEAD_DIM; i += gl_WorkGroupSize.x)
        store((row * op.heads + head) * HEAD_DIM + i, op.heads * HEAD_DIM, divide(sum[i], total));
}
