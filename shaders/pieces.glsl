/* A piece of a matrix row: 16 bytes that a lane loads at a time, with their scale. Where a row has no such pieces, a piece is a
 * unit of 8 weights. Loading and decoding are separate, so that many loads can be in flight before x is ready. Products are
 * added with fma, so that all kernels give the same bits. Include this after weights.glsl. The including shader also binds the
 * matrix as `uvec4 wide_words[]`, and defines vec4 piece_x(uint piece, uint j), which returns x. */
const bool IS_HALF = DTYPE == DTYPE_F16 || DTYPE == DTYPE_BF16;
const bool HAS_RAW = IS_HALF || GROUPED != 0;
const uint PIECE = GROUPED == 0 ? 8 : QUANT_BYTES == 32 ? 16 : 32; /* weights */
const uint PIECE_VECS = PIECE / 4;                                 /* vec4s of x */

/* The piece that vec4 i of x belongs to, and which of the piece's vec4s it is. */
uvec2 piece_of(uint i)
{
    if (HAS_RAW)
        return uvec2(i / PIECE_VECS, i % PIECE_VECS);
    uint e = i * 4;
    return uvec2(e / UNIT_SPAN * (UNIT_SPAN / 8) + e % UNIT_STEP / 4, e % UNIT_SPAN / UNIT_STEP);
}

/* The inverse of piece_of. */
uint piece_vec(uint piece, uint j)
{
    return HAS_RAW ? piece * PIECE_VECS + j : (unit_first(piece) + j * UNIT_STEP) / 4;
}

struct raw_piece {
    uvec4 quants; /* or halves */
    uint scale, fifth;
};

/* Block of a piece. */
uint block_of(uint piece)
{
    return QUANT_BYTES == 32 ? piece >> 1 : piece;
}

/* Byte of a piece's quants in a row, behind the head of its group. Numbers of blocks, lanes and pieces are powers of two, so the
 * bytes of pieces slot and k * SLOTS add up to those of piece slot + k * SLOTS. The second summand is a constant. */
uint quants_at(uint piece)
{
    return quants_byte(0, block_of(piece)) - GROUP_HEAD + (QUANT_BYTES == 32 ? (piece & 1) * 16 : 0);
}

/* Loads piece slot + ahead of the row that starts at byte `row`. ahead: a constant multiple of SLOTS; slot < SLOTS. */
raw_piece fetch_piece(uint row, uint slot, uint ahead)
{
    raw_piece raw;
    raw.scale = raw.fifth = 0;
    if (GROUPED != 0) {
        uint block = block_of(slot), next = block_of(ahead);
        raw.quants = wide_words[((row + GROUP_HEAD + quants_at(slot)) >> 4) + (quants_at(ahead) >> 4)];
        raw.scale = words[(scale_byte(row, block) >> 2) + (scale_byte(0, next) >> 2)];
        if (HAS_FIFTH)
            raw.fifth = words[(fifth_byte(row, block) >> 2) + (fifth_byte(0, next) - GROUP * SCALE_BYTES >> 2)];
    } else if (WIDE != 0) {
        raw.quants = wide_words[(row >> 4) + slot + ahead];
    } else {
        uint at = (row >> 2) + (slot + ahead) * 4;
        raw.quants = uvec4(words[at], words[at + 1], words[at + 2], words[at + 3]);
    }
    return raw;
}

/* The four bytes of a word minus `zero`, exactly. The bytes become the low bits of the half 1024, which avoids the conversion of
 * integers; a GPU can do few of those at a time. */
vec4 bytes_less(uint word, float zero)
{
    vec2 even = unpackHalf2x16(word & 0x00ff00ff | 0x64006400), odd = unpackHalf2x16(word >> 8 & 0x00ff00ff | 0x64006400);
    return vec4(even.x, odd.x, even.y, odd.y) - (1024.0 + zero);
}

/* 16 * (nibble - 8) for the high nibble of each byte, exactly. */
vec4 high_nibbles_less_8(uint word)
{
    vec2 even = unpackHalf2x16(word & 0x00f000f0 | 0x64006400), odd = unpackHalf2x16(word >> 8 & 0x00f000f0 | 0x64006400);
    return vec4(even.x, odd.x, even.y, odd.y) - (1024.0 + 128.0);
}

