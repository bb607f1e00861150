/* y = W x for one row of x, where that is all there is to do: decoding on a GPU. What makes x (norms, the residual's add, the
 * parts of an attention) is small enough that every workgroup makes it anew, which saves a level of the chain that a token
 * is; and what becomes of y is done here as well. A team of lanes takes ROWS rows of W at once, LOOPS times; its loads are
 * issued before x is waited for. A stage that nobody else reads is stored where it is captured. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "math.glsl"
#include "activation.glsl"

layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 6) const uint ROWS = 1;
layout(constant_id = 10) const uint WIDE = 0; /* 1: rows start at multiples of 16 bytes */
layout(constant_id = 11) const uint PROLOGUE = PROLOGUE_NONE;
layout(constant_id = 12) const uint EPILOGUE = EPILOGUE_NONE;
layout(constant_id = 13) const uint CAPTURE = 1;
layout(constant_id = 14) const uint N_IN = 8;
layout(constant_id = 15) const uint TEAM = 32; /* lanes: a subgroup's, or the workgroup's */
layout(constant_id = 16) const uint LOOPS = 1;  /* even, if there are several chunks */
layout(constant_id = 18) const uint CHUNKS = 1; /* of so many loops */
layout(constant_id = 19) const uint KEEP = 1;   /* 1: a lane keeps its x in registers */

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    matvec_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    vec4 x4[]; /* a stage, the branch, or the parts of an attention */
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
    vec4 last_y4[]; /* x as a stage: what the last norm made, or the attention */
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
#include "units.glsl"
#include "bias.glsl"
#include "join.glsl"

const uint N_UNITS = N_IN / 8;
const uint UNITS = (N_UNITS + TEAM - 1) / TEAM; /* of a row that a lane has */
const uint KEPT = KEEP != 0 || PROLOGUE == PROLOGUE_NONE ? UNITS : 1;
const uint OWN = (N_IN / 4 + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
#define ROW_SUM
#include "rows.glsl"
const uint OUTPUTS = EPILOGUE == EPILOGUE_GLU ? ROWS / 2 : ROWS;
const uint SHARED_UNITS = PROLOGUE == PROLOGUE_NONE ? 1 : N_UNITS;

shared vec4 shared_a[SHARED_UNITS], shared_b[SHARED_UNITS]; /* x, by units */
shared float partial[ROWS * gl_WorkGroupSize.x / 4]; /* no subgroup is smaller than 4 */

/* Puts elements 4i … 4i + 3 of x where their unit looks for them. */
void share(uint i, vec4 x)
{
    uint e = i * 4, unit = e / UNIT_SPAN * (UNIT_SPAN / 8) + e % UNIT_STEP / 4;
    if (e % UNIT_SPAN < UNIT_STEP)
        shared_a[unit] = x;
    else
        shared_b[unit] = x;
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

/* Byte where the matrix of row r of a team lies in the one that is bound, and its row. */
uint row_byte(uint first_o, uint r)
{
    uint o = min(first_o + r % OUTPUTS, dispatch.count - 1);
    return o * row_bytes(N_IN) + (EPILOGUE == EPILOGUE_GLU && r >= OUTPUTS ? op.second : 0);
}

/* Unit k of a lane; past the last one of the row: none. */
bool has_unit(uint lane, uint k)
{
    return (k + 1) * TEAM <= N_UNITS || lane + k * TEAM < N_UNITS;
}

/* Starts the loads of loop `loop`, into one half of raw. */
void fetch_rows(uint first_o, uint lane, uint loop, inout uvec4 raw[2][ROWS][UNITS])
{
    if (!HAS_RAW)
        return;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        [[unroll]] for (uint k = 0; k < UNITS; k++) {
            if (has_unit(lane, k))
                raw[loop % 2][r][k] = fetch_unit(row_byte(first_o + loop * OUTPUTS, r), lane + k * TEAM);
        }
    }
}

void unit_x(uint unit, out vec4 a, out vec4 b)
{
    if (PROLOGUE == PROLOGUE_NONE) {
        uint i = unit_first(unit) / 4;
        a = x4[i];
        b = x4[i + UNIT_STEP / 4];
    } else {
        a = shared_a[unit];
        b = shared_b[unit];
    }
}

/* A team's sums: of row r those of its lane r, and of row r + OUTPUTS. */
void finish_rows(float sum[ROWS], uint lane, uint first_lane, inout float mine, inout float second)
{
    uint each = TEAM / gl_SubgroupSize; /* subgroups */
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        sum[r] = subgroupAdd(sum[r]);
    if (each == 1) {
        [[unroll]] for (uint r = 0; r < OUTPUTS; r++) {
            mine = lane == first_lane + r ? sum[r] : mine;
            second = lane == first_lane + r ? sum[r + ROWS - OUTPUTS] : second;
        }
        return;
    }
    uint first = gl_LocalInvocationID.x / TEAM * each;
    barrier(); /* earlier results have been read */
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        if (subgroupElect())
            partial[r * gl_NumSubgroups + gl_SubgroupID] = sum[r];
    }
    barrier();
    uint r = lane - first_lane;
    if (lane < first_lane || r >= OUTPUTS)
        return;
    mine = second = 0.0;
    for (uint i = 0; i < each; i++) {
        mine += partial[r * gl_NumSubgroups + first + i];
        second += partial[(r + ROWS - OUTPUTS) * gl_NumSubgroups + first + i];
    }
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
        sum = activated(op.activation, sum) * second;
    }
    store(o, op.n_out, sum);
    if (EPILOGUE == EPILOGUE_SOFTCAP)
        gate_y[o] = op.cap == 0.0 ? sum : op.cap * tanh_exact(divide(sum, op.cap));
}

