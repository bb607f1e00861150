/* Weight tensors as their files store them, read from a buffer of words and decoded here. Every value is exact, or
 * rounded once (by the addition of a minimum). Source of the block formats: ggml-common.h, ggml-quants.c. The including
 * shader binds the matrix as `uint words[]`. Blocks start at multiples of 2 bytes; those of MXFP4 start anywhere. */
#include "half.glsl"
layout(constant_id = 2) const uint DTYPE = DTYPE_F32;
layout(constant_id = 7) const uint LAYOUT = LAYOUT_ROWS;
layout(constant_id = 19) const uint GROUPED = 0; /* 1: blocks of a row lie in groups, as the engine arranges them */

/* Columns of dtypes.h, as specialisation constants. */
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    DTYPE == code ? elems :
const uint BLOCK_ELEMS = DTYPES(X) 1;
#undef X
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    DTYPE == code ? bytes :
const uint BLOCK_BYTES = DTYPES(X) 1;
#undef X
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    DTYPE == code ? quants :
const uint QUANT_BYTES = DTYPES(X) 0;
#undef X
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    DTYPE == code ? step :
const uint UNIT_STEP = DTYPES(X) 4;
#undef X
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    DTYPE == code ? m_times :
const uint MINIMUM_TIMES = DTYPES(X) 0;
#undef X

/* Blocks with parts lie in a row as in the file: scale (with minimum), fifth bits, quants. Or grouped: the parts of GROUP
 * blocks follow one another, so that quants begin at multiples of 16 bytes; a group takes what its blocks do. */
const bool HAS_PARTS = QUANT_BYTES != 0, HAS_MINIMUM = HAS_PARTS && MINIMUM_TIMES != 0;
const uint SCALE_BYTES = HAS_MINIMUM ? 4 : 2, GROUP = 16 / SCALE_BYTES;
const uint FIFTH_BYTES = HAS_PARTS ? BLOCK_BYTES - SCALE_BYTES - QUANT_BYTES : 0; /* 4 or none */
const bool HAS_FIFTH = FIFTH_BYTES != 0;
const uint GROUP_HEAD = GROUP * (SCALE_BYTES + FIFTH_BYTES);

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

/* A unit is 8 elements, two runs of 4: the first at unit_first(unit), the second UNIT_STEP further on, so that the low and
 * the high nibbles of one word make a unit. Units tile a row in spans. */
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
const bool IS_LATE = IS_16_BITS || HAS_PARTS;

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
    if (QUANT_BYTES == 32)
        return uvec4(scale, load32(quants + quarter * 8), load32(quants + quarter * 8 + 4), 0);
    return uvec4(scale, load_part(quants + quarter * 4), HAS_FIFTH ? load_part(fifth_byte(row, block)) : 0, 0);
}

/* decode_NAME: the 8 elements of a unit. loaded: what load_unit makes of it, where the format IS_LATE; the others read the row
 * that starts at byte `row` themselves. */
void decode_F32(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    uint at = (row >> 2) + unit * 8;
    a = uintBitsToFloat(uvec4(words[at], words[at + 1], words[at + 2], words[at + 3]));
    b = uintBitsToFloat(uvec4(words[at + 4], words[at + 5], words[at + 6], words[at + 7]));
}

void decode_F16(uint row, uint unit, uvec4 w, out vec4 a, out vec4 b)
{
    if (NATIVE_HALF != 0) {
        a = vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
        b = vec4(unpackHalf2x16(w.z), unpackHalf2x16(w.w));
    } else {
        a = vec4(half_value(w.x & 0xffff), half_value(w.x >> 16), half_value(w.y & 0xffff), half_value(w.y >> 16));
        b = vec4(half_value(w.z & 0xffff), half_value(w.z >> 16), half_value(w.w & 0xffff), half_value(w.w >> 16));
    }
}

void decode_BF16(uint row, uint unit, uvec4 w, out vec4 a, out vec4 b)
{
    a = uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000, w.y << 16, w.y & 0xffff0000));
    b = uintBitsToFloat(uvec4(w.z << 16, w.z & 0xffff0000, w.w << 16, w.w & 0xffff0000));
}

void decode_Q4_0(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    float d = half_value(loaded.x & 0xffff);
    a = d * (low_nibbles(loaded.y) - 8.0);
    b = d * (low_nibbles(loaded.y >> 4) - 8.0);
}

void decode_Q4_1(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    float d = half_value(loaded.x & 0xffff), m = half_value(loaded.x >> 16);
    a = d * low_nibbles(loaded.y) + m;
    b = d * low_nibbles(loaded.y >> 4) + m;
}

void decode_Q8_0(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    float d = half_value(loaded.x & 0xffff);
    a = d * signed_bytes(loaded.y);
    b = d * signed_bytes(loaded.z);
}

/* Quants of 5 bits of a unit: nibbles with their fifth bits. */
void quants_of_5_bits(uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    uint bits = loaded.z >> ((unit & 3) * 4), nibbles = loaded.y;
    a = bytes_of(nibbles & 0x0f0f0f0f | fifth_bits(bits));
    b = bytes_of(nibbles >> 4 & 0x0f0f0f0f | fifth_bits(bits >> 16));
}

