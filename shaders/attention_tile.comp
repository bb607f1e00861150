/* y = softmax(cap(scale * q k)) v for many rows at once (prefill), on a GPU. A workgroup of 256 lanes computes ROWS rows of
 * one head, and uses each key and value that it loads for all of them. It takes the keys in tiles of KEYS, with a running
 * maximum. The next loads are in flight, in registers, while a lane multiplies what it has. attention.comp is the kernel for
 * few rows; it also has the faults.
 *
 * Scores: the lanes form parts of 32. A part takes some of the dims and keeps the keys' values of these dims in shared memory
 * for itself, so that it waits for no other part. A lane sums 4 rows x 4 keys. The sums of all parts are added at the end of a
 * tile.
 * Values: the lanes also form groups that share the keys of a tile. A lane sums two dims of 8 rows over its group's keys. The
 * sums of all groups are added at the very end. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 5) const uint HEAD_DIM = 64; /* 32, 64, 128 or 256 */
layout(constant_id = 6) const uint ROWS = 8;      /* or 16; engine/lowering/prefill.c chooses */
layout(constant_id = 23) const uint PIECE = 1;    /* vec4s of a key that a part keeps in shared memory at a time */
const uint LANES = 256, PARTS = 8, PART_LANES = 32;
const uint KEYS = 512 / ROWS;
/* Lanes of a part along the keys and along the rows. A lane's 4 keys and its 4 rows are as far apart. */
const uint KEY_LANES = KEYS / 4, ROW_LANES = ROWS / 4;
const uint PIECES = HEAD_DIM / (4 * PARTS * PIECE);
const uint LOADS = KEYS * PIECE / PART_LANES;        /* vec4s that a lane loads for a piece */
const uint QUERY_STRIDE = HEAD_DIM / 4 + 1;          /* vec4s of a row; these strides avoid bank conflicts */
const uint KEY_STRIDE = KEYS + 8 / PIECE;            /* vec4s from one vec4 of all keys to the next */
const uint SUMS = ROWS * KEYS / 4;                   /* vec4s of a part's sums, which replace its keys in shared memory */
const uint PART_SIZE = PIECE * KEY_STRIDE > SUMS ? PIECE * KEY_STRIDE : SUMS;
const uint SCORE_ROWS = ROWS / PARTS, SCORE_KEYS = KEYS / PART_LANES; /* scores of a lane, once the parts' sums are added */
const uint OWN = 8;                                  /* rows of a lane, for the values */
const uint PAIRS = HEAD_DIM / 2;                     /* pairs of dims; a lane takes one */
const uint GROUPS = LANES / PAIRS / (ROWS / OWN);    /* groups of lanes that share the keys of a tile */
const uint OWN_KEYS = KEYS / GROUPS;
const uint BATCH = OWN_KEYS < 8 ? OWN_KEYS : 8;      /* values that a lane loads at a time */

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
    vec2 values2[];
};
layout(set = 0, binding = 6) readonly buffer Sinks
{
    uint bias_words[]; /* [heads], if op.has_sinks */
};
#include "bias.glsl"

shared vec4 query[ROWS * QUERY_STRIDE], parts4[PARTS * PART_SIZE], p4[ROWS * KEYS / 4], row_scale4[ROWS / 4];
shared float row_total[ROWS];

#define NONE uintBitsToFloat(0xff800000) /* -infinity */
uint lane, part, part_lane, first_row, head, kv_head, last_position;

uint position_of(uint row)
{
    return batch.first_position + min(first_row + row, dispatch.n_rows - 1);
}

uint first_visible(uint position)
{
    return op.window != 0 && position >= op.window ? position + 1 - op.window : 0;
}

/* Whether each part is one full subgroup. main then numbers the lanes accordingly. */
bool part_is_subgroup()
{
    return gl_SubgroupSize == PART_LANES && gl_NumSubgroups == PARTS;
}

/* Waits for the lanes of the own part; for all lanes, if a part is not a subgroup. */
void part_barrier()
{
    if (part_is_subgroup())
        subgroupBarrier();
    else
        barrier();
}

