/* y = softmax(cap(scale * q k)) v for many rows at once (prefill), for a GPU: a workgroup of 256 lanes makes ROWS rows of one
 * head, and each key and value that it loads serves them all. The keys go by in tiles of KEYS, with a running maximum. The
 * decoding kernel, and its faults: attention.comp. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 5) const uint HEAD_DIM = 64; /* 32, 64, 128 or 256 */
const uint LANES = 256, ROWS = 16, KEYS = 32;
const uint PIECE = 32 / 4;                /* vec4s of a key that are in shared memory at a time */
const uint GROUPS = LANES / HEAD_DIM;     /* of lanes, each with a value of every dim */
const uint OWN = ROWS / GROUPS;           /* rows of a lane */
const uint SCORES = ROWS * KEYS / LANES;  /* of a lane: rows lane / KEYS + s * LANES / KEYS */

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    attention_params op;
};
layout(set = 0, binding = 3) readonly buffer Queries
{
    vec4 q4[];
};
layout(set = 0, binding = 4) readonly buffer Keys
{
    vec4 keys4[]; /* [position, kv_heads, dim] */
};
layout(set = 0, binding = 5) readonly buffer Values
{
    float values[];
};
layout(set = 0, binding = 6) readonly buffer Sinks
{
    uint bias_words[]; /* [heads], if op.has_sinks */
};
#include "bias.glsl"

shared vec4 query[ROWS * HEAD_DIM / 4], key_piece[KEYS * (PIECE + 1)], p4[ROWS * KEYS / 4];
shared float row_scale[ROWS], row_total[ROWS];

#define NONE uintBitsToFloat(0xff800000) /* -infinity */
uint lane, first_row, head, kv_head, last_position;

uint position_of(uint row)
{
    return batch.first_position + min(first_row + row, dispatch.n_rows - 1);
}

uint first_visible(uint position)
{
    return op.window != 0 && position >= op.window ? position + 1 - op.window : 0;
}

/* Of KEYS values of a row, that as many consecutive lanes have: their sum or largest, for each of them. */
float row_max(uint row, float value)
{
    if (gl_SubgroupSize == KEYS)
        return subgroupMax(value);
    barrier();
    p4[(row * KEYS + lane % KEYS) / 4][lane % 4] = value;
    barrier();
    float most = NONE;
    for (uint i = 0; i < KEYS / 4; i++) {
        vec4 v = p4[row * KEYS / 4 + i];
        most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    return most;
}

float row_sum(uint row, float value)
{
    if (gl_SubgroupSize == KEYS)
        return subgroupAdd(value);
    barrier();
    p4[(row * KEYS + lane % KEYS) / 4][lane % 4] = value;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < KEYS / 4; i++)
        sum += dot(p4[row * KEYS / 4 + i], vec4(1.0));
    return sum;
}

/* score[s] of key first + lane % KEYS. */
void make_scores(uint first, out float score[SCORES])
{
    for (uint s = 0; s < SCORES; s++)
        score[s] = 0.0;
    for (uint i = 0; i < HEAD_DIM / 4; i += PIECE) {
        barrier(); /* the piece before has been read */
        for (uint k = lane; k < KEYS * PIECE; k += LANES) {
            uint key = min(first + k / PIECE, last_position);
            key_piece[k / PIECE * (PIECE + 1) + k % PIECE] =
                keys4[(key * op.kv_heads + kv_head) * (HEAD_DIM / 4) + i + k % PIECE];
        }
        barrier();
        for (uint k = 0; k < PIECE; k++) {
            vec4 key = key_piece[lane % KEYS * (PIECE + 1) + k];
            for (uint s = 0; s < SCORES; s++)
                score[s] += dot(query[(lane / KEYS + s * (LANES / KEYS)) * (HEAD_DIM / 4) + i + k], key);
        }
    }
    for (uint s = 0; s < SCORES; s++) {
        uint position = position_of(lane / KEYS + s * (LANES / KEYS)), key = first + lane % KEYS;
        score[s] *= op.scale;
        if (op.softcap != 0.0)
            score[s] = op.softcap * tanh_exact(divide(score[s], op.softcap));
        if (key > position || key < first_visible(position))
            score[s] = NONE;
    }
}