/* Adds the products of 32 quants of 4 or 5 bits to a sum. Without a minimum, the unscaled quants are exact, so their sum is
 * scaled only once. */
float add_nibbles(raw_piece raw, float d, uint piece, float sum)
{
    precise float low = HAS_MINIMUM ? sum : 0.0, high = 0.0;
    float m = HAS_MINIMUM ? half_value(raw.scale >> 16) : 0.0;
    [[unroll]] for (uint k = 0; k < 4; k++) {
        uint word = raw.quants[k];
        vec4 xa = piece_x(piece, k), xb = piece_x(piece, k + 4);
        if (DTYPE == DTYPE_Q4_0) {
            low = fma4(bytes_less(word & 0x0f0f0f0f, 8.0), xa, low);
            high = fma4(high_nibbles_less_8(word), xb, high);
            continue;
        }
        uint bits = raw.fifth >> (k * 4);
        vec4 a = bytes_less(word & 0x0f0f0f0f | (HAS_FIFTH ? fifth_bits(bits) : 0), HAS_MINIMUM ? 0.0 : 16.0);
        vec4 b = bytes_less(word >> 4 & 0x0f0f0f0f | (HAS_FIFTH ? fifth_bits(bits >> 16) : 0), HAS_MINIMUM ? 0.0 : 16.0);
        if (HAS_MINIMUM) {
            a = fma(vec4(d), a, vec4(m));
            b = fma(vec4(d), b, vec4(m));
        }
        low = fma4(b, xb, fma4(a, xa, low));
    }
    return HAS_MINIMUM ? low : fma(d, DTYPE == DTYPE_Q4_0 ? fma(high, 0.0625, low) : low, sum);
}

/* A sum and what a piece adds, unit by unit: any format. d: its block's scale, with the minimum. */
float add_units(raw_piece raw, uint d, uint piece, float sum)
{
    for (uint k = 0; k < PIECE / 8; k++) {
        vec4 a, b;
        if (QUANT_BYTES == 32)
            decode_loaded(uvec4(d, raw.quants[2 * k], raw.quants[2 * k + 1], 0), k, a, b);
        else
            decode_loaded(uvec4(d, raw.quants[k], raw.fifth, 0), k, a, b);
        vec4 xa = piece_x(piece, QUANT_BYTES == 32 ? 2 * k : k), xb = piece_x(piece, QUANT_BYTES == 32 ? 2 * k + 1 : k + 4);
        sum = fma4(b, xb, fma4(a, xa, sum));
    }
    return sum;
}

/* Formats whose pieces are multiplied faster than unit by unit. */
const bool HAS_NIBBLES = DTYPE == DTYPE_Q4_0 || DTYPE == DTYPE_Q4_1 || DTYPE == DTYPE_Q5_0 || DTYPE == DTYPE_Q5_1;

/* A sum and what a piece adds to it of the product with x. slot: of its lane; the same half of a word has the scale of all its pieces. */
float add_piece(raw_piece raw, uint slot, uint piece, float sum)
{
    if (IS_HALF) {
        vec4 a, b;
        decode_loaded(raw.quants, 0, a, b);
        return fma4(b, piece_x(piece, 1), fma4(a, piece_x(piece, 0), sum));
    }
    uint scale = SCALE_BYTES == 2 ? raw.scale >> (block_of(slot) & 1) * 16 & 0xffff : raw.scale;
    float d = half_value(scale & 0xffff);
    if (HAS_NIBBLES)
        return add_nibbles(raw, d, piece, sum);
    if (DTYPE != DTYPE_Q8_0)
        return add_units(raw, scale, piece, sum);
    precise float part = 0.0;
    [[unroll]] for (uint k = 0; k < 4; k++)
        part = fma4(bytes_less(raw.quants[k] ^ 0x80808080, 128.0), piece_x(piece, k), part);
    return fma(d, part, sum);
}
