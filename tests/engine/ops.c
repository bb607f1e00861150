/* Every op, the engine against the reference, at odd sizes, for one row and for several, with synchronisation
 * validation. Only the first dtypes are tried here; formats.c tries all. */
#include "tests/engine/engine_fixture.h"

static void check_rows(struct fixture *f, const char *what)
{
    static const uint32_t counts[] = {1, 2, 5, 8, 13};
    double worst = 0;
    uint32_t position = 0;
    for (unsigned i = 0; i < 5; i++) {
        double ratio = fixture_check(f, position, counts[i], counts[i] == 1);
        worst = ratio > worst ? ratio : worst;
        position += counts[i];
    }
    print_message("%s: worst ratio %.3f\n", what, worst);
}

static void add_matmul(struct fixture *f, uint32_t dtype, uint32_t n_in, uint32_t n_out, int bias_dtype,
                       uint32_t variant)
{
    uint32_t input = fixture_input(f, n_in);
    uint32_t step = fixture_step(f, OP_matmul, n_out, (union step_params){.matmul = {n_in, n_out, bias_dtype >= 0}});
    f->plan.steps[step].input[0] = (int32_t)input;
    f->plan.steps[step].weight[0] = fixture_tensor(f, dtype, n_out, n_in);
    f->plan.steps[step].weight[1] = bias_dtype >= 0 ? fixture_tensor(f, (uint32_t)bias_dtype, 0, n_out) : NULL;
    f->plan.steps[step].variant = variant;
}

static void add_matmuls(struct fixture *f)
{
    static const uint32_t plain[][2] = {{1, 1}, {7, 3}, {24, 33}, {105, 17}, {64, 65}, {1152, 40}, {36, 130}};
    static const uint32_t blocks[][2] = {{32, 1}, {64, 33}, {96, 31}, {576, 70}, {1536, 5}};
    for (uint32_t dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        for (unsigned i = 0; i < 7; i++) {
            add_matmul(f, dtype, plain[i][0], plain[i][1], -1, VARIANT_NONE);
        }
        add_matmul(f, DTYPE_F32, 24, 35, (int)dtype, VARIANT_NONE);
    }
    for (uint32_t dtype = DTYPE_Q4_0; dtype <= DTYPE_Q8_0; dtype++) {
        for (unsigned i = 0; i < 5; i++) {
            add_matmul(f, dtype, blocks[i][0], blocks[i][1], -1, VARIANT_NONE);
        }
        add_matmul(f, dtype, 64, 35, DTYPE_BF16, VARIANT_NONE);
    }
}

static void matmul_of_each_kind(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        struct fixture f;
        fixture_init(&f, 64);
        add_matmuls(&f);
        fixture_open(&f, &(struct engine_limits){.matmul = kind}, false);
        check_rows(&f, kind == MATMUL_LANE ? "matmul, a row a lane" : "matmul, a row a workgroup");
        fixture_close(&f);
    }
}

/* llvmpipe silently stops an invocation after 65,535 loop iterations. Rows that need more must be read in longer
 * strides, or refused. */
static void matmul_with_long_rows(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        struct fixture f;
        fixture_init(&f, 16);
        add_matmul(&f, DTYPE_F32, 20001, 5, -1, VARIANT_NONE);
        add_matmul(&f, DTYPE_F32, 100004, 3, -1, VARIANT_NONE);
        add_matmul(&f, DTYPE_Q8_0, 131072, 33, -1, VARIANT_NONE);
        fixture_open(&f, &(struct engine_limits){.matmul = kind}, false);
        fixture_check(&f, 0, 5, false);
        fixture_check(&f, 5, 1, true);
        fixture_close(&f);
    }
    struct fixture f;
    struct error err;
    fixture_init(&f, 4);
    add_matmul(&f, DTYPE_F32, 70001, 1, -1, VARIANT_NONE);
    struct engine_options options = {.max_positions = 4, .device = "llvmpipe"};
    enum status status = engine_open(&f.engine, &f.plan, &options, &err);
    if (status != STATUS_ABSENT) {
        assert_int_equal(status, STATUS_BAD_INPUT);
        assert_non_null(strstr(err.text, "longer loops"));
    }
    fixture_close(&f);
}

