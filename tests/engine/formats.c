/* Every weight format and layout, the engine against the reference: both matmuls and the embedding, whole and in
 * slices, at row lengths that end inside a block, a span, a unit or a group of blocks. Also the layout of a group. */
#include "engine/placement/groups.h"
#include "tests/engine/engine_fixture.h"

static const char *const layouts[] = {"rows", "packed", "columns"};

static void add_matmul(struct fixture *f, uint32_t dtype, uint32_t layout, uint32_t n_in, uint32_t n_out)
{
    uint32_t input = fixture_input(f, n_in);
    uint32_t step = fixture_step(f, OP_matmul, n_out, (union step_params){.matmul = {n_in, n_out, 0}});
    f->plan.steps[step].input[0] = (int32_t)input;
    f->plan.steps[step].weight[0] = fixture_tensor_in(f, dtype, layout, n_out, n_in);
}

/* 1152 and 288 are not multiples of 256. Only RDRR has such rows of Q4_K: padded, packed or transposed. */
static void add_lengths(struct fixture *f, uint32_t dtype)
{
    static const uint32_t block32[] = {32, 96, 288, 1152}, block256[] = {256, 512, 1280};
    bool super = dtype_info(dtype)->block_elems == 256;
    for (unsigned i = 0; i < (super ? 3 : 4); i++) {
        add_matmul(f, dtype, LAYOUT_ROWS, super ? block256[i] : block32[i], 35);
    }
    for (uint32_t layout = LAYOUT_ROWS; layout <= LAYOUT_COLUMNS && dtype == DTYPE_Q4_K; layout++) {
        add_matmul(f, dtype, layout, 1152, 34);
        add_matmul(f, dtype, layout, 288, 33);
        add_matmul(f, dtype, layout, 105, 257);
    }
    if (dtype <= DTYPE_BF16) {
        add_matmul(f, dtype, LAYOUT_COLUMNS, 105, 31);
    }
}

/* grouped: arrange the matrices as for a GPU, on any device. */
static double check_all(uint32_t dtype, int kind, bool grouped)
{
    struct fixture f;
    fixture_init(&f, 16);
    add_lengths(&f, dtype);
    fixture_open(&f, &(struct engine_limits){.matmul = kind, .matvec = grouped}, false);
    double one = fixture_check(&f, 0, 1, true), five = fixture_check(&f, 1, 5, false);
    fixture_close(&f);
    return one > five ? one : five;
}

static void each_format(void **state)
{
    (void)state;
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        double lane = check_all(dtype, MATMUL_LANE, false), reduce = check_all(dtype, MATMUL_REDUCE, false);
        print_message("%s: worst ratio %.3f, %.3f\n", dtype_info(dtype)->name, lane, reduce);
        struct tensor matrix = {.dtype = dtype, .layout = LAYOUT_ROWS, .n_dims = 2, .shape = {1, 32}};
        if (!groups_fit(&matrix)) {
            continue;
        }
        double lane_grouped = check_all(dtype, MATMUL_LANE, true),
               reduce_grouped = check_all(dtype, MATMUL_REDUCE, true);
        print_message("%s, grouped: worst ratio %.3f, %.3f\n", dtype_info(dtype)->name, lane_grouped, reduce_grouped);
    }
}

/* Nine blocks of Q4_0 against a group written by hand: the scales of eight blocks, their quants, and a second group for
 * the ninth. The twin: changing any byte of the row changes the groups. */
static void blocks_in_groups(void **state)
{
    (void)state;
    uint8_t blocks[9 * 18], row[2 * 16 + 9 * 16], other[sizeof(row)];
    for (size_t i = 0; i < sizeof(blocks); i++) {
        blocks[i] = (uint8_t)(i + 1);
    }
    struct tensor matrix = {
        .dtype = DTYPE_Q4_0, .n_dims = 2, .shape = {1, 288}, .bytes = blocks, .n_bytes = sizeof(blocks)};
    assert_true(groups_fit(&matrix));
    assert_int_equal(groups_row_bytes(&matrix), sizeof(row));
    groups_copy(&matrix, 0, 1, row);
    for (uint32_t block = 0; block < 9; block++) {
        uint32_t group = block / 8 * 144, at = block % 8;
        assert_memory_equal(row + group + at * 2, blocks + block * 18, 2);
        assert_memory_equal(row + group + 16 + at * 16, blocks + block * 18 + 2, 16);
    }
    for (size_t i = 0; i < sizeof(blocks); i++) {
        blocks[i] ^= 0x80;
        groups_copy(&matrix, 0, 1, other);
        assert_true(memcmp(row, other, sizeof(row)) != 0);
        blocks[i] ^= 0x80;
    }
}

