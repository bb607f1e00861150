/* y = W x for a single row of x: decoding on a GPU. The prologue computes x (norms, the residual's add, the join of attention
 * parts). That is so little work that every workgroup does it anew, which saves a level in the chain of dependent dispatches.
 * The epilogue applies what follows y.
 *
 * SPLIT teams of lanes share a matrix row. Lanes are numbered in runs of RUN; the teams of a row lie in different runs, so that
 * the lanes of a run need few different pieces of x at a time. Lanes take ROWS rows at a time, LOOPS times. Their first loads
 * are issued before x is ready, and the loads of the next loop while the current one is computed. CAPTURE 1: also store the
 * stages that no other dispatch reads. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "math.glsl"
#include "activation.glsl"

layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 6) const uint ROWS = 1;
layout(constant_id = 10) const uint WIDE = 0; /* 1: every matrix row starts at a multiple of 16 bytes */
layout(constant_id = 11) const uint PROLOGUE = PROLOGUE_NONE;
layout(constant_id = 12) const uint EPILOGUE = EPILOGUE_NONE;
layout(constant_id = 13) const uint CAPTURE = 1;
layout(constant_id = 14) const uint N_IN = 8;
layout(constant_id = 15) const uint TEAM = 4;   /* lanes of a team */
layout(constant_id = 16) const uint LOOPS = 1;
layout(constant_id = 18) const uint CHUNKS = 1; /* times LOOPS loops; the sums of a chunk are combined at a time */
layout(constant_id = 20) const uint SPLIT = 1;
layout(constant_id = 21) const uint X_SHARED = 0; /* 1: x is in shared memory; always with a prologue */
layout(constant_id = 22) const uint ACTIVATION = ACTIVATION_SILU;

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    matvec_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    vec4 x4[]; /* x, or what the prologue reads: a stage, the branch, or the parts of an attention */
};
layout(set = 0, binding = 4) readonly buffer Weights
{
    uint words[];
};
layout(set = 0, binding = 4) readonly buffer WideWeights
{
    uvec4 wide_words[]; /* the same */
};
layout(set = 0, binding = 5) readonly buffer Bias
{
    uint bias_words[];
};
layout(set = 0, binding = 6) readonly buffer Residual
{
    vec4 residual4[];
};
layout(set = 0, binding = 7) readonly buffer FirstWeights
{
    vec4 first_w4[]; /* F32 */
};
layout(set = 0, binding = 8) readonly buffer LastWeights
{
    vec4 last_w4[]; /* F32 */
};
layout(set = 0, binding = 9) writeonly buffer First
{
    vec4 first_y4[];
};
layout(set = 0, binding = 10) writeonly buffer Sum
{
    vec4 sum_y4[];
};
layout(set = 0, binding = 11) writeonly buffer Last
{
    vec4 last_y4[]; /* x as a stage: the last norm, or the attention */
};
layout(set = 0, binding = 12) writeonly buffer GateOrCapped
{
    float gate_y[];
};
layout(set = 0, binding = 13) writeonly buffer Up
{
    float up_y[];
};
#include "weights.glsl"
#include "bias.glsl"
#include "join.glsl"

