/* Decoding with the kernels for GPUs, forced on any device: matvec.comp, attention_part.comp and their fused dispatches
 * against the reference. Single steps, runs with and without capture, and tokens that overlap must all give the same
 * bits. Also tokens that are chosen on the device. */
#include "tests/engine/decoded_plan.h"

/* With the device's own number of cores, a small matrix has less than one loop of rows a core; with one core, it has
 * several chunks. */
static const struct engine_limits as_gpu = {.matvec = true}, few_cores = {.matvec = true, .cores = 1};

static const struct model_shape shapes[] = {
    {DTYPE_F16, DTYPE_F16, true, true, false},    {DTYPE_Q8_0, DTYPE_Q4_0, true, true, true},
    {DTYPE_Q4_1, DTYPE_Q8_0, false, false, true}, {DTYPE_BF16, DTYPE_Q5_1, false, true, false},
    {DTYPE_Q5_0, DTYPE_F32, true, false, false},  {DTYPE_F32, DTYPE_Q5_0, true, true, false},
};

/* The fixture that was opened last with each set of limits. The next fixture takes over its engine and runs its own
 * plan on it, so that compiled shaders are reused: compiling takes most of the time here. */
static struct fixture *last_opened[2];

static struct fixture *take_engine(const struct model_shape *shape, const struct engine_limits *limits,
                                   struct engine_options options)
{
    struct error err;
    struct fixture **before = &last_opened[limits == &few_cores], *f = xcalloc(1, sizeof(*f));
    plan_by_hand(f, shape);
    options.max_positions = POSITIONS;
    options.max_rows = 16;
    options.validation = true;
    if (*before) {
        f->engine = (*before)->engine;
        (*before)->engine = (struct backend){0};
        must(engine_replan(&f->engine, &f->plan, &options, &err), &err);
        fixture_close(*before);
        free(*before);
    } else {
        must(backend_open(&f->engine, &f->plan, &options, limits, &err), &err);
    }
    *before = f;
    return f;
}

static int close_engines(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        if (last_opened[i]) {
            fixture_close(last_opened[i]);
        }
        free(last_opened[i]);
    }
    return 0;
}

static void run_whole(struct fixture *f, uint32_t position, int32_t token)
{
    struct error err;
    must(f->engine.ops->begin(&f->engine, &(struct batch){position, 1, &token, true}, &err), &err);
    must(f->engine.ops->run(&f->engine, 0, f->plan.n_steps, &err), &err);
}

static float *row_of(struct fixture *f, uint32_t step, uint32_t position)
{
    uint32_t width = f->plan.steps[step].width;
    if (!f->rows[step]) {
        f->rows[step] = xcalloc((uint64_t)f->max_positions * width, sizeof(float));
    }
    return f->rows[step] + (uint64_t)position * width;
}

/* Runs a position in ranges of `stride` steps and reads every stage into f->rows. */
static void decode(struct fixture *f, uint32_t position, uint32_t stride)
{
    struct error err;
    struct batch batch = {position, 1, f->tokens + position % 64, true};
    must(f->engine.ops->begin(&f->engine, &batch, &err), &err);
    for (uint32_t first = 0; first < f->plan.n_steps; first += stride) {
        uint32_t last = first + stride < f->plan.n_steps ? first + stride : f->plan.n_steps;
        must(f->engine.ops->run(&f->engine, first, last, &err), &err);
    }
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        must(f->engine.ops->read(&f->engine, i, row_of(f, i, position), &err), &err);
    }
}

/* Judges each step from its own recorded inputs, at positions around the ends of parts and windows. */
static void every_step_follows_from_its_inputs(void **state)
{
    (void)state;
    for (unsigned k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
        struct fixture *f = take_engine(&shapes[k], k % 2 ? &few_cores : &as_gpu, (struct engine_options){0});
        double worst = 0;
        for (uint32_t position = 0; position < 42; position++) {
            decode(f, position, 1000);
            bool judged = position < 2 || position % 32 < 2 || position >= 39;
            for (uint32_t i = 0; i < f->plan.n_steps && judged; i++) {
                const struct step *step = &f->plan.steps[i];
                double ratio = fixture_ratio(f, step, row_of(f, i, position), position, 1, true);
                char label[64];
                if (!(ratio <= 1)) {
                    fail_msg("shape %u, %s, position %u: ratio %g", k, step_label(step, label), position, ratio);
                }
                worst = ratio > worst && step->op == OP_matmul ? ratio : worst;
            }
        }
        print_message("shape %u: worst ratio of a matmul %.3f\n", k, worst);
    }
}

