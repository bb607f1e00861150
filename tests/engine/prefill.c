/* Many rows at once, by the tiled kernels: matrix products in every format, with and without cooperative matrices
 * (where the device has them), and attention. Numbers of rows, inputs and outputs leave the last tile empty, full or
 * partly filled. */
#include "engine/device/cooperative.h"
#include "tests/engine/engine_fixture.h"

enum { MANY = 70 }; /* rows; more than a tile of 64 */

static const char *const kinds[] = {"chosen", "never", "f32", "NV's matrices of halves", "KHR's", "always"};

/* COOPERATIVE_ bits of the device. With validation: only those that the layer knows as well. Both are cached. */
static unsigned cooperative(bool validation)
{
    static unsigned bits[2] = {~0u, ~0u};
    if (bits[validation] == ~0u) {
        struct device device = {0};
        struct error err;
        must(device_open(&device, NULL, validation, &err), &err);
        bits[validation] = device.cooperative;
        print_message("matrices of halves%s: %s%s\n", validation ? ", with validation" : "",
                      device.cooperative & COOPERATIVE_KHR ? "KHR " : "",
                      device.cooperative & COOPERATIVE_NV ? "NV" : "");
        device_close(&device);
    }
    return bits[validation];
}

static unsigned needed(int kind)
{
    return kind == TILES_KHR ? COOPERATIVE_KHR : kind == TILES_NV ? COOPERATIVE_NV : 0;
}

/* Whether the device can run this kind. Some kinds need cooperative matrices. */
static bool has_kind(int kind)
{
    return (cooperative(false) & needed(kind)) == needed(kind);
}

static int next_kind(int kind)
{
    do {
        kind++;
    } while (kind < TILES_ALWAYS && !has_kind(kind));
    return kind;
}

static uint32_t add_matmul(struct fixture *f, uint32_t dtype, uint32_t n_in, uint32_t n_out, bool bias)
{
    uint32_t input = fixture_input(f, n_in);
    uint32_t step = fixture_step(f, OP_matmul, n_out, (union step_params){.matmul = {n_in, n_out, bias}});
    f->plan.steps[step].input[0] = (int32_t)input;
    f->plan.steps[step].weight[0] = fixture_tensor(f, dtype, n_out, n_in);
    f->plan.steps[step].weight[1] = bias ? fixture_tensor(f, DTYPE_F32, 0, n_out) : NULL;
    return step;
}

static void add_sizes(struct fixture *f, uint32_t dtype)
{
    uint32_t block = dtype_info(dtype)->block_elems;
    if (block == 256) {
        add_matmul(f, dtype, 256, 65, false);
        add_matmul(f, dtype, 768, 20, true);
    } else {
        add_matmul(f, dtype, 96, 131, true);
        add_matmul(f, dtype, 1152, 64, false);
        add_matmul(f, dtype, 32, 1, false);
    }
    if (block == 1) {
        add_matmul(f, dtype, 40, 67, false);
        add_matmul(f, dtype, 72, 67, true); /* a row of f32 is a multiple of 16 bytes, a row of halves is not */
    }
}

static void open_tiles(struct fixture *f, int kind, struct engine_limits limits)
{
    limits.tiles = kind;
    f->max_rows = MANY;
    f->no_validation = (cooperative(true) & needed(kind)) != needed(kind);
    fixture_open(f, &limits, false);
    assert_int_equal(engine_vulkan(&f->engine)->cooperative & needed(kind),
                     needed(kind)); /* no other kernel stands in for it */
}

/* All formats in one plan, because opening an engine takes longer than testing a format. */
static void each_format(void **state)
{
    (void)state;
    for (int kind = TILES_F32; kind < TILES_ALWAYS; kind = next_kind(kind)) {
        struct fixture f;
        fixture_init(&f, 2 * MANY);
        for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
            add_sizes(&f, dtype);
        }
        open_tiles(&f, kind, (struct engine_limits){.matvec = true}); /* quantised weights in groups, as on a GPU */
        double most = fixture_check(&f, 0, MANY, false), few = fixture_check(&f, MANY, 3, false);
        print_message("%s: worst ratio %.3f, %.3f\n", kinds[kind], most, few);
        fixture_close(&f);
    }
}

/* Long sums, large and small values in one batch, rows of zeros: where halves most easily go wrong. */
static void awkward_values(void **state)
{
    (void)state;
    static const float sizes[] = {1e-30f, 1e-6f, 1, 3e4f, 1e12f, 0};
    for (int kind = TILES_F32; kind < TILES_ALWAYS; kind = next_kind(kind)) {
        struct fixture f;
        struct error err;
        fixture_init(&f, MANY);
        uint32_t steps[] = {add_matmul(&f, DTYPE_F16, 6912, 64, false), add_matmul(&f, DTYPE_Q8_0, 6912, 64, false)};
        open_tiles(&f, kind, (struct engine_limits){0});
        double worst = 0;
        for (unsigned i = 0; i < 12; i++) {
            fixture_begin(&f, 0, MANY, false);
            uint32_t step = steps[i % 2], input = (uint32_t)f.plan.steps[step].input[0];
            for (uint32_t k = 0; k < MANY * 6912; k++) { /* all positive, so that the sums grow */
                f.rows[input][k] = fabsf(f.rows[input][k]) * sizes[i / 2] * (k / 6912 % 7 == 3 ? 1e-3f : 1);
            }
            must(f.engine.ops->write(&f.engine, input, f.rows[input], &err), &err);
            float *rows = fixture_run(&f, step, MANY);
            double ratio = fixture_ratio(&f, &f.plan.steps[step], rows, 0, MANY, false);
            if (!(ratio <= 1)) {
                fail_msg("%s, size %g: ratio %g", kinds[kind], sizes[i / 2], ratio);
            }
            worst = ratio > worst ? ratio : worst;
            free(rows);
        }
        print_message("%s: worst ratio %.3f\n", kinds[kind], worst);
        fixture_close(&f);
    }
}

