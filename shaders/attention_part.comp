/* One part of one row's attention. A workgroup takes one head and some of its visible keys, a tile at a time with a running
 * maximum. join.glsl describes what it stores. PROLOGUE adds the rope of q and k, and their norms. Every workgroup then
 * computes its own q; the workgroup of the last part also computes the key of this position (the own key). */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "math.glsl"
#include "rows.glsl"

layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 11) const uint PROLOGUE = PROLOGUE_NONE;
layout(constant_id = 13) const uint CAPTURE = 1;
layout(constant_id = 15) const uint TEAM = 32; /* lanes that share a key */

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    attention_part_params op;
};
layout(set = 0, binding = 3) readonly buffer Queries
{
    float q_in[];
};
layout(set = 0, binding = 4) readonly buffer OwnKey
{
    float k_in[];
};
layout(set = 0, binding = 5) readonly buffer Keys
{
    vec4 x4[]; /* [position, kv_heads, dim] */
};
layout(set = 0, binding = 6) readonly buffer Values
{
    vec4 values4[];
};
layout(set = 0, binding = 7) readonly buffer QueryWeights
{
    float q_w[];
};
layout(set = 0, binding = 8) readonly buffer KeyWeights
{
    float k_w[];
};
layout(set = 0, binding = 9) readonly buffer Table
{
    vec2 cos_sin[]; /* [position, dim/2] */
};
layout(set = 0, binding = 10) writeonly buffer QueryNorm
{
    float q_norm_y[];
};
layout(set = 0, binding = 11) writeonly buffer KeyNorm
{
    float k_norm_y[];
};
layout(set = 0, binding = 12) writeonly buffer KeyRope
{
    float k_rope_y[];
};
layout(set = 0, binding = 13) readonly buffer Sinks
{
    uint bias_words[]; /* [heads], if op.has_sinks */
};
layout(set = 0, binding = 14) writeonly buffer Parts
{
    float parts[];
};
#include "bias.glsl"
#include "join.glsl"

const uint TILE = 32; /* keys */
const uint TEAMS = gl_WorkGroupSize.x / TEAM;
const uint KEYS = TILE / TEAMS;                    /* keys of a tile that a team takes */
const uint OWN = (HEAD_DIM / 4 + TEAM - 1) / TEAM; /* vec4s of a head that a lane takes */
const uint PAIRS = HEAD_DIM / 2;
#define NONE uintBitsToFloat(0xff800000) /* -infinity */

shared vec2 normed[HEAD_DIM]; /* normalised q and k */
shared vec4 query[HEAD_DIM / 4], own_key[HEAD_DIM / 4];
shared float score[TILE];
shared float team_partial[gl_WorkGroupSize.x];
shared vec4 team_values[TEAMS][HEAD_DIM / 4];

float team_sum(float value)
{
    if (gl_SubgroupSize == TEAM)
        return subgroupAdd(value);
    barrier(); /* an earlier result has been read */
    team_partial[gl_LocalInvocationID.x] = value;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < TEAM; i++)
        sum += team_partial[gl_LocalInvocationID.x / TEAM * TEAM + i];
    return sum;
}

shared vec2 head_sum[gl_WorkGroupSize.x / 4];

/* The scales of the norms of q's head and of k's head. They are summed in the order of reduce.glsl. */
vec2 head_scales(vec2 x)
{
    vec2 sum = subgroupAdd(x * x);
    if (gl_NumSubgroups != 1) {
        if (subgroupElect())
            head_sum[gl_SubgroupID] = sum;
        barrier();
        sum = head_sum[0];
        for (uint i = 1; i < gl_NumSubgroups; i++)
            sum += head_sum[i];
    }
    return vec2(inverse_sqrt(divide(sum.x, float(HEAD_DIM)) + op.q_eps),
                inverse_sqrt(divide(sum.y, float(HEAD_DIM)) + op.k_eps));
}

/* Fills query and own_key. Only the workgroup of the last part uses own_key. A lane computes an element of each; HEAD_DIM is
 * at most the number of lanes. */