/* The twin: a row of weights that is off by a thousandth is found. */
static void a_wrong_weight_is_seen(void **state)
{
    (void)state;
    struct fixture *f = take_engine(&shapes[0], &as_gpu, (struct engine_options){0});
    decode(f, 0, 1000);
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        const struct step *step = &f->plan.steps[i];
        if (step->op != OP_matmul) {
            continue;
        }
        float *row = f->rows[i];
        row[step->width / 2] *= 1.001f;
        assert_true(fixture_ratio(f, step, row, 0, 1, true) > 1);
    }
}

/* The first step whose rows differ in a bit between two records of n_positions; n_steps: none. */
static uint32_t first_difference(const struct fixture *f, float *const *a, float *const *b, uint32_t n_positions)
{
    uint32_t i = 0;
    while (i < f->plan.n_steps &&
           memcmp(a[i], b[i], (size_t)n_positions * f->plan.steps[i].width * sizeof(float)) == 0) {
        i++;
    }
    return i;
}

static void take_rows(struct fixture *f, float **rows)
{
    memcpy(rows, f->rows, sizeof(f->rows));
    memset(f->rows, 0, sizeof(f->rows));
}

static void free_rows(float **rows)
{
    for (uint32_t i = 0; i < FIXTURE_MAX_STEPS; i++) {
        free(rows[i]);
    }
}

/* Runs of the whole plan, of single steps, and of ranges that cut fused groups give the same bits in every stage. */
static void alone_or_fused_the_bits_are_the_same(void **state)
{
    (void)state;
    static const uint32_t strides[] = {1, 5, 3};
    enum { N = 34 };
    for (unsigned k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k += 2) {
        float *whole[FIXTURE_MAX_STEPS];
        struct fixture *f = take_engine(&shapes[k], &as_gpu, (struct engine_options){0});
        for (uint32_t position = 0; position < N; position++) {
            decode(f, position, 1000);
        }
        take_rows(f, whole);
        f = take_engine(&shapes[k], &as_gpu, (struct engine_options){.pad_buffers = k == 2});
        for (uint32_t position = 0; position < N; position++) {
            decode(f, position, position < N - 4 ? 1000 : strides[position % 3]);
        }
        uint32_t step = first_difference(f, whole, f->rows, N);
        if (step < f->plan.n_steps) {
            fail_msg("shape %u, step %u", k, step);
        }
        free_rows(whole);
    }
}

static uint32_t largest(const float *values, uint32_t n, uint32_t masked)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (i != masked && (best == UINT32_MAX || values[i] > values[best])) {
            best = i;
        }
    }
    return best;
}

/* TOKENS positions decoded one by one; every stage is read before the next one starts. All other ways are compared with
 * this one. */
enum { TOKENS = 18, FIRST_TOKEN = 7 };
struct plainly {
    struct fixture *f;
    float *rows[FIXTURE_MAX_STEPS];
    int32_t ids[TOKENS]; /* ids[i] follows position i */
    int32_t masked;
};

static void decode_plainly(struct plainly *plain, const struct model_shape *shape, int32_t masked)
{
    struct fixture *f = take_engine(shape, &as_gpu, (struct engine_options){0});
    *plain = (struct plainly){.f = f, .masked = masked};
    for (uint32_t i = 0; i < TOKENS; i++) {
        f->tokens[i] = i ? plain->ids[i - 1] : FIRST_TOKEN;
        decode(f, i, 1000);
        plain->ids[i] = (int32_t)largest(row_of(f, f->plan.n_steps - 1, i), VOCAB, (uint32_t)masked);
    }
    take_rows(f, plain->rows);
}

static int32_t token_of(const struct plainly *plain, uint32_t position)
{
    return position ? plain->ids[position - 1] : FIRST_TOKEN;
}

static void expect_same_rows(const struct plainly *plain, const char *way)
{
    struct fixture *f = plain->f;
    uint32_t step = first_difference(f, plain->rows, f->rows, TOKENS);
    char label[64];
    if (step < f->plan.n_steps) {
        fail_msg("%s: %s", way, step_label(&f->plan.steps[step], label));
    }
    /* The twin: rows that another token's have overwritten are found, where the two differ. */
    uint32_t seen = 0;
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        size_t bytes = f->plan.steps[i].width * sizeof(float);
        memcpy(row_of(f, i, 1), row_of(f, i, 2), bytes);
        seen += first_difference(f, plain->rows, f->rows, TOKENS) == i;
        memcpy(row_of(f, i, 1), plain->rows[i] + f->plan.steps[i].width, bytes);
    }
    assert_true(seen > f->plan.n_steps / 2);
}

