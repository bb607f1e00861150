/* Weight tensors as their files store them, read from a buffer of words and decoded here. Every value is exact, or rounded
 * once (Q4_0, Q4_1: d q + m). Source of the block formats: ggml-common.h, ggml-quants.c.
 * The including shader binds the matrix as `uint words[]`; a row starts at a byte offset that is a multiple of 2. */
layout(constant_id = 2) const uint DTYPE = DTYPE_F32;
const bool IS_4BIT = DTYPE == DTYPE_Q4_0 || DTYPE == DTYPE_Q4_1;

/* A unit is 8 elements, two runs of 4: first at unit_first(unit), second UNIT_STEP further on. A byte of a 4-bit
 * block holds elements i and i + 16. */
const uint UNIT_STEP = IS_4BIT ? 16 : 4;
uint unit_first(uint unit)
{
    return IS_4BIT ? (unit >> 2) * 32 + (unit & 3) * 4 : unit * 8;
}

/* Half to float by its bits: unpackHalf2x16 may flush subnormals, and small scales are subnormal. */
float half_value(uint h)
{
    uint magnitude = h & 0x7fff;
    float value = magnitude < 0x0400   ? float(magnitude) * 5.9604644775390625e-8 /* 2^-24 */
                  : magnitude < 0x7c00 ? uintBitsToFloat((magnitude << 13) + (112u << 23))
                                       : uintBitsToFloat((magnitude << 13) | 0x7f800000);
    return (h & 0x8000) != 0 ? -value : value;
}

uint load16(uint at)
{
    return (words[at >> 2] >> ((at & 2) * 8)) & 0xffff;
}

/* Four bytes from an address that is a multiple of 2: blocks of 18 and 34 bytes are no better aligned. */
uint load32(uint at)
{
    uint word = words[at >> 2];
    return (at & 2) == 0 ? word : (word >> 16) | (words[(at >> 2) + 1] << 16);
}

vec4 signed_bytes(uint word)
{
    int v = int(word);
    return vec4(bitfieldExtract(v, 0, 8), bitfieldExtract(v, 8, 8), bitfieldExtract(v, 16, 8), v >> 24);
}

vec4 low_nibbles(uint word)
{
    return vec4(word & 15, (word >> 8) & 15, (word >> 16) & 15, (word >> 24) & 15);
}

uint row_bytes(uint n)
{
    return DTYPE == DTYPE_F32    ? n * 4
           : DTYPE == DTYPE_Q4_0 ? n / 32 * 18
           : DTYPE == DTYPE_Q4_1 ? n / 32 * 20
           : DTYPE == DTYPE_Q8_0 ? n / 32 * 34
                                 : n * 2;
}

/* The 8 elements of a unit of the row that starts at byte `row`. */
void decode_unit(uint row, uint unit, out vec4 a, out vec4 b)
{
    uint quarter = unit & 3;
    if (DTYPE == DTYPE_F32) {
        uint at = (row >> 2) + unit * 8;
        a = uintBitsToFloat(uvec4(words[at], words[at + 1], words[at + 2], words[at + 3]));
        b = uintBitsToFloat(uvec4(words[at + 4], words[at + 5], words[at + 6], words[at + 7]));
    } else if (DTYPE == DTYPE_F16 || DTYPE == DTYPE_BF16) {
        uint at = row + unit * 16;
        uvec4 w = uvec4(load32(at), load32(at + 4), load32(at + 8), load32(at + 12));
        if (DTYPE == DTYPE_BF16) {
            a = uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000, w.y << 16, w.y & 0xffff0000));
            b = uintBitsToFloat(uvec4(w.z << 16, w.z & 0xffff0000, w.w << 16, w.w & 0xffff0000));
        } else {
            a = vec4(half_value(w.x & 0xffff), half_value(w.x >> 16), half_value(w.y & 0xffff), half_value(w.y >> 16));
            b = vec4(half_value(w.z & 0xffff), half_value(w.z >> 16), half_value(w.w & 0xffff), half_value(w.w >> 16));
        }
    } else if (DTYPE == DTYPE_Q4_0) {
        uint at = row + (unit >> 2) * 18;
        float d = half_value(load16(at));
        uint nibbles = load32(at + 2 + quarter * 4);
        a = d * (low_nibbles(nibbles) - 8.0);
        b = d * (low_nibbles(nibbles >> 4) - 8.0);
    } else if (DTYPE == DTYPE_Q4_1) {
        uint at = (row >> 2) + (unit >> 2) * 5;
        float d = half_value(words[at] & 0xffff), m = half_value(words[at] >> 16);
        uint nibbles = words[at + 1 + quarter];
        a = d * low_nibbles(nibbles) + m;
        b = d * low_nibbles(nibbles >> 4) + m;
    } else { /* Q8_0 */
        uint at = row + (unit >> 2) * 34;
        float d = half_value(load16(at));
        a = d * signed_bytes(load32(at + 2 + quarter * 8));
        b = d * signed_bytes(load32(at + 6 + quarter * 8));
    }
}

/* Element i of the row that starts at byte `row`. */
float decode_element(uint row, uint i)
{
    if (DTYPE == DTYPE_F32)
        return uintBitsToFloat(words[(row >> 2) + i]);
    if (DTYPE == DTYPE_F16)
        return half_value(load16(row + i * 2));
    if (DTYPE == DTYPE_BF16)
        return uintBitsToFloat(load16(row + i * 2) << 16);
    uint in_block = i & 31;
    uint unit = (i >> 5) * 4 + (IS_4BIT ? (in_block & 15) >> 2 : in_block >> 3);
    vec4 a, b;
    decode_unit(row, unit, a, b);
    bool second = IS_4BIT ? in_block >= 16 : (in_block & 4) != 0;
    return second ? b[i & 3] : a[i & 3];
}
