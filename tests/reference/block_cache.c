/* Attention over a KV cache of blocks, as llama.cpp's flash attention on the CPU computes it (ggml-cpu, ops.cpp and the
 * AVX2 code of quantize_row_q8_0): written without regard to reference/. Queries are cut into blocks as well, q and k
 * in the order of adjacent pairs; products of blocks are whole numbers; the softmax runs online; sums are float32. */
#include "tests/reference/reference_case.h"

enum { DIM = 64, BLOCK = 32, HEADS = 4, KV_HEADS = 2, ROWS = 9 };

struct block {
    float d;
    int q[BLOCK];
};

static void cut_q8_0(const float *x, struct block *block)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    block->d = round_to_dtype(most / 127.0f, DTYPE_F16);
    for (int i = 0; i < BLOCK; i++) {
        block->q[i] = (int)rintf(x[i] * (127.0f / most));
    }
}

static void cut_q4_0(const float *x, struct block *block)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++) {
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    }
    float d = most / -8;
    block->d = round_to_dtype(d, DTYPE_F16);
    for (int i = 0; i < BLOCK; i++) {
        int q = (int)(x[i] * (1.0f / d) + 8.5f);
        block->q[i] = (q > 15 ? 15 : q) - 8;
    }
}

typedef void cut(const float *x, struct block *block);

/* A head's dims 0, 32, 1, 33 … */
static void in_pairs(const float *head, float *to)
{
    for (int i = 0; i < DIM; i++) {
        to[i] = head[i % 2 * (DIM / 2) + i / 2];
    }
}

static float score(const float *q, const float *k, cut *cut_key)
{
    float q_pairs[DIM], k_pairs[DIM], sum = 0;
    in_pairs(q, q_pairs);
    in_pairs(k, k_pairs);
    for (int b = 0; b < DIM; b += BLOCK) {
        struct block x, y;
        int whole = 0;
        cut_q8_0(q_pairs + b, &x);
        cut_key(k_pairs + b, &y);
        for (int i = 0; i < BLOCK; i++) {
            whole += x.q[i] * y.q[i];
        }
        sum += x.d * y.d * (float)whole;
    }
    return sum;
}

static void add_value(const float *v, cut *cut_value, float share, float *sum)
{
    for (int i = 0; i < DIM && !cut_value; i++) {
        sum[i] += share * round_to_dtype(v[i], DTYPE_F16);
    }
    if (!cut_value) {
        return;
    }
    for (int b = 0; b < DIM; b += BLOCK) {
        struct block block;
        cut_value(v + b, &block);
        for (int i = 0; i < BLOCK; i++) {
            sum[b + i] += share * (block.d * (float)block.q[i]);
        }
    }
}

/* cut_values NULL: values are kept in f16. */
static void attend(const struct op_row *row, uint32_t head, float scale, cut *cut_cache, cut *cut_values, float *y)
{
    float total = 0, most = -INFINITY;
    memset(y, 0, DIM * sizeof(*y));
    for (uint32_t j = 0; j <= row->position; j++) {
        uint64_t at = ((uint64_t)j * KV_HEADS + head / (HEADS / KV_HEADS)) * DIM;
        float s = scale * score(row->in[0] + (uint64_t)head * DIM, row->in[1] + at, cut_cache), shrink = 1, share = 1;
        if (s > most) {
            shrink = expf(most - s);
            most = s;
        } else {
            share = expf(s - most);
        }
        for (int i = 0; i < DIM; i++) {
            y[i] *= shrink;
        }
        add_value(row->in[2] + at, cut_values, share, y);
        total = total * shrink + share;
    }
    for (int i = 0; i < DIM; i++) {
        y[i] *= 1 / total;
    }
}

/* The worst ratio of what the engine computes in an arithmetic. */
static double judged_with_values(const struct roundings *roundings, uint64_t seed, cut *cut_cache, cut *cut_values)
{
    struct op_case c;
    struct arith arith = arith_float32;
    float y[ROWS * HEADS * DIM];
    arith.roundings = *roundings;
    case_attention(&c, seed, ROWS, 3,
                   (struct attention_params){.heads = HEADS, .kv_heads = KV_HEADS, .dim = DIM, .scale = 0.125f});
    for (uint32_t r = 0; r < ROWS; r++) {
        c.rows[r].arith = &arith;
        for (uint32_t h = 0; h < HEADS; h++) {
            attend(&c.rows[r], h, 0.125f, cut_cache, cut_values, y + ((uint64_t)r * HEADS + h) * DIM);
        }
    }
    struct result result = case_run(&c);
    double worst = worst_ratio(y, &result);
    result_free(&result);
    case_free(&c);
    return worst;
}

static double judged_with(const struct roundings *roundings, uint64_t seed, cut *cut_cache)
{
    return judged_with_values(roundings, seed, cut_cache, cut_cache);
}

/* Keys in blocks and values in f16. The twins: values in blocks, too, and values as they are. */
static void values_in_another_type(void **state)
{
    (void)state;
    const struct roundings right = {.keys_values = ROUNDING_Q8_0,
                                    .values = ROUNDING_F16,
                                    .queries = ROUNDING_Q8_0,
                                    .to_even = true,
                                    .in_pairs = true};
    struct roundings blocks = right, other = right;
    blocks.values = ROUNDING_NONE;
    other.values = ROUNDING_BF16;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        assert_true(judged_with_values(&right, seed, cut_q8_0, NULL) <= 1);
    }
    assert_true(judged_with_values(&blocks, 1, cut_q8_0, NULL) > 100);
    assert_true(judged_with_values(&other, 1, cut_q8_0, NULL) > 100);
}

static void block_caches_are_simulated(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        cut *cut;
    } caches[] = {{ROUNDING_Q8_0, cut_q8_0}, {ROUNDING_Q4_0, cut_q4_0}};
    for (size_t i = 0; i < COUNT(caches); i++) {
        struct roundings right = {
            .keys_values = caches[i].type, .queries = ROUNDING_Q8_0, .to_even = true, .in_pairs = true};
        for (uint64_t seed = 1; seed <= 20; seed++) {
            assert_true(judged_with(&right, seed, caches[i].cut) <= 1);
        }
    }
}

/* Each part of the arithmetic is needed. The twin of to_even needs a value in the middle between two integers: seeds
 * that have one are among the first. */
static void another_arithmetic_is_told_apart(void **state)
{
    (void)state;
    const struct roundings right = {
        .keys_values = ROUNDING_Q8_0, .queries = ROUNDING_Q8_0, .to_even = true, .in_pairs = true};
    struct roundings halves = right, exact_queries = right, four_bits = right, scalar = right;
    halves.in_pairs = false;
    exact_queries.queries = ROUNDING_NONE;
    four_bits.keys_values = ROUNDING_Q4_0;
    scalar.to_even = false;
    assert_true(judged_with(&halves, 1, cut_q8_0) > 100);
    assert_true(judged_with(&exact_queries, 1, cut_q8_0) > 100);
    assert_true(judged_with(&four_bits, 1, cut_q8_0) > 100);
    double worst = 0;
    for (uint64_t seed = 1; seed <= 200 && worst <= 1; seed++) {
        worst = judged_with(&scalar, seed, cut_q8_0);
    }
    assert_true(worst > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_caches_are_simulated),
        cmocka_unit_test(values_in_another_type),
        cmocka_unit_test(another_arithmetic_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