/* Reads the captured stages of an earlier token, from step `first` on. */
static void read_kept(struct fixture *f, uint32_t position, uint32_t first)
{
    struct error err;
    for (uint32_t i = first; i < f->plan.n_steps; i++) {
        must(engine_read_at(&f->engine, position, i, row_of(f, i, position), &err), &err);
    }
}

struct reader {
    struct fixture *f;
    uint32_t first; /* step to read from */
    uint32_t n;     /* calls until it interrupts */
};

static enum status read_token(void *context, const struct backend *backend, uint32_t position, int32_t id,
                              struct error *err)
{
    struct reader *reader = context;
    (void)id;
    assert_ptr_equal(backend, &reader->f->engine);
    if (reader->n-- == 0) {
        return error_set(err, STATUS_INTERRUPTED, NULL, NULL, ERROR_NO_OFFSET, "enough");
    }
    read_kept(reader->f, position, reader->first);
    return STATUS_OK;
}

static void expect_stream(const struct plainly *plain, uint32_t first_step)
{
    struct error err;
    int32_t ids[TOKENS];
    struct reader reader = {plain->f, first_step, TOKENS};
    must(engine_stream(&plain->f->engine, &(struct engine_decoding){0, FIRST_TOKEN, plain->masked, TOKENS, ids},
                       read_token, &reader, &err),
         &err);
    assert_memory_equal(ids, plain->ids, sizeof(ids));
}

static void expect_chain(const struct plainly *plain)
{
    struct error err;
    int32_t ids[TOKENS];
    must(engine_decode(&plain->f->engine, &(struct engine_decoding){0, FIRST_TOKEN, plain->masked, TOKENS, ids}, &err),
         &err);
    assert_memory_equal(ids, plain->ids, sizeof(ids));
}

/* Stages that are copied to the host while the next token is computed have the same bits as without overlap. The tokens
 * are forced, or chosen on the device. */
static void overlapped_or_not_the_bits_are_the_same(const struct plainly *plain)
{
    struct fixture *f = plain->f;
    for (uint32_t i = 0; i < TOKENS; i++) {
        run_whole(f, i, token_of(plain, i));
        if (i > 0) {
            read_kept(f, i - 1, 0);
        }
    }
    read_kept(f, TOKENS - 1, 0);
    expect_same_rows(plain, "forced");
    free_rows(f->rows);
    memset(f->rows, 0, sizeof(f->rows));
    expect_stream(plain, 0);
    expect_same_rows(plain, "chosen on the device");
}

/* The stages that a stream read. */
static void expect_same_logits(const struct plainly *plain)
{
    uint32_t last = plain->f->plan.n_steps - 1;
    assert_memory_equal(row_of(plain->f, last, 0), plain->rows[last], (size_t)TOKENS * VOCAB * sizeof(float));
}

static void expect_logits(const struct plainly *plain)
{
    struct error err;
    struct fixture *f = plain->f;
    uint32_t last = f->plan.n_steps - 1;
    float logits[VOCAB];
    for (uint32_t i = 0; i < TOKENS; i++) {
        run_whole(f, i, token_of(plain, i));
        must(f->engine.ops->read(&f->engine, last, logits, &err), &err);
        assert_memory_equal(logits, plain->rows[last] + (uint64_t)i * VOCAB, sizeof(logits));
    }
}

/* With and without capture, all logits have the same bits, and a chain of tokens chosen on the device is the same. */
static void capture_changes_nothing(void **state)
{
    (void)state;
    for (unsigned k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k += 2) {
        struct plainly plain;
        struct error err;
        decode_plainly(&plain, &shapes[k], k ? -1 : 11);
        struct fixture *f = plain.f;
        overlapped_or_not_the_bits_are_the_same(&plain);
        expect_chain(&plain);
        bool none[FIXTURE_MAX_STEPS] = {false};
        none[f->plan.n_steps - 1] = true;
        must(engine_capture(&f->engine, none, &err), &err);
        expect_chain(&plain);
        memset(row_of(f, f->plan.n_steps - 1, 0), 0, TOKENS * VOCAB * sizeof(float));
        expect_stream(&plain, f->plan.n_steps - 1);
        expect_same_logits(&plain);
        plain.f = take_engine(&shapes[k], &as_gpu, (struct engine_options){.no_capture = true});
        expect_logits(&plain);
        free_rows(plain.rows);
    }
}

static void expect_not_kept(const struct fixture *f, uint32_t position)
{
    struct error err;
    float row[VOCAB];
    assert_int_equal(engine_read_at(&f->engine, position, 0, row, &err), STATUS_DEVICE);
    assert_non_null(strstr(err.text, "are not kept"));
}