/* vec4 j of piece p is at j * N_PIECES + p, so that neighbouring lanes read neighbouring vec4s. */
shared vec4 shared_x[X_SHARED != 0 ? N_IN / 4 : 1];
vec4 piece_x(uint piece, uint j);
const uint OWN = (N_IN / 4 + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
#define ROW_SUM
#include "rows.glsl"
#include "pieces.glsl"

const uint RUN = 32; /* lanes of a run; SPLIT runs share their rows */
const uint N_PIECES = N_IN / PIECE;
const uint SLOTS = TEAM * SPLIT;                      /* lanes that share a row */
const uint PIECES = (N_PIECES + SLOTS - 1) / SLOTS;   /* pieces of a row that a lane takes */
const uint PASS = gl_WorkGroupSize.x / SLOTS;         /* a loop computes PASS times the rows of a lane */
const uint OUTPUTS = EPILOGUE == EPILOGUE_GLU ? ROWS / 2 : ROWS;

shared vec4 lane_sum[LOOPS * ROWS * gl_WorkGroupSize.x / 4]; /* [loop, row of a lane, pass, lane of a row] */

vec4 piece_x(uint piece, uint j)
{
    return X_SHARED != 0 ? shared_x[j * N_PIECES + piece] : x4[piece_vec(piece, j)];
}

void share(uint i, vec4 x)
{
    uvec2 at = piece_of(i);
    shared_x[at.y * N_PIECES + at.x] = x;
}

float row_scale(float sum, float eps)
{
    return inverse_sqrt(divide(sum, float(N_IN)) + eps);
}

void make_norms(bool stores)
{
    const bool has_first = PROLOGUE == PROLOGUE_NORM_ADD_NORM, has_add = has_first || PROLOGUE == PROLOGUE_ADD_NORM;
    vec4 own[OWN], residual[OWN], first_w[OWN], last_w[OWN];
    [[unroll]] for (uint k = 0; k < OWN; k++) {
        uint i = min(gl_LocalInvocationID.x + k * gl_WorkGroupSize.x, N_IN / 4 - 1);
        own[k] = x4[i];
        last_w[k] = last_w4[i];
        if (has_add)
            residual[k] = residual4[i];
        if (has_first)
            first_w[k] = first_w4[i];
    }
    float scale = 1.0;
    if (has_first)
        scale = row_scale(row_sum(own, N_IN / 4), op.first_eps);
    [[unroll]] for (uint k = 0; k < OWN; k++) {
        uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
        if (i >= N_IN / 4)
            continue;
        if (has_first) {
            own[k] = normalised4(own[k], scale, op.first_offset + first_w[k]);
            if (stores && CAPTURE != 0)
                first_y4[i] = own[k];
        }
        if (has_add) {
            own[k] = residual[k] + own[k];
            if (stores)
                sum_y4[i] = own[k];
        }
    }
    scale = row_scale(row_sum(own, N_IN / 4), op.last_eps);
    [[unroll]] for (uint k = 0; k < OWN; k++) {
        uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
        if (i >= N_IN / 4)
            continue;
        vec4 y = normalised4(own[k], scale, op.last_offset + last_w[k]);
        if (stores && CAPTURE != 0)
            last_y4[i] = y;
        share(i, y);
    }
}

void make_attention(bool stores)
{
    for (uint i = gl_LocalInvocationID.x; i < N_IN / 4; i += gl_WorkGroupSize.x) {
        vec4 y = joined_parts(i * 4 / HEAD_DIM, i % (HEAD_DIM / 4));
        if (stores && CAPTURE != 0)
            last_y4[i] = y;
        share(i, y);
    }
}

void copy_x()
{
    for (uint i = gl_LocalInvocationID.x; i < N_IN / 4; i += gl_WorkGroupSize.x)
        share(i, x4[i]);
}

/* Byte at which row r of a lane starts in the bound matrix. */
uint row_byte(uint first_o, uint r)
{
    uint o = min(first_o + r % OUTPUTS, dispatch.count - 1);
    return o * row_bytes(N_IN) + (EPILOGUE == EPILOGUE_GLU && r >= OUTPUTS ? op.second : 0);
}

/* Whether piece k of a lane exists. */
bool has_piece(uint slot, uint k)
{
    return (k + 1) * SLOTS <= N_PIECES || slot + k * SLOTS < N_PIECES;
}

void store_output(uint o, float sum, float second)
{
    o += dispatch.first;
    if (op.has_bias != 0)
        sum += bias(o);
    if (EPILOGUE == EPILOGUE_GLU) {
        if (CAPTURE != 0) {
            gate_y[o] = sum;
            up_y[o] = second;
        }
        sum = activated(ACTIVATION, sum) * second;
    }
    store(o, op.n_out, sum);
    if (EPILOGUE == EPILOGUE_SOFTCAP)
        gate_y[o] = op.cap == 0.0 ? sum : op.cap * tanh_exact(divide(sum, op.cap));
}

/* Computes the lane's sums for its rows from output first_o on. raw: in: their pieces; out, if `more`: those of the rows from
 * next_o on. */
void add_rows(uint slot, uint first_o, uint next_o, bool more, inout raw_piece raw[ROWS][PIECES], out float sum[ROWS])
{
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        sum[r] = 0.0;
    [[unroll]] for (uint k = 0; k < PIECES; k++) {
        if (!has_piece(slot, k))
            continue;
        uint piece = slot + k * SLOTS;
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            if (HAS_RAW) {
                sum[r] = add_piece(raw[r][k], slot, piece, sum[r]);
                if (more)
                    raw[r][k] = fetch_piece(row_byte(next_o, r), slot, k * SLOTS);
                continue;
            }
            vec4 a, b;
            decode_unit(row_byte(first_o, r), piece, a, b);
            sum[r] = fma4(b, piece_x(piece, 1), fma4(a, piece_x(piece, 0), sum[r]));
        }
    }
}

