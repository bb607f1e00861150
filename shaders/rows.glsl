/* The arithmetic that an op's own shader and the fused ones share, so that a run step by step gives the bits of a fused one.
 * `precise`: nothing is contracted with what follows, which differs between the two. */

float normalised(float x, float scale, float factor)
{
    precise float y = x * scale * factor;
    return y;
}

vec2 rotated(float first, float second, vec2 cos_sin)
{
    precise vec2 y = vec2(first * cos_sin.x - second * cos_sin.y, second * cos_sin.x + first * cos_sin.y);
    return y;
}