/* A weight matrix that is longer than a binding is read in slices. More workgroups than one axis can have are folded
 * into two axes. */
static void matmul_in_slices_and_folded(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        struct fixture f;
        fixture_init(&f, 64);
        for (uint32_t dtype = DTYPE_F32; dtype <= DTYPE_Q8_0; dtype++) {
            add_matmul(&f, dtype, 96, 517, DTYPE_F32, VARIANT_NONE);
            add_matmul(&f, dtype, 64, 400, -1, VARIANT_NONE);
        }
        add_matmul(&f, DTYPE_BF16, 105, 311, -1, VARIANT_NONE);
        fixture_open(&f, &(struct engine_limits){.matmul = kind, .max_binding = 32768, .max_groups = 7 * 16}, false);
        check_rows(&f, "matmul in slices");
        fixture_begin(&f, 0, 1, true);
        assert_true(engine_shape(&f.engine)->schedule.n_dispatches > f.plan.n_steps);
        fixture_close(&f);
    }
}

static void embed_in_each_dtype(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    fixture_init(&f, 64);
    for (uint32_t dtype = DTYPE_F32; dtype <= DTYPE_Q8_0; dtype++) {
        uint32_t width = dtype < DTYPE_Q4_0 ? 105 : 96;
        for (int scaled = 0; scaled < 2; scaled++) {
            uint32_t step =
                fixture_step(&f, OP_embed, width, (union step_params){.embed = {width, 300, scaled ? 25.25f : 1}});
            f.plan.steps[step].weight[0] = fixture_tensor(&f, dtype, 300, width);
        }
    }
    fixture_open(&f, &(struct engine_limits){.max_binding = 16384, .max_groups = 5}, false);
    static const int32_t tokens[] = {0, 299, 7, 131, 256, 1};
    must(f.engine.ops->begin(&f.engine, &(struct batch){0, 6, tokens, false}, &err), &err);
    must(f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err), &err);
    for (uint32_t i = 0; i < f.plan.n_steps; i++) {
        float rows[6 * 105];
        double y[105], bound[105];
        uint32_t width = f.plan.steps[i].width;
        must(f.engine.ops->read(&f.engine, i, rows, &err), &err);
        for (uint32_t r = 0; r < 6; r++) {
            struct op_row row = {.arith = &arith_float32, .position = r, .token = tokens[r]};
            op_run(&(struct op_batch){.step = &f.plan.steps[i], .n_rows = 1, .rows = &row, .y = y, .bound = bound});
            for (uint32_t k = 0; k < width; k++) {
                assert_true(fabs(rows[r * width + k] - y[k]) <= bound[k]);
            }
        }
    }
    fixture_close(&f);
}

static void add_norm(struct fixture *f, uint32_t dtype, uint32_t groups, uint32_t dim, float offset, uint32_t variant)
{
    uint32_t input = fixture_input(f, groups * dim);
    uint32_t step =
        fixture_step(f, OP_rms_norm, groups * dim, (union step_params){.rms_norm = {groups, dim, 1e-5f, offset}});
    f->plan.steps[step].input[0] = (int32_t)input;
    f->plan.steps[step].weight[0] = fixture_tensor(f, dtype, 0, dim);
    f->plan.steps[step].variant = variant;
}

static void rms_norm(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 2, 24, 105, 576, 1152};
    struct fixture f;
    fixture_init(&f, 64);
    for (unsigned i = 0; i < 6; i++) {
        add_norm(&f, DTYPE_F32, 1, dims[i], 0, VARIANT_NONE);
        add_norm(&f, DTYPE_BF16, 1, dims[i], 1, VARIANT_NONE);
        add_norm(&f, DTYPE_F16, 3, dims[i], 1, VARIANT_NONE);
    }
    fixture_open(&f, &(struct engine_limits){.max_groups = 4}, false);
    check_rows(&f, "rms_norm");
    fixture_close(&f);
}