void make_heads(uint head, uint kv_head, bool stores_q, bool stores_k)
{
    uint i = gl_LocalInvocationID.x, q_at = head * HEAD_DIM + i, k_at = kv_head * HEAD_DIM + i;
    bool inside = i < HEAD_DIM;
    vec2 x = vec2(0.0); /* an element of q, and of k */
    if (inside)
        x = vec2(q_in[q_at], PROLOGUE == PROLOGUE_NONE ? 0.0 : k_in[k_at]);
    if (PROLOGUE == PROLOGUE_NONE) {
        if (inside)
            query[i / 4][i % 4] = x.x;
        return;
    }
    vec2 turn = i < PAIRS ? cos_sin[batch.first_position * PAIRS + i] : vec2(0.0);
    if (PROLOGUE == PROLOGUE_NORM) {
        vec2 weight = inside ? vec2(q_w[i], k_w[i]) : vec2(0.0), scale = head_scales(x);
        x.x = normalised(x.x, scale.x, op.q_offset + weight.x);
        x.y = normalised(x.y, scale.y, op.k_offset + weight.y);
        if (CAPTURE != 0 && inside && stores_q)
            q_norm_y[q_at] = x.x;
        if (CAPTURE != 0 && inside && stores_k)
            k_norm_y[k_at] = x.y;
    }
    if (inside)
        normed[i] = x;
    barrier();
    if (i >= PAIRS)
        return;
    vec2 a = normed[i], b = normed[i + PAIRS];
    vec2 q = rotated(a.x, b.x, turn), k = rotated(a.y, b.y, turn);
    query[i / 4][i % 4] = q.x;
    query[(i + PAIRS) / 4][(i + PAIRS) % 4] = q.y;
    own_key[i / 4][i % 4] = k.x;
    own_key[(i + PAIRS) / 4][(i + PAIRS) % 4] = k.y;
    if (CAPTURE != 0 && stores_q) {
        y[q_at] = q.x;
        y[q_at + PAIRS] = q.y;
    }
    if (!stores_k)
        return;
    if (CAPTURE != 0) {
        k_rope_y[k_at] = k.x;
        k_rope_y[k_at + PAIRS] = k.y;
    }
    uint in_cache = batch.first_position * op.kv_heads * HEAD_DIM + k_at;
    cache[in_cache] = k.x;
    cache[in_cache + PAIRS] = k.y;
}

/* Whether vec4 number v of a lane exists: a team shares HEAD_DIM / 4 of them. */
bool has_vec4(uint lane, uint v)
{
    return (v + 1) * TEAM <= HEAD_DIM / 4 || lane + v * TEAM < HEAD_DIM / 4;
}

/* Loads the team's keys and values of the tile of n keys that starts at key `first`. All loads are issued before any value is
 * used. */
void fetch_tile(uint first, uint n, uint kv_head, out vec4 k[KEYS][OWN], out vec4 v[KEYS][OWN])
{
    uint lane = gl_LocalInvocationID.x % TEAM, team = gl_LocalInvocationID.x / TEAM;
    [[unroll]] for (uint i = 0; i < KEYS; i++) {
        uint key = first + min(i * TEAMS + team, n - 1), at = (key * op.kv_heads + kv_head) * (HEAD_DIM / 4) + lane;
        [[unroll]] for (uint c = 0; c < OWN; c++) {
            bool inside = has_vec4(lane, c);
            k[i][c] = inside ? x4[at + c * TEAM] : vec4(0.0);
            v[i][c] = inside ? values4[at + c * TEAM] : vec4(0.0);
        }
    }
}