/* Finishes the outputs of a chunk. Each has a lane of its own, because what is left to do is a long chain. */
void finish_chunk(uint first_o)
{
    for (uint i = gl_LocalInvocationID.x; i < LOOPS * PASS * OUTPUTS; i += gl_WorkGroupSize.x) {
        if (first_o + i >= dispatch.count)
            break;
        uint loop = i / (PASS * OUTPUTS), row = loop * ROWS + i % OUTPUTS, pass = i / OUTPUTS % PASS;
        uint at = (row * PASS + pass) * (SLOTS / 4), second_at = at + (ROWS - OUTPUTS) * PASS * (SLOTS / 4);
        vec4 sum = lane_sum[at], second = lane_sum[second_at];
        for (uint k = 1; k < SLOTS / 4; k++) {
            sum += lane_sum[at + k];
            second += lane_sum[second_at + k];
        }
        store_output(first_o + i, (sum.x + sum.y) + (sum.z + sum.w), (second.x + second.y) + (second.z + second.w));
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x, run = lane / RUN, group = group_index();
    uint slot = run % SPLIT * TEAM + lane % TEAM, pass = run / SPLIT * (RUN / TEAM) + lane % RUN / TEAM;
    uint first_o = group * (PASS * OUTPUTS * LOOPS * CHUNKS), own_o = first_o + pass * OUTPUTS;
    bool stores = group == 0 && op.stores != 0;
    raw_piece raw[ROWS][PIECES];
    [[unroll]] for (uint k = 0; k < PIECES; k++) {
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            if (HAS_RAW && has_piece(slot, k))
                raw[r][k] = fetch_piece(row_byte(own_o, r), slot, k * SLOTS);
        }
    }
    if (PROLOGUE == PROLOGUE_ATTENTION)
        make_attention(stores);
    else if (PROLOGUE != PROLOGUE_NONE)
        make_norms(stores);
    else if (X_SHARED != 0)
        copy_x();
    if (X_SHARED != 0)
        barrier();
    [[dont_unroll]] for (uint chunk = 0; chunk < CHUNKS; chunk++) {
        [[dont_unroll]] for (uint loop = 0; loop < LOOPS; loop++) {
            float sum[ROWS];
            uint next_o = own_o + PASS * OUTPUTS;
            add_rows(slot, own_o, next_o, loop + 1 < LOOPS || chunk + 1 < CHUNKS, raw, sum);
            own_o = next_o;
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                lane_sum[((loop * ROWS + r) * PASS + pass) * (SLOTS / 4) + slot / 4][slot % 4] = sum[r];
        }
        barrier();
        finish_chunk(first_o + chunk * (LOOPS * PASS * OUTPUTS));
        if (CHUNKS > 1)
            barrier();
    }
}
