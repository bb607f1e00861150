/* The choice of the next token: the generator's published numbers, exp against libm's, the ids that a seed chooses, and
 * the frequencies of many draws against the formula's. Each check is a function, so that its twin can be shown to fail.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/error.h"
#include "workbench/trace/sample.h"

#define N_VOCAB 8
#define N_DRAWS 20000
#define PAD 3

/* Two logits are equal, and padding has the largest. */
static const float row[N_VOCAB] = {0.5f, 2.0f, -1.0f, 9.0f, 2.0f, 0.0f, 1.25f, -30.0f};

/* Seed 1234567; Vigna's splitmix64.c gives these. */
static void the_generator_is_the_published_one(void **state)
{
    (void)state;
    static const uint64_t published[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                         4593380528125082431u, 16408922859458223821u};
    uint64_t seed = 1234567, other = 1234568;
    for (size_t i = 0; i < 5; i++) {
        assert_true(sample_random(&seed) == published[i]);
        assert_true(sample_random(&other) != published[i]);
    }
}

static bool is_exp(double x, double value)
{
    return fabs(value - exp(x)) <= 2 * 0x1p-52 * exp(x) + 0x1p-1074;
}

static void exp_is_exp(void **state)
{
    (void)state;
    for (double x = 0; x > -760; x -= 0.01037) {
        assert_true(is_exp(x, sample_exp(x)));
    }
    assert_true(sample_exp(0) == 1);
    assert_true(sample_exp(-INFINITY) == 0);
    assert_false(is_exp(-1, sample_exp(-1) * (1 + 0x1p-50)));
}

/* The formula of sample.h, computed in another way: each id's probability, by ranks. */
static void expected_shares(const struct sampling *sampling, double shares[N_VOCAB])
{
    double total = 0, head = 0, kept = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int rank = 0; rank < N_VOCAB - 1; rank++) {
            for (int i = 0; i < N_VOCAB; i++) {
                int above = 0;
                for (int j = 0; j < N_VOCAB; j++) {
                    above += j != PAD && (row[j] > row[i] || (row[j] == row[i] && j < i));
                }
                if (i == PAD || above != rank) {
                    continue;
                }
                bool in_k = sampling->top_k == 0 || rank < (int)sampling->top_k;
                double weight = in_k ? exp((double)row[i] / (double)sampling->temperature) : 0;
                if (pass == 0) {
                    total += weight;
                    continue;
                }
                bool in_p = sampling->top_p == 0 || head < (double)sampling->top_p * total;
                head += weight;
                shares[i] = in_p ? weight : 0;
                kept += shares[i];
            }
        }
    }
    for (int i = 0; i < N_VOCAB; i++) {
        shares[i] = i == PAD ? 0 : shares[i] / kept;
    }
}

/* Whether draws of `asked` have the frequencies of `said`, by Pearson's chi-square; an id of probability 0 must not be
 * drawn. With up to 6 degrees of freedom, 30 has a probability below 1e-4; the seed is fixed. */
static bool shares_are_drawn(const struct sampling *asked, const struct sampling *said)
{
    double shares[N_VOCAB], square = 0;
    uint32_t drawn[N_VOCAB] = {0};
    struct sampler sampler;
    sampler_init(&sampler, asked, N_VOCAB, PAD);
    for (int i = 0; i < N_DRAWS; i++) {
        drawn[sampler_choose(&sampler, row, NULL)]++;
    }
    sampler_free(&sampler);
    expected_shares(said, shares);
    for (int i = 0; i < N_VOCAB; i++) {
        double expected = shares[i] * N_DRAWS, off = drawn[i] - expected;
        if (expected < 1e-6 && drawn[i] > 0) {
            return false;
        }
        square += expected > 1e-6 ? off * off / expected : 0;
    }
    return square < 30;
}

static void draws_have_the_formulas_shares(void **state)
{
    (void)state;
    static const struct sampling rows[] = {{1, 0, 0, 7},    {0.5f, 0, 0, 7},    {3, 0, 0, 7},
                                           {1, 2, 0, 7},    {1, 3, 0, 7},       {1, 0, 0.6f, 7},
                                           {1, 0, 0.9f, 7}, {1.5f, 4, 0.7f, 7}, {1, 1, 0, 7}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(shares_are_drawn(&rows[i], &rows[i]));
    }
    /* The twins: a little warmer, one more id, a longer head. */
    assert_false(shares_are_drawn(&rows[0], &(struct sampling){1.1f, 0, 0, 7}));
    assert_false(shares_are_drawn(&rows[4], &rows[3]));
    assert_false(shares_are_drawn(&rows[6], &rows[5]));
}

static void choose_16(const struct sampling *sampling, int32_t chosen[16])
{
    struct sampler sampler;
    sampler_init(&sampler, sampling, N_VOCAB, PAD);
    for (int i = 0; i < 16; i++) {
        chosen[i] = sampler_choose(&sampler, row, NULL);
    }
    sampler_free(&sampler);
}

/* These ids were computed by a few lines of Python from the formula in sample.h, not by this program. */
static void a_seed_chooses_the_same(void **state)
{
    (void)state;
    static const int32_t expected[16] = {6, 1, 1, 1, 1, 0, 1, 6, 1, 4, 1, 4, 4, 4, 4, 1};
    int32_t chosen[16], other[16];
    choose_16(&(struct sampling){1, 0, 0, 42}, chosen);
    choose_16(&(struct sampling){1, 0, 0, 43}, other);
    assert_memory_equal(chosen, expected, sizeof(chosen));
    assert_memory_not_equal(other, expected, sizeof(other));
}

static void greedy_masks_and_survives(void **state)
{
    (void)state;
    const float odd[4] = {NAN, -INFINITY, INFINITY, NAN}, nothing[2] = {NAN, NAN};
    struct sampler sampler;
    sampler_init(&sampler, &(struct sampling){0}, N_VOCAB, PAD);
    assert_int_equal(sampler_choose(&sampler, row, NULL), 1);
    assert_int_equal(sample_greedy(row, N_VOCAB, -1), PAD);
    sampler_free(&sampler);
    assert_int_equal(sample_greedy(odd, 4, -1), 2);
    assert_int_equal(sample_greedy(odd, 4, 2), 1);
    sampler_init(&sampler, &(struct sampling){1, 0, 0.9f, 1}, 2, -1);
    assert_int_equal(sampler_choose(&sampler, nothing, NULL), 0);
    sampler_free(&sampler);
    sampler_init(&sampler, &(struct sampling){1, 0, 0.9f, 1}, 4, -1);
    assert_int_equal(sampler_choose(&sampler, odd, NULL), 2);
    sampler_free(&sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_generator_is_the_published_one), cmocka_unit_test(exp_is_exp),
        cmocka_unit_test(draws_have_the_formulas_shares),     cmocka_unit_test(a_seed_chooses_the_same),
        cmocka_unit_test(greedy_masks_and_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
