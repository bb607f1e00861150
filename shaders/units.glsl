/* A unit of 8 weights in two steps: its words as they lie, in up to four loads that nothing waits for, and what they mean.
 * The loads of many units can so be in flight at once, ahead of the barriers of what makes x. A row begins at a multiple
 * of 4 bytes, so that which loads a unit takes is known before the row is. After weights.glsl; the shader also binds the
 * matrix as `uvec4 wide_words[]`. */
const bool IS_HALF = DTYPE == DTYPE_F16 || DTYPE == DTYPE_BF16;
const bool HAS_RAW = IS_HALF || DTYPE == DTYPE_Q4_0 || DTYPE == DTYPE_Q4_1 || DTYPE == DTYPE_Q5_0 || DTYPE == DTYPE_Q5_1 ||
                     DTYPE == DTYPE_Q8_0;

/* The byte of the row that the unit's block begins at; whether that is the middle of a word. */
uint block_byte(uint unit)
{
    return (unit >> 2) * BLOCK_BYTES;
}

uvec4 fetch_unit(uint row, uint unit)
{
    if (IS_HALF && WIDE != 0)
        return wide_words[(row >> 4) + unit];
    uint first = row >> 2, at = block_byte(unit) >> 2, quarter = unit & 3;
    if (IS_HALF)
        return uvec4(words[first + unit * 4], words[first + unit * 4 + 1], words[first + unit * 4 + 2],
                     words[first + unit * 4 + 3]);
    if (DTYPE == DTYPE_Q4_1)
        return uvec4(words[first + at], words[first + at + 1 + quarter], 0, 0);
    if (DTYPE == DTYPE_Q5_1)
        return uvec4(words[first + at], words[first + at + 1], words[first + at + 2 + quarter], 0);
    if (DTYPE == DTYPE_Q8_0) {
        uint quants = (block_byte(unit) + 2 + quarter * 8) >> 2;
        return uvec4(words[first + at], words[first + quants], words[first + quants + 1], words[first + quants + 2]);
    }
    uint quants = (block_byte(unit) + (DTYPE == DTYPE_Q4_0 ? 2 : 6) + quarter * 4) >> 2;
    return uvec4(words[first + at], words[first + at + 1], words[first + quants], words[first + quants + 1]);
}

/* Four bytes that begin in the middle of a word, or with it. */
uint joined(bool middle, uint low, uint high)
{
    return middle ? (low >> 16) | (high << 16) : low;
}

vec4 bytes4(uint word)
{
    return vec4(bitfieldExtract(word, 0, 8), bitfieldExtract(word, 8, 8), bitfieldExtract(word, 16, 8),
                bitfieldExtract(word, 24, 8));
}

vec4 signed_bytes4(uint word)
{
    int v = int(word);
    return vec4(bitfieldExtract(v, 0, 8), bitfieldExtract(v, 8, 8), bitfieldExtract(v, 16, 8), bitfieldExtract(v, 24, 8));
}

/* What a unit adds to the product with x. Quants are scaled together where their values are exact without. */
float unit_dot(uint unit, uvec4 raw, vec4 xa, vec4 xb)
{
    vec4 a, b;
    if (IS_HALF) {
        decode_halves(raw, a, b);
        return dot(a, xa) + dot(b, xb);
    }
    uint quarter = unit & 3;
    bool middle = (block_byte(unit) & 2) != 0; /* where the block begins; quants: the other way round */
    if (DTYPE == DTYPE_Q4_1 || DTYPE == DTYPE_Q5_1) {
        float d = half_value(raw.x & 0xffff), m = half_value(raw.x >> 16);
        bool fifth = DTYPE == DTYPE_Q5_1;
        uint nibbles = fifth ? raw.z : raw.y, bits = raw.y >> (quarter * 4);
        a = d * bytes4(nibbles & 0x0f0f0f0f | (fifth ? fifth_bits(bits) : 0)) + m;
        b = d * bytes4(nibbles >> 4 & 0x0f0f0f0f | (fifth ? fifth_bits(bits >> 16) : 0)) + m;
        return dot(a, xa) + dot(b, xb);
    }
    float d = half_value(middle ? raw.x >> 16 : raw.x & 0xffff);
    if (DTYPE == DTYPE_Q8_0) {
        a = signed_bytes4(joined(!middle, raw.y, raw.z));
        b = signed_bytes4(joined(!middle, raw.z, raw.w));
        return d * (dot(a, xa) + dot(b, xb));
    }
    uint nibbles = joined(!middle, raw.z, raw.w);
    if (DTYPE == DTYPE_Q4_0) {
        a = bytes4(nibbles & 0x0f0f0f0f) - 8.0;
        b = bytes4(nibbles >> 4 & 0x0f0f0f0f) - 8.0;
        return d * (dot(a, xa) + dot(b, xb));
    }
    uint bits = (middle ? raw.y : joined(true, raw.x, raw.y)) >> (quarter * 4);
    a = bytes4(nibbles & 0x0f0f0f0f | fifth_bits(bits)) - 16.0;
    b = bytes4(nibbles >> 4 & 0x0f0f0f0f | fifth_bits(bits >> 16)) - 16.0;
    return d * (dot(a, xa) + dot(b, xb));
}