/* Turns scores into p4, and moves the maximum and the sum on. */
void make_probabilities(float score[SCORES], inout float maximum[SCORES], inout float total[SCORES])
{
    for (uint s = 0; s < SCORES; s++) {
        uint row = lane / KEYS + s * (LANES / KEYS);
        float next = max(maximum[s], row_max(row, score[s]));
        float p = score[s] == NONE ? 0.0 : exp_exact(score[s] - next);
        float scale = maximum[s] == NONE ? 0.0 : exp_exact(maximum[s] - next);
        total[s] = total[s] * scale + row_sum(row, p);
        maximum[s] = next;
        score[s] = p;
        if (lane % KEYS == 0)
            row_scale[row] = scale;
    }
    barrier();
    for (uint s = 0; s < SCORES; s++)
        p4[(lane / KEYS + s * (LANES / KEYS)) * (KEYS / 4) + lane % KEYS / 4][lane % 4] = score[s];
    barrier();
}

/* A value that a row does not see must not reach it, be it NaN. */
float seen(float p, float v)
{
    return p == 0.0 ? 0.0 : p * v;
}

void add_values(uint first, bool all_see, inout float y[OWN])
{
    uint group = lane / HEAD_DIM, dim = lane % HEAD_DIM;
    for (uint r = 0; r < OWN; r++)
        y[r] *= row_scale[group * OWN + r];
    for (uint j = 0; j < KEYS; j += 4) {
        vec4 v;
        for (uint k = 0; k < 4; k++) {
            uint key = min(first + j + k, last_position);
            v[k] = values[(key * op.kv_heads + kv_head) * HEAD_DIM + dim];
        }
        for (uint r = 0; r < OWN; r++) {
            vec4 p = p4[((group * OWN + r) * KEYS + j) / 4];
            y[r] += all_see ? dot(p, v) : (seen(p.x, v.x) + seen(p.y, v.y)) + (seen(p.z, v.z) + seen(p.w, v.w));
        }
    }
}

void main()
{
    uint group = group_index(), n_blocks = (dispatch.n_rows + ROWS - 1) / ROWS;
    lane = gl_LocalInvocationID.x;
    head = group % op.heads;
    if (group >= n_blocks * op.heads)
        return;
    first_row = (n_blocks - 1 - group / op.heads) * ROWS; /* the longest first */
    kv_head = head / (op.heads / op.kv_heads);
    last_position = position_of(ROWS - 1);
    for (uint i = lane; i < ROWS * HEAD_DIM / 4; i += LANES) {
        uint row = min(first_row + i / (HEAD_DIM / 4), dispatch.n_rows - 1);
        query[i] = q4[(row * op.heads + head) * (HEAD_DIM / 4) + i % (HEAD_DIM / 4)];
    }
    float y[OWN], score[SCORES], maximum[SCORES], total[SCORES];
    for (uint r = 0; r < OWN; r++)
        y[r] = 0.0;
    for (uint s = 0; s < SCORES; s++) { /* a sink is a score without a value: what the sums start with */
        maximum[s] = op.has_sinks != 0 ? bias(head) : NONE;
        total[s] = op.has_sinks != 0 ? 1.0 : 0.0;
    }
    for (uint first = first_visible(position_of(0)); first <= last_position; first += KEYS) {
        make_scores(first, score);
        make_probabilities(score, maximum, total);
        bool all_see = first + KEYS - 1 <= position_of(0) && first >= first_visible(last_position);
        add_values(first, all_see, y);
    }
    for (uint s = 0; s < SCORES; s++) {
        if (lane % KEYS == 0)
            row_total[lane / KEYS + s * (LANES / KEYS)] = total[s];
    }
    barrier();
    for (uint r = 0; r < OWN; r++) {
        uint row = lane / HEAD_DIM * OWN + r, at = ((first_row + row) * op.heads + head) * HEAD_DIM + lane % HEAD_DIM;
        if (first_row + row < dispatch.n_rows)
            store(at, op.heads * HEAD_DIM, divide(y[r], row_total[row]));
    }
}
