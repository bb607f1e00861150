/* The reference as a backend, on a hand-made plan of one small layer: batches, the KV cache, ranges of steps, reading
 * and writing rows. */
#include "tests/reference/reference_case.h"

enum { HIDDEN = 12, DIM = 6, VOCAB = 10, POSITIONS = 40 };
enum { EMBED, NORM, Q, K, V, Q_ROPE, K_ROPE, ATTN, O, RESID, LOGITS, FINAL, N_STEPS };

struct fixture {
    struct step steps[N_STEPS];
    struct tensor tensors[N_STEPS];
    float *weights[N_STEPS];
    struct plan plan;
    struct backend backend;
    int32_t tokens[POSITIONS];
};

static void add_step(struct fixture *f, unsigned index, struct step step, uint32_t rows, uint32_t cols)
{
    uint64_t seed = index;
    f->steps[index] = step;
    if (rows != 0) {
        f->weights[index] = random_floats(&seed, (uint64_t)rows * cols, 0.5f, 0);
        f->tensors[index] = tensor_of_floats(f->weights[index], rows, cols);
        f->steps[index].weight[0] = &f->tensors[index];
    }
}

static void add_matmul(struct fixture *f, unsigned index, enum stage stage, int32_t input, uint32_t n_in,
                       uint32_t n_out)
{
    add_step(f, index,
             (struct step){.op = OP_matmul,
                           .stage = stage,
                           .width = n_out,
                           .input = {input, -1, -1},
                           .params.matmul = {.n_in = n_in, .n_out = n_out}},
             n_out, n_in);
}

static void add_rope(struct fixture *f, unsigned index, enum stage stage, int32_t input, uint32_t heads)
{
    add_step(f, index,
             (struct step){.op = OP_rope,
                           .stage = stage,
                           .width = heads * DIM,
                           .input = {input, -1, -1},
                           .params.rope = {heads, DIM, ROPE_TYPE_DEFAULT, 100, 1, .scale = 1}},
             0, 0);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    add_step(f, EMBED,
             (struct step){.op = OP_embed,
                           .layer = LAYER_NONE,
                           .stage = STAGE_embed,
                           .width = HIDDEN,
                           .input = {-1, -1, -1},
                           .params.embed = {HIDDEN, VOCAB, 2}},
             VOCAB, HIDDEN);
    add_step(f, NORM,
             (struct step){.op = OP_rms_norm,
                           .stage = STAGE_attn_norm,
                           .width = HIDDEN,
                           .input = {EMBED, -1, -1},
                           .params.rms_norm = {1, HIDDEN, 1e-5f, 1}},
             1, HIDDEN);
    add_matmul(f, Q, STAGE_q_proj, NORM, HIDDEN, 2 * DIM);
    add_matmul(f, K, STAGE_k_proj, NORM, HIDDEN, DIM);
    add_matmul(f, V, STAGE_v_proj, NORM, HIDDEN, DIM);
    add_rope(f, Q_ROPE, STAGE_q_rope, Q, 2);
    add_rope(f, K_ROPE, STAGE_k_rope, K, 1);
    add_step(f, ATTN,
             (struct step){.op = OP_attention,
                           .stage = STAGE_attn_out,
                           .width = 2 * DIM,
                           .input = {Q_ROPE, K_ROPE, V},
                           .params.attention = {2, 1, DIM, 0.4f, 0, 9, false}},
             0, 0);
    add_matmul(f, O, STAGE_o_proj, ATTN, 2 * DIM, HIDDEN);
    add_step(
        f, RESID,
        (struct step){
            .op = OP_add, .stage = STAGE_attn_resid, .width = HIDDEN, .input = {EMBED, O, -1}, .params.add = {HIDDEN}},
        0, 0);
    add_matmul(f, LOGITS, STAGE_logits, RESID, HIDDEN, VOCAB);
    add_step(f, FINAL,
             (struct step){.op = OP_softcap,
                           .layer = LAYER_NONE,
                           .stage = STAGE_logits_final,
                           .width = VOCAB,
                           .input = {LOGITS, -1, -1},
                           .params.softcap = {VOCAB, 5}},
             0, 0);
    f->plan = (struct plan){.n_layers = 1, .n_steps = N_STEPS, .steps = f->steps};
    uint64_t seed = 77;
    for (unsigned i = 0; i < POSITIONS; i++) {
        f->tokens[i] = (int32_t)(random_bits(&seed) % VOCAB);
    }
    assert_int_equal(reference_open(&f->backend, &f->plan, POSITIONS, NULL), STATUS_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->backend.ops->close(&f->backend);
    for (unsigned i = 0; i < N_STEPS; i++) {
        free(f->weights[i]);
    }
    free(f);
    return 0;
}

static enum status begin(struct fixture *f, uint32_t first, uint32_t n, bool decode, struct error *err)
{
    return f->backend.ops->begin(&f->backend, &(struct batch){first, n, f->tokens + first, decode}, err);
}

/* Runs positions [first, first + n) as one batch, `stride` steps at a time. */
static void run_batch(struct fixture *f, uint32_t first, uint32_t n, uint32_t stride)
{
    assert_int_equal(begin(f, first, n, n == 1, NULL), STATUS_OK);
    for (uint32_t s = 0; s < N_STEPS; s += stride) {
        assert_int_equal(f->backend.ops->run(&f->backend, s, s + stride < N_STEPS ? s + stride : N_STEPS, NULL),
                         STATUS_OK);
    }
}

/* Reads the rows of a step of the current batch; the caller frees them. */
static float *read_rows(struct fixture *f, uint32_t step, uint32_t n)
{
    float *rows = xcalloc((uint64_t)n * f->steps[step].width, sizeof(float));
    assert_int_equal(f->backend.ops->read(&f->backend, step, rows, NULL), STATUS_OK);
    return rows;
}

static void batches_of_any_size_agree(void **state)
{
    struct fixture *f = *state;
    run_batch(f, 0, 20, N_STEPS);
    float *whole[N_STEPS];
    for (unsigned s = 0; s < N_STEPS; s++) {
        whole[s] = read_rows(f, s, 20);
    }
    const uint32_t sizes[] = {1, 3, 7, 20};
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        for (uint32_t first = 0; first < 20; first += sizes[i]) {
            uint32_t n = 20 - first < sizes[i] ? 20 - first : sizes[i];
            run_batch(f, first, n, sizes[i]); /* in ranges of other sizes too */
            for (unsigned s = 0; s < N_STEPS; s++) {
                float *part = read_rows(f, s, n);
                uint64_t width = f->steps[s].width;
                assert_memory_equal(part, whole[s] + first * width, n * width * sizeof(float));
                free(part);
            }
        }
    }
    for (unsigned s = 0; s < N_STEPS; s++) {
        free(whole[s]);
    }
}