/* Slices of a packed matrix start between blocks. */
static void in_slices(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        struct fixture f;
        fixture_init(&f, 16);
        add_matmul(&f, DTYPE_Q4_K, LAYOUT_PACKED, 1152, 131);
        add_matmul(&f, DTYPE_Q4_K, LAYOUT_ROWS, 1152, 131);
        add_matmul(&f, DTYPE_MXFP4, LAYOUT_ROWS, 288, 531);
        add_matmul(&f, DTYPE_Q5_0, LAYOUT_ROWS, 1184, 131);
        fixture_open(&f, &(struct engine_limits){.matmul = kind, .max_binding = 40000, .matvec = kind == MATMUL_REDUCE},
                     false);
        fixture_check(&f, 0, 3, false);
        fixture_check(&f, 3, 1, true);
        assert_true(engine_shape(&f.engine)->schedule.n_dispatches > f.plan.n_steps);
        fixture_close(&f);
    }
}

static void check_embed(struct fixture *f, uint32_t step, const int32_t *tokens, uint32_t n)
{
    struct error err;
    uint32_t width = f->plan.steps[step].width;
    float *rows = xcalloc((uint64_t)n * width, sizeof(float));
    double *y = xcalloc(width, sizeof(double)), *bound = xcalloc(width, sizeof(double));
    must(f->engine.ops->read(&f->engine, step, rows, &err), &err);
    for (uint32_t r = 0; r < n; r++) {
        struct op_row row = {.arith = &arith_float32, .position = r, .token = tokens[r]};
        op_run(&(struct op_batch){.step = &f->plan.steps[step], .n_rows = 1, .rows = &row, .y = y, .bound = bound});
        for (uint32_t k = 0; k < width; k++) {
            if (!(fabs(rows[r * width + k] - y[k]) <= bound[k])) {
                fail_msg("%s, %s: token %d, dim %u: %g, expected %g",
                         dtype_info(f->plan.steps[step].weight[0]->dtype)->name,
                         layouts[f->plan.steps[step].weight[0]->layout], tokens[r], k, rows[r * width + k], y[k]);
            }
        }
    }
    free(rows);
    free(y);
    free(bound);
}

static void check_embeddings(bool grouped)
{
    static const int32_t tokens[] = {0, 299, 7, 131, 256, 1};
    struct fixture f;
    struct error err;
    fixture_init(&f, 16);
    for (uint32_t dtype = DTYPE_Q4_0; dtype < DTYPE_COUNT; dtype++) {
        for (uint32_t layout = LAYOUT_ROWS; layout <= (dtype == DTYPE_Q4_K ? LAYOUT_COLUMNS : LAYOUT_ROWS); layout++) {
            uint32_t width = dtype_info(dtype)->block_elems == 32 || layout ? 288 : 256;
            uint32_t step = fixture_step(&f, OP_embed, width, (union step_params){.embed = {width, 300, 1}});
            f.plan.steps[step].weight[0] = fixture_tensor_in(&f, dtype, layout, 300, width);
        }
    }
    fixture_open(&f, &(struct engine_limits){.matvec = grouped}, false);
    must(f.engine.ops->begin(&f.engine, &(struct batch){0, 6, tokens, false}, &err), &err);
    must(f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err), &err);
    for (uint32_t i = 0; i < f.plan.n_steps; i++) {
        check_embed(&f, i, tokens, 6);
    }
    fixture_close(&f);
}

static void embedding(void **state)
{
    (void)state;
    check_embeddings(false);
    check_embeddings(true);
}

/* The twin: the same bytes read in another layout give another matrix (postmortem 2025-12-18
 * gemma3-q4k-garbage-output). */
static void another_layout_fails(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 16);
    add_matmul(&f, DTYPE_Q4_K, LAYOUT_ROWS, 1152, 34);
    fixture_open(&f, &(struct engine_limits){0}, false);
    fixture_begin(&f, 0, 2, false);
    float *rows = fixture_run(&f, 1, 2);
    struct tensor packed = *f.plan.steps[1].weight[0];
    packed.layout = LAYOUT_PACKED;
    struct step judge = f.plan.steps[1];
    assert_true(fixture_ratio(&f, &judge, rows, 0, 2, false) <= 1);
    judge.weight[0] = &packed;
    assert_true(fixture_ratio(&f, &judge, rows, 0, 2, false) > 1);
    free(rows);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format), cmocka_unit_test(blocks_in_groups),     cmocka_unit_test(in_slices),
        cmocka_unit_test(embedding),   cmocka_unit_test(another_layout_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