static void in_slices(void **state)
{
    (void)state;
    for (int kind = TILES_F32; kind < TILES_ALWAYS; kind = next_kind(kind)) {
        struct fixture f;
        fixture_init(&f, MANY);
        add_matmul(&f, DTYPE_F16, 1152, 531, true);
        add_matmul(&f, DTYPE_MXFP4, 1152, 531, false);
        add_matmul(&f, DTYPE_Q8_0, 1184, 331, false);
        open_tiles(&f, kind,
                   (struct engine_limits){.max_binding = 200000 + 4 * 1184 * MANY, .max_groups = 3, .matvec = true});
        fixture_check(&f, 0, MANY, false);
        assert_true(engine_shape(&f.engine)->schedule.n_dispatches > f.plan.n_steps);
        fixture_close(&f);
    }
}

/* The twin: a weight row that is multiplied by 1.001 is outside the bound. */
static void a_changed_row_is_found(void **state)
{
    (void)state;
    for (int kind = TILES_F32; kind < TILES_ALWAYS; kind = next_kind(kind)) {
        struct fixture f;
        fixture_init(&f, MANY);
        uint32_t step = add_matmul(&f, DTYPE_F32, 576, 64, false);
        open_tiles(&f, kind, (struct engine_limits){0});
        fixture_begin(&f, 0, MANY, false);
        float *rows = fixture_run(&f, step, MANY);
        assert_true(fixture_ratio(&f, &f.plan.steps[step], rows, 0, MANY, false) <= 1);
        for (uint32_t r = 0; r < MANY; r++) {
            rows[r * 64 + 17] *= 1.001f;
        }
        assert_true(fixture_ratio(&f, &f.plan.steps[step], rows, 0, MANY, false) > 1);
        free(rows);
        fixture_close(&f);
    }
}

/* Number of attentions in the schedule whose workgroups compute this many rows. */
static uint32_t count_tiles(const struct fixture *f, uint32_t rows)
{
    const struct schedule *schedule = &engine_shape(&f->engine)->schedule;
    uint32_t n = 0;
    for (uint32_t i = 0; i < schedule->n_dispatches; i++) {
        const struct program_key *key = &schedule->dispatches[i].program->key;
        n += strcmp(key->shader, "attention_tile") == 0 && key->constants.rows == rows;
    }
    return n;
}

/* Workgroups of 8 rows, with few workgroups per core, and of 16 rows, with many. */
static void attention(void **state)
{
    (void)state;
    for (uint32_t cores = 1000; cores; cores /= 1000) {
        struct fixture f;
        fixture_init(&f, 320);
        fixture_attention(&f, (struct attention_params){9, 3, 64, 0.125f, 0, 0, 0});
        fixture_attention(&f, (struct attention_params){2, 1, 256, 0.0625f, 0, 0, 0});
        fixture_attention(&f, (struct attention_params){2, 2, 128, 0.08f, 0, 40, 1});
        fixture_attention(&f, (struct attention_params){4, 2, 32, 0.17f, 2, 5, 0});
        fixture_attention(&f, (struct attention_params){1, 1, 32, 0.17f, 0, 1, 0});
        fixture_attention(
            &f, (struct attention_params){2, 1, 24, 0.17f, 0, 0, 0}); /* the tiled kernel does not take heads of 24 */
        open_tiles(&f, TILES_ALWAYS, (struct engine_limits){.max_groups = 7, .cores = cores});
        static const uint32_t counts[] = {33, 1, 16, 70, 5, 70, 70, 55};
        for (uint32_t i = 0, position = 0; i < 8; position += counts[i++]) {
            fixture_check(&f, position, counts[i], false);
        }
        uint32_t few = count_tiles(&f, 8), many = count_tiles(&f, 16);
        assert_int_equal(few + many, 5);
        assert_true(cores == 1 ? many >= 4 : many == 0); /* 16 rows of 256 values may not fit into shared memory */
        fixture_close(&f);
    }
}

/* A NaN in a later position does not reach earlier ones. The twin: positions that see it are NaN. */
static void what_is_not_seen_does_not_matter(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    fixture_init(&f, 64);
    uint32_t step = fixture_attention(&f, (struct attention_params){2, 1, 32, 0.1f, 0, 0, 0});
    open_tiles(&f, TILES_ALWAYS, (struct engine_limits){0});
    fixture_begin(&f, 0, 40, false);
    for (unsigned i = 1; i <= 2; i++) {
        uint32_t input = (uint32_t)f.plan.steps[step].input[i];
        for (uint32_t k = 0; k < 32; k++) {
            f.rows[input][20 * 32 + k] = NAN;
        }
        must(f.engine.ops->write(&f.engine, input, f.rows[input], &err), &err);
    }
    float *rows = fixture_run(&f, step, 40);
    assert_true(fixture_ratio(&f, &f.plan.steps[step], rows, 0, 20, false) <= 1);
    for (uint32_t k = 20 * 64; k < 40 * 64; k++) {
        assert_true(isnan(rows[k]));
    }
    free(rows);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format), cmocka_unit_test(awkward_values),
        cmocka_unit_test(in_slices),   cmocka_unit_test(a_changed_row_is_found),
        cmocka_unit_test(attention),   cmocka_unit_test(what_is_not_seen_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