void decode_Q5_0(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    float d = half_value(loaded.x & 0xffff);
    quants_of_5_bits(unit, loaded, a, b);
    a = d * (a - 16.0);
    b = d * (b - 16.0);
}

void decode_Q5_1(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    float d = half_value(loaded.x & 0xffff), m = half_value(loaded.x >> 16);
    quants_of_5_bits(unit, loaded, a, b);
    a = d * a + m;
    b = d * b + m;
}

void decode_q4_or_q5_k(uint row, uint unit, bool fifth, out vec4 a, out vec4 b)
{
    uint at = (row + (unit >> 5) * BLOCK_BYTES) >> 2, c = unit >> 3 & 3, word = unit & 7;
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

void decode_Q4_K(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    decode_q4_or_q5_k(row, unit, false, a, b);
}

void decode_Q5_K(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    decode_q4_or_q5_k(row, unit, true, a, b);
}

void decode_Q6_K(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
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

void decode_MXFP4(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    uint at = row + (unit >> 2) * 17;
    uint e = load32_unaligned(at) & 255, nibbles = load32_unaligned(at + 1 + (unit & 3) * 4);
    float d = uintBitsToFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23); /* half of 2^(e - 127) */
    a = d * e2m1_doubled4(nibbles);
    b = d * e2m1_doubled4(nibbles >> 4);
}

/* Four signed bytes of a table of 16 whose words are these, by the low nibbles of a word's bytes. */
vec4 table_values(uvec4 table, uint nibbles)
{
    uvec4 q = uvec4(nibbles, nibbles >> 8, nibbles >> 16, nibbles >> 24) & 15;
    uvec4 word = uvec4(table[q.x >> 2], table[q.y >> 2], table[q.z >> 2], table[q.w >> 2]);
    return vec4(ivec4(word << (24 - (q & 3) * 8)) >> 24);
}

/* -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113 */
const uvec4 IQ4_NL_TABLE = uvec4(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);

void decode_IQ4_NL(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
    float d = half_value(loaded.x & 0xffff);
    a = d * table_values(IQ4_NL_TABLE, loaded.y);
    b = d * table_values(IQ4_NL_TABLE, loaded.y >> 4);
}

void decode_either(uint row, uint unit, uvec4 loaded, out vec4 a, out vec4 b)
{
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    if (DTYPE == code)                                                                                         \
        decode_##name(row, unit, loaded, a, b);                                                                \
    else
    DTYPES(X)
        a = b = vec4(0.0);
#undef X
}

/* Decodes the 8 elements of a unit that load_unit loaded. Formats that it does not load are left out: on an H200, calls in dead
 * branches cost registers. */
#define DECODE_WITH_QUANTS_0(name, code)
#define DECODE_WITH_QUANTS_16(name, code)       \
    if (DTYPE == code)                          \
        decode_##name(0, unit, loaded, a, b);   \
    else
#define DECODE_WITH_QUANTS_32(name, code) DECODE_WITH_QUANTS_16(name, code)
void decode_loaded(uvec4 loaded, uint unit, out vec4 a, out vec4 b)
{
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    DECODE_WITH_QUANTS_##quants(name, code)
    DTYPES(X)
    if (DTYPE == DTYPE_BF16)
        decode_BF16(0, unit, loaded, a, b);
    else
        decode_F16(0, unit, loaded, a, b);
#undef X
}

/* Loads and decodes the 8 elements of a unit of the row that starts at byte `row`. */
void decode_unit(uint row, uint unit, out vec4 a, out vec4 b)
{
    decode_either(row, unit, IS_LATE ? load_unit(row, unit) : uvec4(0), a, b);
}

/* The scale (with its minimum) and the quants of a block that is not grouped. Blocks of 18 and 34 bytes start in the middle of
 * every other word; those with a minimum, of 20 bytes, never. */
void load_block(uint row, uint block, out uint scale, out uint quants[8])
{
    uint byte = row + block * BLOCK_BYTES;
    uint at = byte >> 2, word = words[at];
    bool odd = (byte & 2) != 0;
    scale = HAS_MINIMUM ? word : odd ? word >> 16 : word & 0xffff;
    for (uint k = 0; k < QUANT_BYTES / 4; k++) {
        uint next = words[at + 1 + k];
        quants[k] = HAS_MINIMUM || odd ? next : (word >> 16) | (next << 16);
        word = next;
    }
}

/* The 32 elements of a block of the row that starts at byte `row`: for a lane that takes whole blocks. */
const bool HAS_BLOCKS = HAS_PARTS && !HAS_FIFTH;
void decode_block(uint row, uint block, out vec4 w[8])
{
    uint scale, quants[8];
    if (GROUPED == 0)
        load_block(row, block, scale, quants);
    for (uint k = 0; k < 4; k++) {
        vec4 a, b;
        if (GROUPED != 0)
            decode_unit(row, block * 4 + k, a, b);
        else if (QUANT_BYTES == 32)
            decode_loaded(uvec4(scale, quants[2 * k], quants[2 * k + 1], 0), k, a, b);
        else
            decode_loaded(uvec4(scale, quants[k], 0, 0), k, a, b);
        w[QUANT_BYTES == 32 ? 2 * k : k] = a;
        w[QUANT_BYTES == 32 ? 2 * k + 1 : k + 4] = b;
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
