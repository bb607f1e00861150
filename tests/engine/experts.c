/* The engine's ops of a mixture of experts against the reference: odd sizes, every kind of weight, and slices that end
 * inside an expert. */
#include "tests/engine/engine_fixture.h"

enum { N_EXPERTS = 5, K = 3, ROWS = 13 };

static uint32_t add(struct fixture *f, enum op op, uint32_t width, union step_params params, uint32_t in0, int32_t in1)
{
    uint32_t step = fixture_step(f, op, width, params);
    f->plan.steps[step].input[0] = (int32_t)in0;
    f->plan.steps[step].input[1] = in1;
    return step;
}

static uint32_t add_experts(struct fixture *f, uint32_t indices, uint32_t dtype, uint32_t n_in, uint32_t n_out,
                            bool shared)
{
    uint32_t x = fixture_input(f, shared ? n_in : K * n_in);
    struct expert_matmul_params p = {N_EXPERTS, K, n_in, n_out, shared, 1};
    uint32_t step = add(f, OP_expert_matmul, K * n_out, (union step_params){.expert_matmul = p}, x, (int32_t)indices);
    f->plan.steps[step].weight[0] = fixture_tensor(f, dtype, N_EXPERTS * n_out, n_in);
    f->plan.steps[step].weight[1] = fixture_tensor(f, DTYPE_BF16, N_EXPERTS, n_out);
    return step;
}

/* Fills all rows with random values. Index rows get valid experts, and every third router row has ties. */
static void begin(struct fixture *f, uint32_t n_rows, uint32_t indices, uint32_t logits)
{
    struct error err;
    fixture_begin(f, 0, n_rows, false);
    for (uint32_t i = 0; i < n_rows * K; i++) {
        f->rows[indices][i] = (float)(random_bits(f) % N_EXPERTS);
    }
    for (uint32_t i = 0; i < n_rows * 33; i++) {
        f->rows[logits][i] = i / 33 % 3 == 0 ? rintf(f->rows[logits][i]) : f->rows[logits][i];
    }
    must(f->engine.ops->write(&f->engine, indices, f->rows[indices], &err), &err);
    must(f->engine.ops->write(&f->engine, logits, f->rows[logits], &err), &err);
}

static void check(const struct engine_limits *limits)
{
    struct fixture f;
    fixture_init(&f, 16);
    uint32_t logits = fixture_input(&f, 33), indices = fixture_input(&f, K);
    add(&f, OP_topk, 4, (union step_params){.topk = {33, 4}}, logits, -1);
    add(&f, OP_topk, 33, (union step_params){.topk = {33, 33}}, logits, -1);
    add(&f, OP_topk_softmax, 4, (union step_params){.topk_softmax = {33, 4}}, logits, -1);
    add(&f, OP_topk_softmax, 1, (union step_params){.topk_softmax = {33, 1}}, logits, -1);
    add(&f, OP_swiglu, 105, (union step_params){.swiglu = {105, 7, 1.702f, 35}}, fixture_input(&f, 210), -1);
    add(&f, OP_swiglu, 64, (union step_params){.swiglu = {64, 0.5f, 1.702f, 32}}, fixture_input(&f, 128), -1);
    uint32_t shares = fixture_input(&f, K), parts = fixture_input(&f, K * 105);
    add(&f, OP_expert_sum, 105, (union step_params){.expert_sum = {K, 105}}, parts, (int32_t)shares);
    for (uint32_t dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        add_experts(&f, indices, dtype, 23, 37, dtype != DTYPE_F16);
    }
    add_experts(&f, indices, DTYPE_MXFP4, 64, 70, true);
    add_experts(&f, indices, DTYPE_MXFP4, 96, 33, false);
    fixture_open(&f, limits, false);
    for (uint32_t n_rows = 1; n_rows <= ROWS && n_rows <= f.engine.max_rows; n_rows += 4) {
        begin(&f, n_rows, indices, logits);
        for (uint32_t i = 0; i < f.plan.n_steps; i++) {
            if (f.rows[i]) {
                continue;
            }
            float *rows = fixture_run(&f, i, n_rows);
            double ratio = fixture_ratio(&f, &f.plan.steps[i], rows, 0, n_rows, false);
            if (!(ratio <= 1)) {
                fail_msg("step %u (%s), %u rows: ratio %g", i, op_info(f.plan.steps[i].op)->name, n_rows, ratio);
            }
            free(rows);
        }
    }
    fixture_close(&f);
}

/* A lane computes a row of an expert, as on a CPU driver, or a workgroup does, as on a GPU. */
static void experts(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        check(&(struct engine_limits){.matmul = kind});
    }
}

static void experts_in_slices(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        check(&(struct engine_limits){.max_binding = 12288, .max_groups = 7, .matmul = kind});
    }
}

/* The twin: another expert's output is not within the bound of the chosen one's. */
static void another_expert_is_found(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        struct fixture f;
        fixture_init(&f, 16);
        uint32_t logits = fixture_input(&f, 33), indices = fixture_input(&f, K);
        uint32_t step = add_experts(&f, indices, DTYPE_MXFP4, 64, 70, true);
        fixture_open(&f, &(struct engine_limits){.matmul = kind}, false);
        begin(&f, 2, indices, logits);
        float *rows = fixture_run(&f, step, 2);
        assert_true(fixture_ratio(&f, &f.plan.steps[step], rows, 0, 2, false) <= 1);
        f.rows[indices][1] = (float)(((int)f.rows[indices][1] + 1) % N_EXPERTS);
        assert_true(fixture_ratio(&f, &f.plan.steps[step], rows, 0, 2, false) > 1);
        free(rows);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts),
        cmocka_unit_test(experts_in_slices),
        cmocka_unit_test(another_expert_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
