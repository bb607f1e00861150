/* Sum and maximum over a workgroup, through shared memory: right for every subgroup size. One partial a lane (fix
 * "wg_sums overflow": an array of fewer partials than the workgroup needs). Every lane must call them. */
shared float partial[gl_WorkGroupSize.x];

float reduce_sum(float value)
{
    uint lane = gl_LocalInvocationID.x;
    partial[lane] = value;
    barrier();
    for (uint step = gl_WorkGroupSize.x / 2; step > 0; step /= 2) {
        if (lane < step)
            partial[lane] += partial[lane + step];
        barrier();
    }
    float sum = partial[0];
    barrier();
    return sum;
}

float reduce_max(float value)
{
    uint lane = gl_LocalInvocationID.x;
    partial[lane] = value;
    barrier();
    for (uint step = gl_WorkGroupSize.x / 2; step > 0; step /= 2) {
        if (lane < step)
            partial[lane] = max(partial[lane], partial[lane + step]);
        barrier();
    }
    float maximum = partial[0];
    barrier();
    return maximum;
}