/* The rows of each step are its op's result on its inputs' rows, rounded to f32. */
static void rows_are_the_rounded_results(void **state)
{
    struct fixture *f = *state;
    run_batch(f, 0, 8, N_STEPS);
    for (unsigned s = 0; s < N_STEPS; s++) {
        float *inputs[OP_MAX_INPUTS] = {0}, *actual = read_rows(f, s, 8);
        struct op_row rows[8];
        for (uint32_t r = 0; r < 8; r++) {
            rows[r] = (struct op_row){.arith = &arith_float32, .position = r, .token = f->tokens[r]};
        }
        for (unsigned i = 0; i < OP_MAX_INPUTS && f->steps[s].input[i] >= 0; i++) {
            uint32_t input = (uint32_t)f->steps[s].input[i];
            inputs[i] = read_rows(f, input, 8);
            for (uint32_t r = 0; r < 8; r++) {
                rows[r].in[i] = inputs[i] + (s == ATTN && i > 0 ? 0 : r * f->steps[input].width);
            }
        }
        struct result result = run_rows(&f->steps[s], rows, 8, DTYPE_F32);
        for (uint64_t i = 0; i < result.n; i++) {
            assert_true(actual[i] == (float)result.y[i]);
        }
        assert_true(worst_ratio(actual, &result) <= 1);
        result_free(&result);
        for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
            free(inputs[i]);
        }
        free(actual);
    }
}

