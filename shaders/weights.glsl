/* Decodes weight tensors as their files store them. Every value is exact, or rounded once (when a minimum is added). Source of
 * the block formats: ggml-common.h, ggml-quants.c. The including shader binds the matrix as `uint words[]`. A block starts at
 * a multiple of 2 bytes; a block of MXFP4 starts at any byte. */
#include "half.glsl"
layout(constant_id = 2) const uint DTYPE = DTYPE_F32;
layout(constant_id = 7) const uint LAYOUT = LAYOUT_ROWS;
layout(constant_id = 19) const uint GROUPED = 0; /* 1: blocks are in groups, as engine/placement/groups.h has them */

const bool IS_SUPER = DTYPE == DTYPE_Q4_K || DTYPE == DTYPE_Q5_K || DTYPE == DTYPE_Q6_K;
const bool IS_FLOAT = DTYPE == DTYPE_F32 || DTYPE == DTYPE_F16 || DTYPE == DTYPE_BF16;
const uint BLOCK_ELEMS = IS_FLOAT ? 1 : IS_SUPER ? 256 : 32;
const uint BLOCK_BYTES = DTYPE == DTYPE_F32     ? 4
                         : IS_FLOAT             ? 2
                         : DTYPE == DTYPE_Q4_0  ? 18
                         : DTYPE == DTYPE_Q4_1  ? 20
                         : DTYPE == DTYPE_Q5_0  ? 22
                         : DTYPE == DTYPE_Q5_1  ? 24
                         : DTYPE == DTYPE_Q8_0  ? 34
                         : DTYPE == DTYPE_MXFP4 ? 17
                         : DTYPE == DTYPE_Q4_K  ? 144
                         : DTYPE == DTYPE_Q5_K  ? 176
                                                : 210; /* Q6_K */

/* A block of 32 consists of its scale (with a minimum), fifth bits, and quants. In a group, the scales of GROUP blocks come first,
 * then their fifth bits, then their quants, which start at multiples of 16 bytes. A group is as large as its blocks were. */
const bool HAS_MINIMUM = DTYPE == DTYPE_Q4_1 || DTYPE == DTYPE_Q5_1, HAS_FIFTH = DTYPE == DTYPE_Q5_0 || DTYPE == DTYPE_Q5_1;
const uint GROUP = HAS_MINIMUM ? 4 : 8, SCALE_BYTES = HAS_MINIMUM ? 4 : 2, QUANT_BYTES = DTYPE == DTYPE_Q8_0 ? 32 : 16;
const uint GROUP_HEAD = GROUP * (SCALE_BYTES + (HAS_FIFTH ? 4 : 0));

uint scale_byte(uint row, uint block)
{
    return GROUPED != 0 ? row + block / GROUP * (GROUP * BLOCK_BYTES) + block % GROUP * SCALE_BYTES
                        : row + block * BLOCK_BYTES;
}

uint fifth_byte(uint row, uint block)
{
    return GROUPED != 0 ? row + block / GROUP * (GROUP * BLOCK_BYTES) + GROUP * SCALE_BYTES + block % GROUP * 4
                        : row + block * BLOCK_BYTES + SCALE_BYTES;
}

uint quants_byte(uint row, uint block)
{
    return GROUPED != 0 ? row + block / GROUP * (GROUP * BLOCK_BYTES) + GROUP_HEAD + block % GROUP * QUANT_BYTES
                        : row + (block + 1) * BLOCK_BYTES - QUANT_BYTES;
}

/* A unit is 8 elements in two runs of 4. The first run starts at element unit_first(unit), the second one UNIT_STEP elements
 * later, so that the low and the high nibbles of one word form a unit. UNIT_SPAN / 8 units fill a span of a row. */
const uint UNIT_STEP = IS_FLOAT || DTYPE == DTYPE_Q8_0 ? 4 : DTYPE == DTYPE_Q6_K ? 64 : IS_SUPER ? 32 : 16;
const uint UNIT_SPAN = 2 * UNIT_STEP;
uint unit_first(uint unit)
{
    return unit / (UNIT_STEP / 4) * UNIT_SPAN + unit % (UNIT_STEP / 4) * 4;
}

/* The unit that element i belongs to. */
uint unit_of(uint i)
{
    return i / UNIT_SPAN * (UNIT_SPAN / 8) + i % UNIT_STEP / 4;
}

uint load16(uint at)
{
    return (words[at >> 2] >> ((at & 2) * 8)) & 0xffff;
}

/* Four bytes from an address that is a multiple of 2, as in blocks of 18 and 34 bytes. */
uint load32(uint at)
{
    uint word = words[at >> 2];
    return (at & 2) == 0 ? word : (word >> 16) | (words[(at >> 2) + 1] << 16);
}