/* The largest value, and the sum, over the lanes of a part. Each lane gets it. All lanes must call these; p4 is overwritten. */
float part_max(float value)
{
    if (part_is_subgroup())
        return subgroupMax(value);
    p4[lane / 4][lane % 4] = value;
    barrier();
    float most = NONE;
    for (uint i = 0; i < PART_LANES / 4; i++) {
        vec4 v = p4[part * (PART_LANES / 4) + i];
        most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    barrier();
    return most;
}

float part_sum(float value)
{
    if (part_is_subgroup())
        return subgroupAdd(value);
    p4[lane / 4][lane % 4] = value;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < PART_LANES / 4; i++)
        sum += dot(p4[part * (PART_LANES / 4) + i], vec4(1.0));
    barrier();
    return sum;
}

/* The first dim of a piece of this part, in vec4s. */
uint piece_start(uint piece)
{
    return (piece * PARTS + part) * PIECE;
}

/* Where the head's key or value of a position starts. width: of a head, in the units of the result. */
uint start_of(uint position, uint width)
{
    return (position * op.kv_heads + kv_head) * width;
}

/* Loads this lane's share of a piece. Past the last key it loads the last one again; those scores are masked. */
void load_keys(uint first, uint piece, out vec4 keys[LOADS])
{
    const uint width = HEAD_DIM / 4, each = PART_LANES / PIECE; /* keys that a part loads at a time */
    uint i = piece_start(piece) + part_lane % PIECE, last = start_of(last_position, width) + i;
    uint at = start_of(first + part_lane / PIECE, width) + i, step = op.kv_heads * width * each;
    for (uint n = 0; n < LOADS; n++)
        keys[n] = keys4[min(at + n * step, last)];
}

void share_keys(vec4 keys[LOADS])
{
    for (uint n = 0; n < LOADS; n++) {
        uint i = n * PART_LANES + part_lane;
        parts4[part * PART_SIZE + i % PIECE * KEY_STRIDE + i / PIECE] = keys[n];
    }
}