static void what_was_not_run_is_not_captured(void **state)
{
    struct fixture *f = *state;
    struct error err;
    float rows[3 * HIDDEN];
    run_batch(f, 0, 3, N_STEPS);
    assert_int_equal(begin(f, 3, 3, false, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->run(&f->backend, 0, K, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->read(&f->backend, Q, rows, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->read(&f->backend, K, rows, &err), STATUS_DEVICE);
    assert_non_null(strstr(err.text, "k_proj"));
    assert_non_null(strstr(err.text, "not captured"));
    assert_int_equal(f->backend.ops->run(&f->backend, K_ROPE, ATTN, &err), STATUS_DEVICE); /* its input was not run */
    assert_int_equal(f->backend.ops->run(&f->backend, K, N_STEPS, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->read(&f->backend, K, rows, NULL), STATUS_OK);
}

static void written_rows_are_used(void **state)
{
    struct fixture *f = *state;
    run_batch(f, 0, 6, N_STEPS);
    float *before = read_rows(f, ATTN, 6);
    float *keys = read_rows(f, K_ROPE, 6), written[6 * DIM];
    for (unsigned i = 0; i < 6 * DIM; i++) {
        keys[i] *= -1;
    }

    /* Written rows are used in the batch. */
    assert_int_equal(f->backend.ops->write(&f->backend, K_ROPE, keys, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->read(&f->backend, K_ROPE, written, NULL), STATUS_OK);
    assert_memory_equal(written, keys, sizeof(written));
    assert_int_equal(f->backend.ops->run(&f->backend, ATTN, N_STEPS, NULL), STATUS_OK);
    float *after = read_rows(f, ATTN, 6);
    assert_memory_equal(before, after, 2 * DIM * sizeof(float)); /* a single key's score does not matter */
    assert_memory_not_equal(before + 2 * DIM, after + 2 * DIM, 5 * 2 * DIM * sizeof(float));

    /* They are written to the KV cache too: the next batch sees them. */
    run_batch(f, 6, 1, N_STEPS);
    float *next = read_rows(f, ATTN, 1);
    run_batch(f, 0, 6, N_STEPS);
    run_batch(f, 6, 1, N_STEPS);
    float *right = read_rows(f, ATTN, 1);
    assert_memory_not_equal(next, right, 2 * DIM * sizeof(float));

    free(before), free(keys), free(after), free(next), free(right);
}

/* Runs one op alone: its inputs are written, and nothing ran before it. */
static void one_op_runs_on_written_inputs(void **state)
{
    struct fixture *f = *state;
    run_batch(f, 0, 2, N_STEPS);
    float *residual = read_rows(f, EMBED, 2), *branch = read_rows(f, O, 2), *right = read_rows(f, RESID, 2);
    assert_int_equal(begin(f, 0, 2, false, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->write(&f->backend, EMBED, residual, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->run(&f->backend, RESID, RESID + 1, NULL), STATUS_DEVICE);
    assert_int_equal(f->backend.ops->write(&f->backend, O, branch, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->run(&f->backend, RESID, RESID + 1, NULL), STATUS_OK);
    float *alone = read_rows(f, RESID, 2);
    assert_memory_equal(alone, right, 2 * HIDDEN * sizeof(float));
    free(residual), free(branch), free(right), free(alone);
}

static void a_bad_begin_leaves_all_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct error err;
    run_batch(f, 0, 5, N_STEPS);
    float *before = read_rows(f, FINAL, 5);
    assert_int_equal(begin(f, POSITIONS - 3, 5, false, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "position 41"));
    assert_int_equal(begin(f, 6, 1, true, &err), STATUS_DEVICE); /* position 5 was never run */
    assert_non_null(strstr(err.text, "never run"));
    float *after = read_rows(f, FINAL, 5);
    assert_memory_equal(before, after, 5 * VOCAB * sizeof(float));
    run_batch(f, 2, 1, N_STEPS); /* going back to a position forgets those after it */
    assert_int_equal(begin(f, 4, 1, true, &err), STATUS_DEVICE);
    run_batch(f, 3, 1, N_STEPS);

    f->tokens[4] = VOCAB;
    assert_int_equal(begin(f, 4, 1, true, NULL), STATUS_OK);
    assert_int_equal(f->backend.ops->run(&f->backend, 0, N_STEPS, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "token 10, expected 0 to 9"));
    free(before), free(after);
    assert_int_equal(reference_open(&(struct backend){0}, &f->plan, 0, NULL), STATUS_USAGE);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(batches_of_any_size_agree), TEST(rows_are_the_rounded_results),  TEST(what_was_not_run_is_not_captured),
        TEST(written_rows_are_used),     TEST(one_op_runs_on_written_inputs), TEST(a_bad_begin_leaves_all_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