static void add_rope(struct fixture *f, uint32_t heads, uint32_t dim, uint32_t type, float theta, float factor)
{
    uint32_t input = fixture_input(f, heads * dim);
    uint32_t step = fixture_step(f, OP_rope, heads * dim,
                                 (union step_params){.rope = {heads, dim, type, theta, factor, .scale = 1}});
    f->plan.steps[step].input[0] = (int32_t)input;
}

static void add_scaled_rope(struct fixture *f, struct rope_params p)
{
    uint32_t input = fixture_input(f, p.heads * p.dim);
    uint32_t step = fixture_step(f, OP_rope, p.heads * p.dim, (union step_params){.rope = p});
    f->plan.steps[step].input[0] = (int32_t)input;
}

static void rope(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 64);
    add_rope(&f, 9, 64, ROPE_TYPE_DEFAULT, 100000, 1);
    add_rope(&f, 3, 64, ROPE_TYPE_DEFAULT, 100000, 1);
    add_rope(&f, 2, 24, ROPE_TYPE_DEFAULT, 10000, 1);
    add_rope(&f, 1, 2, ROPE_TYPE_DEFAULT, 10000, 1);
    add_rope(&f, 4, 256, ROPE_TYPE_LINEAR, 1000000, 8);
    add_rope(&f, 4, 256, ROPE_TYPE_LINEAR, 1000000, 2);
    add_scaled_rope(&f, (struct rope_params){2, 64, ROPE_TYPE_LLAMA3, 500000, 8, 1, 4, 64, 0, 1});
    add_scaled_rope(&f, (struct rope_params){2, 64, ROPE_TYPE_YARN, 150000, 32, 1, 32, 4096, 0, 1.3465736f});
    add_scaled_rope(&f, (struct rope_params){2, 64, ROPE_TYPE_YARN, 150000, 32, 1, 32, 256, 1, 1.3465736f});
    fixture_open(&f, &(struct engine_limits){.max_groups = 3}, false);
    check_rows(&f, "rope");
    fixture_close(&f);
}

static void add_elementwise(struct fixture *f, enum op op, uint32_t width, union step_params params)
{
    int32_t inputs[OP_MAX_INPUTS];
    for (unsigned i = 0; i < op_info(op)->n_inputs; i++) {
        inputs[i] = (int32_t)fixture_input(f, width);
    }
    uint32_t step = fixture_step(f, op, width, params);
    memcpy(f->plan.steps[step].input, inputs, sizeof(inputs[0]) * op_info(op)->n_inputs);
}

static void elementwise(void **state)
{
    (void)state;
    static const uint32_t widths[] = {1, 63, 105, 1536};
    struct fixture f;
    fixture_init(&f, 64);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t width = widths[i];
        add_elementwise(&f, OP_glu, width, (union step_params){.glu = {width, ACTIVATION_SILU}});
        add_elementwise(&f, OP_glu, width, (union step_params){.glu = {width, ACTIVATION_GELU_TANH}});
        add_elementwise(&f, OP_add, width, (union step_params){.add = {width}});
        add_elementwise(&f, OP_softcap, width, (union step_params){.softcap = {width, 30}});
        add_elementwise(&f, OP_softcap, width, (union step_params){.softcap = {width, 0}});
    }
    fixture_open(&f, &(struct engine_limits){.max_groups = 6}, false);
    check_rows(&f, "glu, add, softcap");
    fixture_close(&f);
}

