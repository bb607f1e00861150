/* What every op's shader starts with: the workgroup's number, the batch, and the one way to store a result.
 * Bindings 0 to 2 are the same in all shaders; inputs, then weights and tables, follow from 3 on (engine/alone.c). */
#include "params.h"

layout(local_size_x = 64, local_size_x_id = 0) in;
layout(constant_id = 1) const uint CACHED = 0; /* 1: this step's rows go to the KV cache as well */

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

/* Workgroups are counted along x, then y: more of them than one axis may have are folded into two (postmortem
 * 2025-12-20 bf16-2d-dispatch: a shader that looked at x alone left all but the first row of groups undone). */
uint group_index()
{
#ifdef VARIANT_GROUPS_BY_X
    return gl_WorkGroupID.x;
#endif
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

/* Output element `at` of [n_rows, width], and its copy in the cache [position, width]. The slot and the cache are
 * written by one kernel, so no dispatch is spent on copying. */
void store(uint at, uint width, float value)
{
#ifdef VARIANT_STORE_F16
    value = half_float(half_bits(value));
#endif
    y[at] = value;
    if (CACHED != 0)
        cache[batch.first_position * width + at] = value;
}
