/* The engine's attention against the reference: head shapes, windows, softcaps, more keys than a chunk, and the faults.
 */
#include "tests/engine/engine_fixture.h"

static uint32_t add_attention(struct fixture *f, struct attention_params op, uint32_t variant)
{
    uint32_t step = fixture_attention(f, op);
    f->plan.steps[step].variant = variant;
    return step;
}

/* A limit on workgroups along x folds them into y. The workgroups that are too many must not touch other results. */
static void check_shapes(const struct engine_limits *limits)
{
    struct fixture f;
    fixture_init(&f, 48);
    add_attention(&f, (struct attention_params){9, 3, 64, 0.125f, 0, 0, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){4, 1, 24, 0.2f, 0, 0, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){2, 2, 105, 0.1f, 0, 0, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){1, 1, 1, 1, 0, 0, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){2, 1, 320, 0.0625f, 0, 0, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){4, 2, 32, 0.17f, 50, 0, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){4, 2, 32, 0.17f, 0, 1, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){4, 2, 32, 0.17f, 2, 5, 0}, VARIANT_NONE);
    fixture_open(&f, limits, false);
    static const uint32_t counts[] = {1, 4, 1, 13, 1, 2};
    uint32_t position = 0;
    for (unsigned i = 0; i < 6; i++) {
        fixture_check(&f, position, counts[i], counts[i] == 1);
        position += counts[i];
    }
    /* Going back to an earlier position forgets later keys. */
    fixture_check(&f, 3, 1, true);
    fixture_check(&f, 4, 3, false);
    fixture_close(&f);
}

static void shapes(void **state)
{
    (void)state;
    check_shapes(&(struct engine_limits){.max_groups = 5});
}

static void shapes_in_parts(void **state)
{
    (void)state;
    check_shapes(&(struct engine_limits){.max_groups = 5, .matvec = true});
}

/* Fix "attention decode array": keys past 256 were ignored. A chunk has 256 keys; tried just below, at and above
 * multiples. */
static void more_keys_than_a_chunk(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 544);
    uint32_t plain = add_attention(&f, (struct attention_params){2, 1, 16, 0.02f, 0, 0, 0}, VARIANT_NONE);
    add_attention(&f, (struct attention_params){2, 1, 16, 0.02f, 0, 300, 0}, VARIANT_NONE);
    fixture_open(&f, &(struct engine_limits){0}, false);
    for (uint32_t position = 0; position < 544; position += 16) {
        fixture_check(&f, position, 16, false);
    }
    fixture_check(&f, 540, 1, true);
    /* The twin: an attention that stops at 256 keys is not within the bound. */
    fixture_begin(&f, 541, 1, true);
    float *rows = fixture_run(&f, plain, 1);
    struct step windowed = f.plan.steps[plain];
    windowed.params.attention.window = 256;
    assert_true(fixture_ratio(&f, &f.plan.steps[plain], rows, 541, 1, true) <= 1);
    assert_true(fixture_ratio(&f, &windowed, rows, 541, 1, true) > 1);
    free(rows);
    fixture_close(&f);
}

static void check_variant(struct fixture *f, uint32_t step, uint32_t position, uint32_t n_rows, bool decode,
                          bool strikes)
{
    fixture_begin(f, position, n_rows, decode);
    float *rows = fixture_run(f, step, n_rows);
    struct step right = f->plan.steps[step];
    right.variant = VARIANT_NONE;
    assert_true(fixture_ratio(f, &f->plan.steps[step], rows, position, n_rows, decode) <= 1);
    double ratio = fixture_ratio(f, &right, rows, position, n_rows, decode);
    assert_true(strikes ? ratio > 1 : ratio <= 1);
    free(rows);
}

static void variants(void **state)
{
    (void)state;
    const struct attention_params op = {4, 2, 24, 0.05f, 0, 0, 0}, local = {4, 2, 24, 0.05f, 10, 3, 0};
    struct fixture f;
    fixture_init(&f, 320);
    uint32_t swapped = add_attention(&f, op, VARIANT_SOFTMAX_SIZES_SWAPPED);
    uint32_t swapped_local = add_attention(&f, local, VARIANT_SOFTMAX_SIZES_SWAPPED);
    uint32_t stale = add_attention(&f, op, VARIANT_KV_STALE);
    uint32_t stale_local = add_attention(&f, local, VARIANT_KV_STALE);
    uint32_t ahead = add_attention(&f, op, VARIANT_NEXT_KEY), ahead_local = add_attention(&f, local, VARIANT_NEXT_KEY);
    fixture_open(&f, &(struct engine_limits){0}, false);
    check_variant(&f, swapped, 0, 6, false, true);
    check_variant(&f, swapped_local, 0, 6, false, true);
    check_variant(&f, stale, 0, 6, false, false); /* prefill rows are right */
    check_variant(&f, stale, 6, 1, true, true);
    check_variant(&f, stale_local, 7, 1, true, true);
    check_variant(&f, swapped, 8, 1, true, true);
    for (uint32_t position = 9; position < 300; position += 15) {
        fixture_begin(&f, position, 15, false);
    }
    check_variant(&f, swapped, 300, 1, true, true);
    check_variant(&f, stale, 301, 1, true, true);
    check_variant(&f, ahead, 302, 6, false, true);
    check_variant(&f, ahead_local, 302, 6, false, true);
    check_variant(&f, ahead, 308, 1, false, false); /* no position follows a prefill's last one, or a decoded token */
    check_variant(&f, ahead, 309, 1, true, false);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(shapes_in_parts),
        cmocka_unit_test(more_keys_than_a_chunk),
        cmocka_unit_test(variants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