/* Difficult arguments: tiny values, the switching points of tanh, large values, and values beyond the range of exp. */
static void activations_at_hard_values(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    const uint32_t width = 4001;
    fixture_init(&f, 4);
    add_elementwise(&f, OP_glu, width, (union step_params){.glu = {width, ACTIVATION_SILU}});
    add_elementwise(&f, OP_glu, width, (union step_params){.glu = {width, ACTIVATION_GELU_TANH}});
    add_elementwise(&f, OP_softcap, width, (union step_params){.softcap = {width, 1}});
    fixture_open(&f, &(struct engine_limits){0}, false);
    for (int scale = -6; scale <= 2; scale++) {
        fixture_begin(&f, 0, 1, false);
        for (uint32_t i = 0; i < f.plan.n_steps; i++) {
            for (uint32_t k = 0; f.rows[i] && k < width; k++) {
                f.rows[i][k] = ((float)k - 2000) / 2000 * powf(10, (float)scale) * (scale == 0 ? 1.5f : 2);
            }
            if (f.rows[i]) {
                must(f.engine.ops->write(&f.engine, i, f.rows[i], &err), &err);
            }
        }
        for (uint32_t i = 0; i < f.plan.n_steps; i++) {
            if (f.rows[i]) {
                continue;
            }
            float *rows = fixture_run(&f, i, 1);
            double ratio = fixture_ratio(&f, &f.plan.steps[i], rows, 0, 1, false);
            free(rows);
            if (!(ratio <= 1)) {
                fail_msg("step %u at scale 1e%d: ratio %g", i, scale, ratio);
            }
        }
    }
    fixture_close(&f);
}

/* The check itself must be able to fail: it finds a value just past its bound, and a NaN. */
static void a_value_past_its_bound_fails(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 16);
    add_matmul(&f, DTYPE_Q4_1, 576, 33, -1, VARIANT_NONE);
    fixture_open(&f, &(struct engine_limits){0}, false);
    fixture_begin(&f, 0, 2, false);
    float *rows = fixture_run(&f, 1, 2);
    assert_true(fixture_ratio(&f, &f.plan.steps[1], rows, 0, 2, false) <= 1);
    float right = rows[40];
    rows[40] = right * 1.0001f;
    assert_true(fixture_ratio(&f, &f.plan.steps[1], rows, 0, 2, false) > 1);
    rows[40] = NAN;
    assert_true(fixture_ratio(&f, &f.plan.steps[1], rows, 0, 2, false) > 1);
    free(rows);
    fixture_close(&f);
}

/* Each faulty shader computes what the reference's mutant computes, and not what the right op computes. */
static void check_variant(struct fixture *f, uint32_t step, uint32_t n_rows)
{
    fixture_begin(f, 0, n_rows, false);
    float *rows = fixture_run(f, step, n_rows);
    struct step right = f->plan.steps[step];
    right.variant = VARIANT_NONE;
    assert_true(fixture_ratio(f, &f->plan.steps[step], rows, 0, n_rows, false) <= 1);
    assert_true(fixture_ratio(f, &right, rows, 0, n_rows, false) > 1);
    free(rows);
}

static void variants(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        struct fixture f;
        fixture_init(&f, 16);
        add_norm(&f, DTYPE_F32, 1, 105, 1, VARIANT_COPY);
        add_matmul(&f, DTYPE_Q8_0, 96, 96, -1, VARIANT_TRANSPOSE_B);
        add_matmul(&f, DTYPE_BF16, 33, 33, DTYPE_F32, VARIANT_TRANSPOSE_B);
        add_norm(&f, DTYPE_BF16, 1, 128, 1, VARIANT_MEAN_SUBTRACTED); /* a width that is read in vec4s */
        add_norm(&f, DTYPE_F32, 3, 37, 0, VARIANT_MEAN_SUBTRACTED);
        fixture_open(&f, &(struct engine_limits){.matmul = kind}, false);
        for (uint32_t step = 1; step <= 9; step += 2) {
            check_variant(&f, step, step == 5 ? 1 : step == 3 ? 5 : 3);
        }
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_of_each_kind),
        cmocka_unit_test(matmul_with_long_rows),
        cmocka_unit_test(matmul_in_slices_and_folded),
        cmocka_unit_test(embed_in_each_dtype),
        cmocka_unit_test(rms_norm),
        cmocka_unit_test(rope),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(activations_at_hard_values),
        cmocka_unit_test(a_value_past_its_bound_fails),
        cmocka_unit_test(variants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