float add_dot(vec4 a, vec4 b, float sum)
{
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

/* The lane's first row and first key. Lanes 2 n and 2 n + 1 share a row; lanes n and n ^ 2 share a key. Where lanes so close
 * together read the same 16 bytes, NVIDIA's GPUs serve half a subgroup at a time, otherwise a quarter. */
uint row_lane()
{
    return part_lane / 2 % 2 + part_lane / (2 * KEY_LANES) * 2;
}

uint key_lane()
{
    return part_lane % 2 + part_lane / 4 % (KEY_LANES / 2) * 2;
}

void add_piece(uint piece, inout vec4 sum[4])
{
    uint row = row_lane(), key_at = part * PART_SIZE + key_lane();
    for (uint k = 0; k < PIECE; k++) {
        vec4 key[4];
        for (uint j = 0; j < 4; j++)
            key[j] = parts4[key_at + k * KEY_STRIDE + j * KEY_LANES];
        for (uint i = 0; i < 4; i++) {
            vec4 q = query[(row + i * ROW_LANES) * QUERY_STRIDE + piece_start(piece) + k];
            sum[i] = vec4(add_dot(q, key[0], sum[i].x), add_dot(q, key[1], sum[i].y), add_dot(q, key[2], sum[i].z),
                          add_dot(q, key[3], sum[i].w));
        }
    }
}

/* Computes the part's sums over its dims, and stores them in parts4. keys: in: the tile's first piece; out: the next tile's. */
void make_sums(uint first, inout vec4 keys[LOADS])
{
    vec4 sum[4];
    for (uint i = 0; i < 4; i++)
        sum[i] = vec4(0.0);
    for (uint piece = 0; piece < PIECES; piece++) {
        bool last = piece + 1 == PIECES;
        share_keys(keys);
        part_barrier();
        load_keys(last ? first + KEYS : first, last ? 0 : piece + 1, keys);
        add_piece(piece, sum);
        part_barrier(); /* the piece has been read */
    }
    for (uint i = 0; i < 4; i++)
        parts4[part * PART_SIZE + i * PART_LANES + row_lane() * KEY_LANES + key_lane()] = sum[i];
}

/* The keys and rows whose scores a lane computes. They are chosen so that it reads the sums without bank conflicts. */
uint score_key(uint k)
{
    return part_lane / 8 * KEY_LANES + k * 8 + part_lane % 8;
}

uint score_row(uint r)
{
    return r * PARTS + part;
}

float make_score(uint first, uint r, uint k)
{
    uint row = score_row(r), position = position_of(row), key = first + score_key(k);
    uint at = row / ROW_LANES * PART_LANES + row % ROW_LANES * KEY_LANES + score_key(k) % KEY_LANES;
    float score = 0.0;
    for (uint i = 0; i < PARTS; i++)
        score += parts4[i * PART_SIZE + at][part_lane / 8];
    score *= op.scale;
    if (op.softcap != 0.0)
        score = op.softcap * tanh_exact(divide(score, op.softcap));
    return key > position || key < first_visible(position) ? NONE : score;
}

/* Computes p4 from the sums, and updates the maximum and the lane's share of the total. */
void make_probabilities(uint first, inout float maximum[SCORE_ROWS], inout float total[SCORE_ROWS])
{
    float score[SCORE_ROWS][SCORE_KEYS], most[SCORE_ROWS];
    for (uint r = 0; r < SCORE_ROWS; r++) {
        most[r] = NONE;
        for (uint k = 0; k < SCORE_KEYS; k++) {
            score[r][k] = make_score(first, r, k);
            most[r] = max(most[r], score[r][k]);
        }
    }
    for (uint r = 0; r < SCORE_ROWS; r++)
        most[r] = max(maximum[r], part_max(most[r])); /* part_max overwrites p4 */
    for (uint r = 0; r < SCORE_ROWS; r++) {
        uint row = score_row(r);
        float next = most[r];
        float scale = maximum[r] == NONE ? 0.0 : exp_exact(maximum[r] - next);
        maximum[r] = next;
        total[r] *= scale;
        for (uint k = 0; k < SCORE_KEYS; k++) {
            float p = score[r][k] == NONE ? 0.0 : exp_exact(score[r][k] - next);
            total[r] += p;
            p4[(row * KEYS + score_key(k)) / 4][part_lane % 4] = p;
        }
        if (part_lane == 0)
            row_scale4[row / 4][row % 4] = scale;
    }
}

void load_values(uint first, uint j, out vec2 v[BATCH])
{
    uint group = lane / PAIRS / (ROWS / OWN), dim = lane % PAIRS;
    uint at = start_of(first + group * OWN_KEYS + j, PAIRS) + dim, last = start_of(last_position, PAIRS) + dim;
    for (uint k = 0; k < BATCH; k++)
        v[k] = values2[min(at + k * op.kv_heads * PAIRS, last)];
}

/* Index in p4 of the lane's first row and its group's first key. */
uint own_start()
{
    return (lane / PAIRS % (ROWS / OWN) * OWN * KEYS + lane / PAIRS / (ROWS / OWN) * OWN_KEYS) / 4;
}

/* Adds p v of keys j … j + BATCH - 1 of the group. */
void add_batch(uint j, vec2 v[BATCH], inout vec2 y[OWN])
{
    for (uint k = 0; k < BATCH; k += 4) {
        for (uint r = 0; r < OWN; r++) {
            vec4 p = p4[own_start() + (r * KEYS + j + k) / 4];
            y[r] = fma(vec2(p.x), v[k], y[r]);
            y[r] = fma(vec2(p.y), v[k + 1], y[r]);
            y[r] = fma(vec2(p.z), v[k + 2], y[r]);
            y[r] = fma(vec2(p.w), v[k + 3], y[r]);
        }
    }
}

/* Skips values whose p is 0, because a row must not take up a NaN from a key that it does not see. p can also be 0 for a
 * visible key: an infinite value is then ignored here, while add_batch yields NaN. */
vec2 add_seen(float p, vec2 v, vec2 y)
{
    return p == 0.0 ? y : fma(vec2(p), v, y);
}

void add_seen_batch(uint j, vec2 v[BATCH], inout vec2 y[OWN])
{
    for (uint k = 0; k < BATCH; k += 4) {
        for (uint r = 0; r < OWN; r++) {
            vec4 p = p4[own_start() + (r * KEYS + j + k) / 4];
            y[r] = add_seen(p.x, v[k], y[r]);
            y[r] = add_seen(p.y, v[k + 1], y[r]);
            y[r] = add_seen(p.z, v[k + 2], y[r]);
            y[r] = add_seen(p.w, v[k + 3], y[r]);
        }
    }
}

/* Adds p v of a whole tile. all_see: every row sees every key. next: the group's first values, already loaded. */
void add_values(uint first, bool all_see, vec2 next[BATCH], inout vec2 y[OWN])
{
    uint row = lane / PAIRS % (ROWS / OWN) * OWN;
    for (uint r = 0; r < OWN; r++)
        y[r] *= row_scale4[(row + r) / 4][r % 4];
    for (uint j = 0; j < OWN_KEYS; j += BATCH) {
        vec2 v[BATCH];
        for (uint k = 0; k < BATCH; k++)
            v[k] = next[k];
        if (j + BATCH < OWN_KEYS)
            load_values(first, j + BATCH, next);
        if (all_see)
            add_batch(j, v, y);
        else
            add_seen_batch(j, v, y);
    }
}

/* Adds the groups' sums through parts4 [group, row, dim], divides them by the totals, and stores the rows. */
void store_rows(vec2 y[OWN], float total[SCORE_ROWS])
{
    barrier(); /* p4 has been read */
    for (uint r = 0; r < SCORE_ROWS; r++) {
        float sum = part_sum(total[r]);
        if (part_lane == 0)
            row_total[score_row(r)] = sum;
    }
    for (uint r = 0; r < OWN; r++) {
        uint at = (lane / PAIRS * OWN + r) * HEAD_DIM + lane % PAIRS * 2;
        parts4[at / 4][at % 4] = y[r].x;
        parts4[at / 4][at % 4 + 1] = y[r].y;
    }
    barrier();
    for (uint i = lane; i < ROWS * HEAD_DIM; i += LANES) {
        uint row = i / HEAD_DIM, at = ((first_row + row) * op.heads + head) * HEAD_DIM + i % HEAD_DIM;
        float sum = 0.0;
        for (uint group = 0; group < GROUPS; group++)
            sum += parts4[(group * ROWS * HEAD_DIM + i) / 4][i % 4];
        if (first_row + row < dispatch.n_rows)
            store(at, op.heads * HEAD_DIM, divide(sum, row_total[row]));
    }
}

void load_queries()
{
    for (uint i = lane; i < ROWS * HEAD_DIM / 4; i += LANES) {
        uint r = i / (HEAD_DIM / 4), row = min(first_row + r, dispatch.n_rows - 1);
        query[r * QUERY_STRIDE + i % (HEAD_DIM / 4)] = q4[(row * op.heads + head) * (HEAD_DIM / 4) + i % (HEAD_DIM / 4)];
    }
}

void main()
{
    uint group = group_index(), n_blocks = (dispatch.n_rows + ROWS - 1) / ROWS;
    lane = part_is_subgroup() ? gl_SubgroupID * PART_LANES + gl_SubgroupInvocationID : gl_LocalInvocationID.x;
    part = lane / PART_LANES;
    part_lane = lane % PART_LANES;
    head = group % op.heads;
    if (group >= n_blocks * op.heads)
        return;
    first_row = (n_blocks - 1 - group / op.heads) * ROWS; /* workgroups with the most keys start first */
    kv_head = head / (op.heads / op.kv_heads);
    last_position = position_of(ROWS - 1);
    vec4 keys[LOADS];
    vec2 y[OWN], v[BATCH];
    float maximum[SCORE_ROWS], total[SCORE_ROWS];
    uint first = first_visible(position_of(0));
    load_keys(first, 0, keys);
    load_queries();
    for (uint r = 0; r < OWN; r++)
        y[r] = vec2(0.0);
    for (uint r = 0; r < SCORE_ROWS; r++) { /* a sink is a score without a value; the sums start with it */
        maximum[r] = op.has_sinks != 0 ? bias(head) : NONE;
        total[r] = op.has_sinks != 0 && part_lane == 0 ? 1.0 : 0.0;
    }
    barrier();
    for (; first <= last_position; first += KEYS) {
        make_sums(first, keys);
        load_values(first, 0, v);
        barrier(); /* also makes sure that p4 of the tile before has been read */
        make_probabilities(first, maximum, total);
        barrier();
        bool all_see = first + KEYS - 1 <= position_of(0) && first >= first_visible(last_position);
        add_values(first, all_see, v, y);
    }
    store_rows(y, total);
}