/* Adds up what loop `loop` of a chunk has. */
void add_rows(uint lane, uint loop, uvec4 raw[2][ROWS][UNITS], uint first_o, vec4 xa[KEPT], vec4 xb[KEPT],
              out float sum[ROWS])
{
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        sum[r] = 0.0;
    [[unroll]] for (uint k = 0; k < UNITS; k++) {
        if (!has_unit(lane, k))
            continue;
        uint unit = lane + k * TEAM;
        vec4 a, b;
        if (KEPT == UNITS) {
            a = xa[k % KEPT];
            b = xb[k % KEPT];
        } else {
            unit_x(unit, a, b);
        }
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            if (HAS_RAW) {
                sum[r] += unit_dot(unit, raw[loop % 2][r][k], a, b);
                continue;
            }
            vec4 wa, wb;
            decode_unit(row_byte(first_o + loop * OUTPUTS, r), unit, wa, wb);
            sum[r] += dot(wa, a) + dot(wb, b);
        }
    }
}

void main()
{
    uint lane = gl_LocalInvocationID.x % TEAM, team = gl_LocalInvocationID.x / TEAM, group = group_index();
    uint first_o = (group * (gl_WorkGroupSize.x / TEAM) + team) * OUTPUTS * LOOPS * CHUNKS;
    bool stores = group == 0 && op.stores != 0;
    /* Two loops' rows are in flight, from before the prologue on: the memory is never waited for by all at once. */
    uvec4 raw[2][ROWS][UNITS];
    fetch_rows(first_o, lane, 0, raw);
    if (LOOPS > 1)
        fetch_rows(first_o, lane, 1, raw);
    if (PROLOGUE == PROLOGUE_ATTENTION)
        make_attention(stores);
    else if (PROLOGUE != PROLOGUE_NONE)
        make_norms(stores);
    if (PROLOGUE != PROLOGUE_NONE)
        barrier();
    vec4 xa[KEPT], xb[KEPT];
    [[unroll]] for (uint k = 0; k < KEPT; k++) {
        if (KEPT == UNITS && has_unit(lane, k))
            unit_x(lane + k * TEAM, xa[k], xb[k]);
    }
    [[dont_unroll]] for (uint chunk = 0; chunk < CHUNKS; chunk++, first_o += LOOPS * OUTPUTS) {
        float mine = 0.0, second = 0.0;
        [[unroll]] for (uint loop = 0; loop < LOOPS; loop++) {
            float sum[ROWS];
            add_rows(lane, loop, raw, first_o, xa, xb, sum);
            if (LOOPS > 1 && (loop + 2 < LOOPS || chunk + 1 < CHUNKS))
                fetch_rows(first_o, lane, loop + 2, raw);
            finish_rows(sum, lane, loop * OUTPUTS, mine, second);
        }
        /* Each output is finished by a lane of its own: what is left to do is a long chain. */
        if (lane < LOOPS * OUTPUTS && first_o + lane < dispatch.count)
            store_output(first_o + lane, mine, second);
    }
}