/* Four bytes from any address. A shift by 32 is undefined, so it is done in two steps. */
uint load32_unaligned(uint at)
{
    uint shift = (at & 3) * 8;
    return (words[at >> 2] >> shift) | (words[(at >> 2) + 1] << (31 - shift) << 1);
}

vec4 signed_bytes(uint word)
{
    int v = int(word);
    return vec4((v << 24) >> 24, (v << 16) >> 24, (v << 8) >> 24, v >> 24);
}

vec4 low_nibbles(uint word)
{
    return vec4(word & 15, (word >> 8) & 15, (word >> 16) & 15, (word >> 24) & 15);
}

/* Moves the four lowest bits of `bits` to bit 4 of each byte: the fifth bits of Q5_0 and Q5_1. */
uint fifth_bits(uint bits)
{
    return (bits & 1) << 4 | (bits & 2) << 11 | (bits & 4) << 18 | (bits & 8) << 25;
}

vec4 bytes_of(uint word)
{
    return vec4(word & 255, (word >> 8) & 255, (word >> 16) & 255, word >> 24);
}

/* Twice the value of an e2m1 nibble: 0 1 2 3 4 6 8 12, bit 3 the sign. */
int e2m1_doubled(uint nibble)
{
    int magnitude = int(0xc8643210u >> ((nibble & 7) * 4) & 15);
    return (nibble & 8) != 0 ? -magnitude : magnitude;
}

vec4 e2m1_doubled4(uint word)
{
    return vec4(e2m1_doubled(word), e2m1_doubled(word >> 8), e2m1_doubled(word >> 16), e2m1_doubled(word >> 24));
}

/* Scales (x, y) and minimums (z, w) of runs 2c and 2c + 1 of a block of Q4_K or Q5_K. s, m and rest are the 12 bytes of its
 * 6-bit numbers. Runs 0 to 3 are the low six bits of the bytes of s and m. Of the other runs, the low four bits are in rest,
 * the top two bits are the top two bits of s and m. */
vec4 k_scales(uint s, uint m, uint rest, uint c)
{
    uint shift = (c & 1) * 16;
    s >>= shift;
    m >>= shift;
    rest >>= shift;
    uvec4 packed =
        c < 2 ? uvec4(s, s >> 8, m, m >> 8) & 63
              : (uvec4(rest, rest >> 8, rest >> 4, rest >> 12) & 15) | (uvec4(s >> 2, s >> 10, m >> 2, m >> 10) & 48);
    return vec4(packed);
}

uint row_bytes(uint n)
{
    uint blocks = (n + BLOCK_ELEMS - 1) / BLOCK_ELEMS;
    if (GROUPED != 0 && blocks % GROUP != 0)
        return quants_byte(0, blocks);
    return blocks * BLOCK_BYTES;
}

/* Formats whose units can be loaded first and decoded later. */
const bool IS_16_BITS = DTYPE == DTYPE_F16 || DTYPE == DTYPE_BF16;
const bool IS_LATE = IS_16_BITS || DTYPE == DTYPE_Q4_0 || DTYPE == DTYPE_Q4_1 || HAS_FIFTH || DTYPE == DTYPE_Q8_0;

/* Four bytes of a unit. Blocks with a minimum have 20 or 24 bytes and are aligned to 4. */
uint load_part(uint at)
{
    return HAS_MINIMUM ? words[at >> 2] : load32(at);
}

/* Loads a unit without decoding it: 8 elements of 16 bits; or the block's scale (with its minimum), quants, and more quants or
 * fifth bits. */
uvec4 load_unit(uint row, uint unit)
{
    uint block = unit >> 2, quarter = unit & 3;
    if (IS_16_BITS) {
        uint at = row + unit * 16;
        return uvec4(load32(at), load32(at + 4), load32(at + 8), load32(at + 12));
    }
    uint at = scale_byte(row, block), quants = quants_byte(row, block);
    uint scale = HAS_MINIMUM ? words[at >> 2] : load16(at);
    if (DTYPE == DTYPE_Q8_0)
        return uvec4(scale, load32(quants + quarter * 8), load32(quants + quarter * 8 + 4), 0);
    return uvec4(scale, load_part(quants + quarter * 4), HAS_FIFTH ? load_part(fifth_byte(row, block)) : 0, 0);
}