/* Computes the scores of a tile. own: the tile's key that is own_key; TILE: none is. */
void make_scores(vec4 k[KEYS][OWN], uint own)
{
    uint lane = gl_LocalInvocationID.x % TEAM, team = gl_LocalInvocationID.x / TEAM;
    [[unroll]] for (uint i = 0; i < KEYS; i++) {
        uint key = i * TEAMS + team;
        float s = 0.0;
        [[unroll]] for (uint c = 0; c < OWN; c++) {
            if (has_vec4(lane, c))
                s = fma4(query[lane + c * TEAM], key == own ? own_key[lane + c * TEAM] : k[i][c], s);
        }
        s = team_sum(s) * op.scale;
        if (op.softcap != 0.0)
            s = op.softcap * tanh_exact(divide(s, op.softcap));
        if (lane == 0)
            score[key] = s;
    }
}

/* The sum over all teams. Each lane gets one element. */
float all_teams(vec4 sum[OWN])
{
    uint lane = gl_LocalInvocationID.x % TEAM, team = gl_LocalInvocationID.x / TEAM, i = gl_LocalInvocationID.x;
    [[unroll]] for (uint c = 0; c < OWN; c++) {
        if (has_vec4(lane, c))
            team_values[team][lane + c * TEAM] = sum[c];
    }
    barrier();
    float all = 0.0;
    [[unroll]] for (uint t = 0; t < TEAMS; t++)
        all += team_values[t][min(i, HEAD_DIM - 1) / 4][i % 4];
    return all;
}

void main()
{
    uint group = group_index(), head = group / op.n_parts, part = group % op.n_parts;
    uint heads_a_key = op.heads / op.kv_heads, kv_head = head / heads_a_key;
    uint position = batch.first_position, first = first_visible(position, op.window), n_keys = position + 1 - first;
    uint from = part * op.keys_a_part;
    if (head >= op.heads || from >= n_keys)
        return;
    uint end = min(from + op.keys_a_part, n_keys), team = gl_LocalInvocationID.x / TEAM, first_tile = from;
    bool has_key = end == n_keys;
    /* A sink is a score without a value. */
    bool sink = part == 0 && op.has_sinks != 0;
    float maximum = sink ? bias(head) : NONE, total = sink ? 1.0 : 0.0;
    vec4 sum[OWN];
    [[unroll]] for (uint c = 0; c < OWN; c++)
        sum[c] = vec4(0.0);
    for (; from < end; from += TILE) {
        uint n = min(TILE, end - from), own = PROLOGUE == PROLOGUE_NONE ? TILE : position - first - from;
        vec4 k[KEYS][OWN], v[KEYS][OWN];
        fetch_tile(first + from, n, kv_head, k, v);
        if (from == first_tile)
            make_heads(head, kv_head, part == 0, has_key && head % heads_a_key == 0);
        barrier(); /* query and own_key are ready, and the scores of the tile before have been read */
        make_scores(k, own);
        barrier();
        float highest = NONE, added = 0.0;
        for (uint j = gl_SubgroupInvocationID; j < n; j += gl_SubgroupSize)
            highest = max(highest, score[j]);
        highest = max(maximum, subgroupMax(highest));
        float scale = maximum == NONE ? 0.0 : exp_exact(maximum - highest);
        for (uint j = gl_SubgroupInvocationID; j < n; j += gl_SubgroupSize)
            added += exp_exact(score[j] - highest);
        total = fma(total, scale, subgroupAdd(added));
        maximum = highest;
        [[unroll]] for (uint c = 0; c < OWN; c++)
            sum[c] *= scale;
        [[unroll]] for (uint i = 0; i < KEYS; i++) {
            uint key = i * TEAMS + team;
            float weight = exp_exact(score[min(key, n - 1)] - highest);
            [[unroll]] for (uint c = 0; c < OWN; c++)
                sum[c] = key < n ? fma(vec4(weight), v[i][c], sum[c]) : sum[c];
        }
    }
    float all = all_teams(sum);
    if (gl_LocalInvocationID.x < HEAD_DIM)
        parts[part_sums(head, part, op.heads, op.n_parts) + gl_LocalInvocationID.x] = all;
    if (gl_LocalInvocationID.x == 0) {
        uint pair = part_index(head, part, op.n_parts) * 2;
        parts[pair] = maximum;
        parts[pair + 1] = total;
    }
}
