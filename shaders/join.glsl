/* Joins the parts of an attention. Part p of head h covers the visible keys from p * keys_a_part on. `parts[]` holds, for each
 * part, the maximum of its scores and the sum of its exponentials; behind all of these, for each part, the sum of p v, which is
 * not yet divided. The including shader binds `parts` as vec4 x4[]. */
layout(constant_id = 5) const uint HEAD_DIM = 64;

uint part_index(uint head, uint part, uint n_parts)
{
    return head * n_parts + part;
}

/* Index in `parts` of a part's sums. */
uint part_sums(uint head, uint part, uint heads, uint n_parts)
{
    uint pairs = (heads * n_parts * 2 + 3) & ~3;
    return pairs + part_index(head, part, n_parts) * HEAD_DIM;
}

/* The first key that a position sees. */
uint first_visible(uint position, uint window)
{
    return window != 0 && position >= window ? position + 1 - window : 0;
}

float part_value(uint word)
{
    return x4[word >> 2][word & 3];
}

/* Elements 4i … 4i + 3 of a head's attention. Four parts are taken at a time, and all their loads are issued at once. The first
 * four are loaded before the number of parts is known. */
vec4 joined_parts(uint head, uint i)
{
    float maximum = uintBitsToFloat(0xff800000); /* -infinity */
    precise float total = 0.0;
    precise vec4 sum = vec4(0.0);
    uint n = 1;
    for (uint p = 0; p < n; p += 4) {
        float m[4], l[4];
        vec4 y4[4];
        [[unroll]] for (uint k = 0; k < 4; k++) {
            uint part = min(p + k, op.n_parts - 1), pair = part_index(head, part, op.n_parts) * 2;
            m[k] = part_value(pair);
            l[k] = part_value(pair + 1);
            y4[k] = x4[part_sums(head, part, op.heads, op.n_parts) / 4 + i];
        }
        uint position = batch.first_position, n_keys = position + 1 - first_visible(position, op.window);
        n = (n_keys + op.keys_a_part - 1) / op.keys_a_part;
        float highest = max(maximum, m[0]);
        [[unroll]] for (uint k = 1; k < 4; k++)
            highest = p + k < n ? max(highest, m[k]) : highest;
        float scale = p == 0 ? 0.0 : exp_exact(maximum - highest);
        maximum = highest;
        total *= scale;
        sum *= scale;
        [[unroll]] for (uint k = 0; k < 4; k++) {
            float weight = exp_exact(m[k] - highest);
            if (p + k < n) {
                total += weight * l[k];
                sum += weight * y4[k];
            }
        }
    }
    precise vec4 y4 = sum * divide(1.0, total);
    return y4;
}