void decode_q5(uvec4 loaded, uint unit, out vec4 a, out vec4 b)
{
    uint bits = loaded.z >> ((unit & 3) * 4), nibbles = loaded.y;
    float d = half_value(loaded.x & 0xffff);
    a = bytes_of(nibbles & 0x0f0f0f0f | fifth_bits(bits));
    b = bytes_of(nibbles >> 4 & 0x0f0f0f0f | fifth_bits(bits >> 16));
    if (DTYPE == DTYPE_Q5_1) {
        float m = half_value(loaded.x >> 16);
        a = d * a + m;
        b = d * b + m;
    } else {
        a = d * (a - 16.0);
        b = d * (b - 16.0);
    }
}

void decode_q4_or_q5_k(uint row, uint unit, out vec4 a, out vec4 b)
{
    uint at = (row + (unit >> 5) * BLOCK_BYTES) >> 2, c = unit >> 3 & 3, word = unit & 7;
    bool fifth = DTYPE == DTYPE_Q5_K;
    vec4 scales = k_scales(words[at + 1], words[at + 2], words[at + 3], c);
    scales *= vec4(half_value(words[at] & 0xffff), half_value(words[at] & 0xffff), half_value(words[at] >> 16),
                   half_value(words[at] >> 16));
    uint nibbles = words[at + (fifth ? 12 : 4) + c * 8 + word];
    uint low = nibbles & 0x0f0f0f0f, high = nibbles >> 4 & 0x0f0f0f0f;
    if (fifth) {
        uint bits = words[at + 4 + word] >> (2 * c);
        low |= bits << 4 & 0x10101010;
        high |= bits << 3 & 0x10101010;
    }
    a = scales.x * bytes_of(low) - scales.z;
    b = scales.y * bytes_of(high) - scales.w;
}

void decode_q6_k(uint row, uint unit, out vec4 a, out vec4 b)
{
    uint at = row + (unit >> 5) * 210, h = unit >> 4 & 1, word = unit & 15;
    uint nibbles = load32(at + h * 64 + word * 4);
    uint bits = load32(at + 128 + h * 32 + (word & 7) * 4) >> (word >> 3) * 2;
    uint scale_at = at + 192 + h * 8 + (word >> 2);
    float d = half_value(load16(at + 208));
    int scale = int(load16(scale_at & ~1) >> (scale_at & 1) * 8),
        other = int(load16(scale_at + 4 & ~1) >> (scale_at & 1) * 8);
    a = d * float(bitfieldExtract(scale, 0, 8)) * (bytes_of(nibbles & 0x0f0f0f0f | bits << 4 & 0x30303030) - 32.0);
    b = d * float(bitfieldExtract(other, 0, 8)) * (bytes_of(nibbles >> 4 & 0x0f0f0f0f | bits & 0x30303030) - 32.0);
}

void decode_mxfp4(uint row, uint unit, out vec4 a, out vec4 b)
{
    uint at = row + (unit >> 2) * 17;
    uint e = load32_unaligned(at) & 255, nibbles = load32_unaligned(at + 1 + (unit & 3) * 4);
    float d = uintBitsToFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23); /* half of 2^(e - 127) */
    a = d * e2m1_doubled4(nibbles);
    b = d * e2m1_doubled4(nibbles >> 4);
}

/* Decodes 8 elements of 16 bits. */
void decode_halves(uvec4 w, out vec4 a, out vec4 b)
{
    if (DTYPE == DTYPE_BF16) {
        a = uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000, w.y << 16, w.y & 0xffff0000));
        b = uintBitsToFloat(uvec4(w.z << 16, w.z & 0xffff0000, w.w << 16, w.w & 0xffff0000));
    } else if (NATIVE_HALF != 0) {
        a = vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
        b = vec4(unpackHalf2x16(w.z), unpackHalf2x16(w.w));
    } else {
        a = vec4(half_value(w.x & 0xffff), half_value(w.x >> 16), half_value(w.y & 0xffff), half_value(w.y >> 16));
        b = vec4(half_value(w.z & 0xffff), half_value(w.z >> 16), half_value(w.w & 0xffff), half_value(w.w >> 16));
    }
}

void decode_f32(uint row, uint unit, out vec4 a, out vec4 b)
{
    uint at = (row >> 2) + unit * 8;
    a = uintBitsToFloat(uvec4(words[at], words[at + 1], words[at + 2], words[at + 3]));
    b = uintBitsToFloat(uvec4(words[at + 4], words[at + 5], words[at + 6], words[at + 7]));
}

