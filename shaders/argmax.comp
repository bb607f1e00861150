/* The index of the largest of n values; among equals the lowest index. NaN and op.masked never win. In the first pass each
 * workgroup finds the best value of its chunk. In the last pass (LAST = 1) one workgroup finds the best of all chunks. That
 * is the next token: it is written to the batch of the next pass, and to the list of chosen tokens. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 12) const uint LAST = 0;

layout(push_constant) uniform Push
{
    argmax_params op;
};
layout(set = 0, binding = 0) buffer Batch
{
    uint first_position;
    uint decode;
    int tokens[];
}
batch;
layout(set = 0, binding = 1) readonly buffer Input
{
    float x[];
};
layout(set = 0, binding = 2) buffer Best
{
    uvec2 best[]; /* [n_chunks] bits of the value, and its index */
};
layout(set = 0, binding = 3) writeonly buffer Chosen
{
    int chosen[]; /* [position] the token that follows it */
};

const uint LANES = gl_WorkGroupSize.x;
const uint NOTHING = 0xffffffffu;
shared float value_of[LANES];
shared uint index_of[LANES];

bool is_better(float value, uint index, float than, uint than_index)
{
    if (index == NOTHING)
        return false;
    return than_index == NOTHING || value > than || (value == than && index < than_index);
}

/* Finds the best of all lanes' values. Every lane gets it. */
void best_of_all(inout float value, inout uint index)
{
    uint lane = gl_LocalInvocationID.x;
    value_of[lane] = value;
    index_of[lane] = index;
    barrier();
    for (uint half_of = LANES / 2; half_of > 0; half_of /= 2) {
        if (lane < half_of && is_better(value_of[lane + half_of], index_of[lane + half_of], value_of[lane], index_of[lane])) {
            value_of[lane] = value_of[lane + half_of];
            index_of[lane] = index_of[lane + half_of];
        }
        barrier();
    }
    value = value_of[0];
    index = index_of[0];
}

void main()
{
    uint lane = gl_LocalInvocationID.x, index = NOTHING;
    float value = 0.0;
    if (LAST == 0) {
        uint first = gl_WorkGroupID.x * op.chunk, end = min(first + op.chunk, op.n);
        for (uint i = first + lane; i < end; i += LANES) {
            if (!isnan(x[i]) && i != op.masked && is_better(x[i], i, value, index)) {
                value = x[i];
                index = i;
            }
        }
        best_of_all(value, index);
        if (lane == 0)
            best[gl_WorkGroupID.x] = uvec2(floatBitsToUint(value), index);
        return;
    }
    for (uint i = lane; i < op.n_chunks; i += LANES) {
        uvec2 other = best[i];
        if (is_better(uintBitsToFloat(other.x), other.y, value, index)) {
            value = uintBitsToFloat(other.x);
            index = other.y;
        }
    }
    best_of_all(value, index);
    if (lane == 0) {
        int token = index == NOTHING ? 0 : int(index);
        chosen[batch.first_position] = token;
        batch.tokens[0] = token;
        batch.first_position = batch.first_position + 1;
    }
}
