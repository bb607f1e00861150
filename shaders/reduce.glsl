/* Sum and maximum over a workgroup: within subgroups by subgroup operations, across them through shared memory. Any subgroup
 * size works (4 to 128 lanes exist). The array has room for one partial result a lane, which is enough for any number of
 * subgroups (fix "wg_sums overflow": an array with too few elements). Every lane must call them, and gets the result. */
shared float partial[gl_WorkGroupSize.x];

float reduce_sum(float value)
{
    float sum = subgroupAdd(value);
    if (gl_NumSubgroups == 1)
        return sum;
    barrier(); /* an earlier result has been read */
    if (subgroupElect())
        partial[gl_SubgroupID] = sum;
    barrier();
    sum = partial[0];
    for (uint i = 1; i < gl_NumSubgroups; i++)
        sum += partial[i];
    return sum;
}

float reduce_max(float value)
{
    float maximum = subgroupMax(value);
    if (gl_NumSubgroups == 1)
        return maximum;
    barrier();
    if (subgroupElect())
        partial[gl_SubgroupID] = maximum;
    barrier();
    maximum = partial[0];
    for (uint i = 1; i < gl_NumSubgroups; i++)
        maximum = max(maximum, partial[i]);
    return maximum;
}