/* Decodes the 8 elements of a unit that load_unit loaded. */
void decode_loaded(uvec4 loaded, uint unit, out vec4 a, out vec4 b)
{
    float d = half_value(loaded.x & 0xffff);
    if (IS_16_BITS) {
        decode_halves(loaded, a, b);
    } else if (DTYPE == DTYPE_Q4_0) {
        a = d * (low_nibbles(loaded.y) - 8.0);
        b = d * (low_nibbles(loaded.y >> 4) - 8.0);
    } else if (DTYPE == DTYPE_Q4_1) {
        float m = half_value(loaded.x >> 16);
        a = d * low_nibbles(loaded.y) + m;
        b = d * low_nibbles(loaded.y >> 4) + m;
    } else if (DTYPE == DTYPE_Q8_0) {
        a = d * signed_bytes(loaded.y);
        b = d * signed_bytes(loaded.z);
    } else {
        decode_q5(loaded, unit, a, b);
    }
}

/* Loads and decodes the 8 elements of a unit of the row that starts at byte `row`. */
void decode_unit(uint row, uint unit, out vec4 a, out vec4 b)
{
    if (IS_LATE) {
        decode_loaded(load_unit(row, unit), unit, a, b);
    } else if (DTYPE == DTYPE_F32) {
        decode_f32(row, unit, a, b);
    } else if (DTYPE == DTYPE_Q6_K) {
        decode_q6_k(row, unit, a, b);
    } else if (DTYPE == DTYPE_MXFP4) {
        decode_mxfp4(row, unit, a, b);
    } else {
        decode_q4_or_q5_k(row, unit, a, b);
    }
}

/* Decodes the 32 elements of a block of the row that starts at byte `row`, for a lane that takes whole blocks. Every other block
 * of 18 or 34 bytes starts in the middle of a word. */
const bool HAS_BLOCKS = DTYPE == DTYPE_Q4_0 || DTYPE == DTYPE_Q4_1 || DTYPE == DTYPE_Q8_0;
void decode_block(uint row, uint block, out vec4 w[8])
{
    if (GROUPED != 0) {
        for (uint k = 0; k < 4; k++) {
            if (DTYPE == DTYPE_Q8_0)
                decode_unit(row, block * 4 + k, w[2 * k], w[2 * k + 1]);
            else
                decode_unit(row, block * 4 + k, w[k], w[k + 4]);
        }
        return;
    }
    if (DTYPE == DTYPE_Q4_1) {
        uint at = (row >> 2) + block * 5;
        float d = half_value(words[at] & 0xffff), m = half_value(words[at] >> 16);
        for (uint k = 0; k < 4; k++) {
            uint nibbles = words[at + 1 + k];
            w[k] = d * low_nibbles(nibbles) + m;
            w[k + 4] = d * low_nibbles(nibbles >> 4) + m;
        }
        return;
    }
    uint byte = row + block * (DTYPE == DTYPE_Q4_0 ? 18 : 34);
    uint at = byte >> 2, word = words[at];
    bool odd = (byte & 2) != 0;
    float d = half_value(odd ? word >> 16 : word & 0xffff);
    for (uint k = 0; k < (DTYPE == DTYPE_Q4_0 ? 4 : 8); k++) {
        uint next = words[at + 1 + k];
        uint quants = odd ? next : (word >> 16) | (next << 16);
        word = next;
        if (DTYPE == DTYPE_Q4_0) {
            w[k] = d * (low_nibbles(quants) - 8.0);
            w[k + 4] = d * (low_nibbles(quants >> 4) - 8.0);
        } else {
            w[k] = d * signed_bytes(quants);
        }
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
    vec4 a, b;
    decode_unit(row, unit_of(i), a, b);
    return i % UNIT_SPAN < UNIT_STEP ? a[i & 3] : b[i & 3];
}

/* Element (o, i) of a matrix [n_out, n_in] in any layout. */
float decode_at(uint o, uint i, uint n_out, uint n_in)
{
    return LAYOUT == LAYOUT_ROWS     ? decode_element(o * row_bytes(n_in), i)
           : LAYOUT == LAYOUT_PACKED ? decode_element(0, o * n_in + i)
                                     : decode_element(i * row_bytes(n_out), o);
}

/* Number of units that a row of n_in elements starts with. The elements behind them are read with decode_at: the rest of a row,
 * or the whole row if it does not start at the start of a span. */
uint row_units(uint n_in)
{
    bool whole = LAYOUT == LAYOUT_ROWS || (LAYOUT == LAYOUT_PACKED && n_in % UNIT_SPAN == 0);
    return whole ? n_in / UNIT_SPAN * (UNIT_SPAN / 8) : 0;
}

/* Index of row o's first unit, counted from byte `row`. */
uint first_row_unit(uint o, uint n_in, out uint row)
{
    bool packed = LAYOUT == LAYOUT_PACKED;
    row = packed ? 0 : o * row_bytes(n_in);
    return packed ? o * n_in / 8 : 0;
}