/* Copies that still run when something else begins: a batch of many rows, parts of a batch, written rows, a stream that
 * ends early. Neither disturbs the other. Reads of overwritten stages are refused. */
static void what_is_on_its_way_disturbs_nothing(void **state)
{
    (void)state;
    struct plainly plain;
    struct error err;
    int32_t ids[TOKENS];
    decode_plainly(&plain, &shapes[0], -1);
    struct fixture *f = plain.f;
    for (uint32_t round = 0; round < 3; round++) {
        struct reader reader = {f, 0, 2 + round};
        assert_int_equal(engine_stream(&f->engine, &(struct engine_decoding){0, FIRST_TOKEN, -1, TOKENS, ids},
                                       read_token, &reader, &err),
                         STATUS_INTERRUPTED);
        if (round == 0) { /* a batch of several rows overwrites the tokens */
            must(f->engine.ops->begin(&f->engine, &(struct batch){0, 5, f->tokens, false}, &err), &err);
            must(f->engine.ops->run(&f->engine, 0, f->plan.n_steps, &err), &err);
            expect_not_kept(f, 0);
        }
        for (uint32_t i = 0; i < 6; i++) {
            run_whole(f, i, token_of(&plain, i));
            if (i == 4 && round == 1) { /* position 3 keeps its place */
                float *rows = plain.rows[1] + 4ull * HIDDEN;
                must(f->engine.ops->write(&f->engine, 1, rows, &err), &err);
                must(f->engine.ops->run(&f->engine, 2, 9, &err), &err);
            }
        }
        expect_not_kept(f, 3);
        run_whole(f, 6, token_of(&plain, 6));
        read_kept(f, 5, 0);
        read_kept(f, 6, 0);
        for (uint32_t i = 0; i < f->plan.n_steps; i++) {
            uint32_t width = f->plan.steps[i].width;
            assert_memory_equal(row_of(f, i, 5), plain.rows[i] + 5ull * width, 2 * width * sizeof(float));
        }
        expect_stream(&plain, 0);
        expect_same_rows(&plain, "after all that");
        expect_not_kept(f, TOKENS - 1 - ENGINE_TOKENS_KEPT);
    }
    free_rows(plain.rows);
}

/* A chain that does not fit into the KV cache is refused. One that fills it is not. */
static void a_chain_ends_with_the_cache(void **state)
{
    (void)state;
    struct error err;
    int32_t ids[POSITIONS + 1];
    struct fixture *f = take_engine(&shapes[0], &as_gpu, (struct engine_options){0});
    struct reader reader = {f, 0, POSITIONS + 1};
    assert_int_equal(engine_decode(&f->engine, &(struct engine_decoding){1, 3, -1, 1, ids}, &err),
                     STATUS_BAD_INPUT); /* position 0 has no keys */
    must(engine_decode(&f->engine, &(struct engine_decoding){0, 3, -1, POSITIONS, ids}, &err), &err);
    assert_int_equal(engine_decode(&f->engine, &(struct engine_decoding){POSITIONS - 1, 3, -1, 2, ids}, &err),
                     STATUS_BAD_INPUT);
    assert_int_equal(
        engine_stream(&f->engine, &(struct engine_decoding){POSITIONS - 1, 3, -1, 2, ids}, read_token, &reader, &err),
        STATUS_BAD_INPUT);
    must(engine_stream(&f->engine, &(struct engine_decoding){POSITIONS - 2, 3, -1, 2, ids}, read_token, &reader, &err),
         &err);
}

/* A layer has five levels: norms with q, k and v; parts of the attention; o; norms with gate, up and activation; down.
 * Two more are embed, and the last norms with the head. */
static void five_levels_a_layer(void **state)
{
    (void)state;
    struct fixture *f = take_engine(&shapes[0], &as_gpu, (struct engine_options){0});
    decode(f, 0, 1000);
    assert_int_equal(engine_shape(&f->engine)->n_barriers, LAYERS * 5 + 1);
    assert_int_equal(engine_shape(&f->engine)->n_dispatches, LAYERS * 7 + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_follows_from_its_inputs),
        cmocka_unit_test(a_wrong_weight_is_seen),
        cmocka_unit_test(alone_or_fused_the_bits_are_the_same),
        cmocka_unit_test(capture_changes_nothing),
        cmocka_unit_test(what_is_on_its_way_disturbs_nothing),
        cmocka_unit_test(a_chain_ends_with_the_cache),
        cmocka_unit_test(five_levels_a_layer),
    };
    return cmocka_run_group_tests(tests, NULL, close_engines);
}
