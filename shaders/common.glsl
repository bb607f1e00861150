/* The start of every op's shader: the workgroup's number, the batch, and the function that stores a result. Bindings 0 to 2
 * are the same in all shaders. Inputs follow from 3 on, then weights and tables (engine/lowering/lower_op.c). */
#include "params.h"

layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const uint CACHED = 0; /* 1: this step's rows are also stored in the KV cache */

/* For a fault the engine compiles with VARIANT and VARIANT_name defined (model/variants.h). */
#ifdef VARIANT
const bool HAS_VARIANT = true;
#include "faults.glsl"
#else
const bool HAS_VARIANT = false;
#endif

layout(set = 0, binding = 0) readonly buffer Batch
{
    uint first_position;
    uint decode;
    int tokens[];
}
batch;
layout(set = 0, binding = 1) writeonly buffer Output
{
    float y[];
};
layout(set = 0, binding = 2) writeonly buffer Cache
{
    float cache[];
};

/* The number of this workgroup. More workgroups than one axis can have are folded into two axes (postmortem 2025-12-20
 * bf16-2d-dispatch: a shader that looked at x alone computed only the first row of workgroups). */
uint group_index()
{
#ifdef VARIANT_GROUPS_BY_X
    return gl_WorkGroupID.x;
#endif
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

/* Stores element `at` of the output [n_rows, width], and its copy in the cache [position, width], so that no dispatch is
 * spent on copying. */
void store(uint at, uint width, float value)
{
#ifdef VARIANT_STORE_F16
    value = half_float(half_bits(value));
#endif
    y[at] = value;
    if (CACHED != 0)
        cache[batch.first_position * width + at] = value;
}
