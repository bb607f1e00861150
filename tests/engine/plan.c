/* A whole plan on the engine: run at once, step by step and in ranges; prefilled at once, in pieces, and decoded; with
 * padded buffers and in slices. All ways must give the same bits. A step that did not run must never look like a
 * result. */
#include "tests/engine/engine_fixture.h"

enum { HIDDEN = 40, HEADS = 4, KV_HEADS = 2, DIM = 12, FFN = 96, VOCAB = 70, LAYERS = 2, POSITIONS = 24 };

static int32_t add_matmul(struct fixture *f, enum stage stage, int32_t layer, uint32_t dtype, int32_t in,
                          uint32_t n_out)
{
    bool bias = layer == 0 || (stage != STAGE_ffn_gate && stage != STAGE_ffn_up);
    return fixture_stage_matmul(f, (struct stage_matmul){stage, layer, dtype, in, n_out, bias});
}

static int32_t add_norm(struct fixture *f, enum stage stage, int32_t layer, int32_t in)
{
    uint32_t dim = f->plan.steps[in].width;
    int32_t step = fixture_stage(f, (struct step){.op = OP_rms_norm,
                                                  .stage = stage,
                                                  .layer = layer,
                                                  .width = dim,
                                                  .input = {in, -1},
                                                  .params = {.rms_norm = {1, dim, 1e-6f, 1}}});
    f->plan.steps[step].weight[0] = fixture_tensor(f, DTYPE_F32, 0, dim);
    return step;
}

static int32_t add_rope(struct fixture *f, enum stage stage, int32_t layer, int32_t in, uint32_t heads)
{
    return fixture_stage(
        f, (struct step){.op = OP_rope,
                         .stage = stage,
                         .layer = layer,
                         .width = heads * DIM,
                         .input = {in, -1},
                         .params = {.rope = {heads, DIM, ROPE_TYPE_DEFAULT, layer ? 1e4f : 1e6f, 1, .scale = 1}}});
}

static int32_t add_layer(struct fixture *f, int32_t layer, int32_t residual)
{
    int32_t norm = add_norm(f, STAGE_attn_norm, layer, residual);
    int32_t q = add_matmul(f, STAGE_q_proj, layer, DTYPE_BF16, norm, HEADS * DIM);
    int32_t k = add_matmul(f, STAGE_k_proj, layer, DTYPE_F32, norm, KV_HEADS * DIM);
    int32_t v = add_matmul(f, STAGE_v_proj, layer, DTYPE_F16, norm, KV_HEADS * DIM);
    q = add_rope(f, STAGE_q_rope, layer, q, HEADS);
    k = add_rope(f, STAGE_k_rope, layer, k, KV_HEADS);
    struct attention_params params = {
        .heads = HEADS, .kv_heads = KV_HEADS, .dim = DIM, .scale = 0.02f, .window = layer ? 0 : 7};
    int32_t attention = fixture_stage(f, (struct step){.op = OP_attention,
                                                       .stage = STAGE_attn_out,
                                                       .layer = layer,
                                                       .width = HEADS * DIM,
                                                       .input = {q, k},
                                                       .params = {.attention = params}});
    f->plan.steps[attention].input[2] = v;
    int32_t o = add_matmul(f, STAGE_o_proj, layer, DTYPE_F16, attention, HIDDEN);
    int32_t middle = fixture_stage(f, (struct step){.op = OP_add,
                                                    .stage = STAGE_attn_resid,
                                                    .layer = layer,
                                                    .width = HIDDEN,
                                                    .input = {residual, o},
                                                    .params = {.add = {HIDDEN}}});
    norm = add_norm(f, STAGE_ffn_norm, layer, middle);
    int32_t gate = add_matmul(f, STAGE_ffn_gate, layer, DTYPE_F32, norm, FFN);
    int32_t up = add_matmul(f, STAGE_ffn_up, layer, layer ? DTYPE_F32 : DTYPE_BF16, norm, FFN);
    int32_t act = fixture_stage(f, (struct step){.op = OP_glu,
                                                 .stage = STAGE_ffn_act,
                                                 .layer = layer,
                                                 .width = FFN,
                                                 .input = {gate, up},
                                                 .params = {.glu = {FFN, ACTIVATION_SILU}}});
    int32_t down = add_matmul(f, STAGE_ffn_down, layer, DTYPE_Q4_1, act, HIDDEN);
    return fixture_stage(f, (struct step){.op = OP_add,
                                          .stage = STAGE_layer_out,
                                          .layer = layer,
                                          .width = HIDDEN,
                                          .input = {middle, down},
                                          .params = {.add = {HIDDEN}}});
}

static void plan_by_hand(struct fixture *f)
{
    fixture_init(f, POSITIONS);
    for (int i = 0; i < POSITIONS; i++) {
        f->tokens[i] = (i * 37 + 5) % VOCAB;
    }
    uint32_t embed = fixture_step(f, OP_embed, HIDDEN, (union step_params){.embed = {HIDDEN, VOCAB, 6.25f}});
    const struct tensor *table = fixture_tensor(f, DTYPE_BF16, VOCAB, HIDDEN);
    f->plan.steps[embed].weight[0] = table;
    int32_t residual = (int32_t)embed;
    for (int32_t layer = 0; layer < LAYERS; layer++) {
        residual = add_layer(f, layer, residual);
    }
    int32_t norm = add_norm(f, STAGE_final_norm, LAYER_NONE, residual);
    int32_t logits = fixture_stage(f, (struct step){.op = OP_matmul,
                                                    .stage = STAGE_logits,
                                                    .layer = LAYER_NONE,
                                                    .width = VOCAB,
                                                    .input = {norm, -1},
                                                    .params = {.matmul = {HIDDEN, VOCAB, 0}}});
    f->plan.steps[logits].weight[0] = table; /* a tied embedding */
    fixture_stage(f, (struct step){.op = OP_softcap,
                                   .stage = STAGE_logits_final,
                                   .layer = LAYER_NONE,
                                   .width = VOCAB,
                                   .input = {logits, -1},
                                   .params = {.softcap = {VOCAB, 30}}});
}

/* Reads every step of the current batch into f->rows, at the batch's positions. */
static void record(struct fixture *f, uint32_t first_position)
{
    struct error err;
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        uint32_t width = f->plan.steps[i].width;
        if (!f->rows[i]) {
            f->rows[i] = xcalloc((uint64_t)f->max_positions * width, sizeof(float));
        }
        must(f->engine.ops->read(&f->engine, i, f->rows[i] + (uint64_t)first_position * width, &err), &err);
    }
}

/* Runs a batch in ranges of `stride` steps and reads every step. */
static void run_batch(struct fixture *f, uint32_t first_position, uint32_t n_rows, uint32_t stride)
{
    struct error err;
    struct batch batch = {first_position, n_rows, f->tokens + first_position, n_rows == 1};
    must(f->engine.ops->begin(&f->engine, &batch, &err), &err);
    for (uint32_t first = 0; first < f->plan.n_steps; first += stride) {
        uint32_t last = first + stride < f->plan.n_steps ? first + stride : f->plan.n_steps;
        must(f->engine.ops->run(&f->engine, first, last, &err), &err);
    }
    record(f, first_position);
}

/* The rows that one way of running gives for `positions` positions. */
static float *snapshot(const struct fixture *f, uint32_t positions, uint64_t *count)
{
    float *all = NULL;
    *count = 0;
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        uint64_t n = (uint64_t)positions * f->plan.steps[i].width;
        all = xrealloc(all, (*count + n) * sizeof(float));
        memcpy(all + *count, f->rows[i], n * sizeof(float));
        *count += n;
    }
    return all;
}

struct way {
    const char *name;
    uint32_t batches[16]; /* rows of each batch; ends with 0 */
    uint32_t stride;      /* steps of a range */
    bool pad_buffers;
    struct engine_limits limits;
};

static const struct way ways[] = {
    {"one batch", {14}, 1000, false, {0}},
    {"one batch, step by step", {14}, 1, false, {0}},
    {"one batch, in ranges", {14}, 7, false, {0}},
    {"several batches", {3, 1, 8, 2}, 1000, false, {0}},
    {"decode", {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 1000, false, {0}},
    {"decode, step by step", {9, 1, 1, 1, 1, 1}, 1, false, {0}},
    {"padded buffers", {5, 1, 8}, 1000, true, {0}},
    {"padded buffers, in ranges", {5, 1, 8}, 5, true, {0}},
    {"row slices", {14}, 1000, false, {.max_binding = 6144}},
    {"nothing fused", {9, 1, 1, 3}, 1000, false, {.no_fusing = true}},
    {"folded dispatches", {14}, 1000, false, {.max_groups = 3}},
};

/* *is_cpu: whether the device is a CPU driver. */
static float *run_way(const struct way *way, uint64_t *count, bool *is_cpu)
{
    struct fixture f;
    plan_by_hand(&f);
    fixture_open(&f, &way->limits, way->pad_buffers);
    uint32_t position = 0;
    for (unsigned i = 0; i < 16 && way->batches[i]; i++) {
        run_batch(&f, position, way->batches[i], way->stride);
        position += way->batches[i];
    }
    assert_int_equal(position, 14);
    float *all = snapshot(&f, position, count);
    *is_cpu = engine_vulkan(&f.engine)->info.is_cpu;
    fixture_close(&f);
    return all;
}

static uint32_t bits(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof(word));
    return word;
}

/* A GPU runs other kernels for one row than for many. There, a way is compared with the plainest way with the same
 * batches. */
static void every_way_gives_the_same_bits(void **state)
{
    (void)state;
    struct way plain = ways[0];
    uint64_t expected_count = 0, count;
    float *expected = NULL;
    for (unsigned i = 1; i < sizeof(ways) / sizeof(ways[0]); i++) {
        bool is_cpu;
        float *all = run_way(&ways[i], &count, &is_cpu);
        bool others = !is_cpu && memcmp(plain.batches, ways[i].batches, sizeof(plain.batches)) != 0;
        if (others) {
            memcpy(plain.batches, ways[i].batches, sizeof(plain.batches));
        }
        if (others || !expected) {
            free(expected);
            expected = run_way(&plain, &expected_count, &is_cpu);
        }
        assert_int_equal(count, expected_count);
        for (uint64_t k = 0; k < count; k++) {
            if (bits(all[k]) != bits(expected[k])) {
                fail_msg("%s: value %llu is %g, not %g", ways[i].name, (unsigned long long)k, all[k], expected[k]);
            }
        }
        free(all);
    }
    free(expected);
}

/* Judges each step from its own recorded inputs, as the audit does: prefill, then decode. */
static void every_step_follows_from_its_inputs(void **state)
{
    (void)state;
    for (int kind = MATMUL_LANE; kind <= MATMUL_REDUCE; kind++) {
        struct fixture f;
        plan_by_hand(&f);
        fixture_open(&f, &(struct engine_limits){.matmul = kind}, false);
        for (uint32_t position = 0; position < 12; position += position ? 1 : 9) {
            uint32_t n_rows = position ? 1 : 9;
            run_batch(&f, position, n_rows, 1000);
            for (uint32_t i = 0; i < f.plan.n_steps; i++) {
                const float *rows = f.rows[i] + (uint64_t)position * f.plan.steps[i].width;
                double ratio = fixture_ratio(&f, &f.plan.steps[i], rows, position, n_rows, n_rows == 1);
                char label[64];
                if (!(ratio <= 1)) {
                    fail_msg("%s, position %u: ratio %g", step_label(&f.plan.steps[i], label), position, ratio);
                }
            }
        }
        fixture_close(&f);
    }
}

static void expect_not_captured(struct fixture *f, uint32_t step)
{
    struct error err;
    float rows[16 * FFN];
    assert_int_equal(f->engine.ops->read(&f->engine, step, rows, &err), STATUS_DEVICE);
    assert_non_null(strstr(err.text, "not captured"));
}

/* Against "batched readback shows zeros": a step that did not run is "not captured", in every new batch. */
static void what_did_not_run_is_not_captured(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    float rows[16 * FFN];
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    for (int round = 0; round < 2; round++) {
        must(f.engine.ops->begin(&f.engine, &(struct batch){0, 3, f.tokens, false}, &err), &err);
        expect_not_captured(&f, 0);
        must(f.engine.ops->run(&f.engine, 0, 3, &err), &err);
        must(f.engine.ops->read(&f.engine, 2, rows, &err), &err); /* the twin: a step that ran can be read */
        expect_not_captured(&f, 3);
        must(f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err), &err);
        must(f.engine.ops->read(&f.engine, f.plan.n_steps - 1, rows, &err), &err);
    }
    fixture_close(&f);
}

/* A written stage is read by the next step and by the host. Written keys and values reach the cache. */
static void written_rows_are_used(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    float rows[2 * HIDDEN], back[2 * HIDDEN];
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    run_batch(&f, 0, 2, 1000);
    must(f.engine.ops->begin(&f.engine, &(struct batch){0, 2, f.tokens, false}, &err), &err);
    for (int i = 0; i < 2 * HIDDEN; i++) {
        rows[i] = (float)i / 7;
    }
    must(f.engine.ops->write(&f.engine, 0, rows, &err), &err);
    must(f.engine.ops->read(&f.engine, 0, back, &err), &err);
    assert_memory_equal(rows, back, sizeof(rows));
    memcpy(f.rows[0], rows, sizeof(rows));
    float *norm = fixture_run(&f, 1, 2);
    assert_true(fixture_ratio(&f, &f.plan.steps[1], norm, 0, 2, false) <= 1);
    assert_true(bits(norm[3]) != bits(f.rows[1][3]));
    free(norm);
    fixture_close(&f);
}

static void without_capture_the_last_stage_is_there(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    float with[VOCAB], without[VOCAB];
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    run_batch(&f, 0, 1, 1000);
    memcpy(with, f.rows[f.plan.n_steps - 1], sizeof(with));
    f.engine.ops->close(&f.engine);
    struct engine_options options = {.max_positions = 8, .no_capture = true, .validation = true};
    must(engine_open(&f.engine, &f.plan, &options, &err), &err);
    must(f.engine.ops->begin(&f.engine, &(struct batch){0, 1, f.tokens, true}, &err), &err);
    must(f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err), &err);
    expect_not_captured(&f, f.plan.n_steps - 2);
    must(f.engine.ops->read(&f.engine, f.plan.n_steps - 1, without, &err), &err);
    assert_memory_equal(with, without, sizeof(with));
    fixture_close(&f);
}

/* Without capture, steps behind the last layer compute only a batch's last row. It has the same bits as with all rows.
 */
static void without_capture_the_last_row_is_there(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    float last[5 * VOCAB];
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    run_batch(&f, 0, 5, 1000);
    f.engine.ops->close(&f.engine);
    struct engine_options options = {.max_positions = 8, .no_capture = true, .validation = true};
    must(engine_open(&f.engine, &f.plan, &options, &err), &err);
    must(f.engine.ops->begin(&f.engine, &(struct batch){0, 5, f.tokens, false}, &err), &err);
    must(f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err), &err);
    must(f.engine.ops->read(&f.engine, f.plan.n_steps - 1, last, &err), &err);
    const float *rows = f.rows[f.plan.n_steps - 1];
    if (f.engine.last_row_alone) { /* where the last row's offset can be bound */
        assert_memory_equal(last, rows + 4 * VOCAB, VOCAB * sizeof(float));
        assert_memory_not_equal(last, rows, VOCAB * sizeof(float)); /* the twin: another row has other bits */
    }
    fixture_close(&f);
}

/* The costs of decoding a token behind position 4. */
static void decode_costs(struct fixture *f, struct engine_costs *costs)
{
    struct error err;
    must(f->engine.ops->begin(&f->engine, &(struct batch){5, 1, f->tokens, true}, &err), &err);
    engine_costs(&f->engine, costs);
    assert_true(costs->dispatches > 0);
}

/* Captures some steps: their rows are the same as with all steps captured, in whole batches and in parts. Fewer bytes
 * are copied, dispatches and barriers stay the same, and other steps are refused. Then all steps are captured again. */
static void chosen_stages_alone_are_captured(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    struct engine_costs all, some, again;
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    run_batch(&f, 0, 5, 1000);
    decode_costs(&f, &all);
    bool chosen[FIXTURE_MAX_STEPS] = {false};
    chosen[1] = chosen[2] = chosen[5] = chosen[f.plan.n_steps - 1] = true;
    must(engine_capture(&f.engine, chosen, &err), &err);
    for (int parts = 0; parts < 2; parts++) {
        uint64_t bytes = 0;
        must(f.engine.ops->begin(&f.engine, &(struct batch){0, 5, f.tokens, false}, &err), &err);
        must(f.engine.ops->run(&f.engine, 0, parts ? 4 : f.plan.n_steps, &err), &err);
        must(f.engine.ops->run(&f.engine, parts ? 4 : f.plan.n_steps, f.plan.n_steps, &err), &err);
        for (uint32_t i = 0; i < f.plan.n_steps; i++) {
            uint32_t width = f.plan.steps[i].width;
            if (!chosen[i]) {
                expect_not_captured(&f, i);
                continue;
            }
            float *rows = xcalloc(5 * (uint64_t)width, sizeof(float));
            must(f.engine.ops->read(&f.engine, i, rows, &err), &err);
            assert_memory_equal(rows, f.rows[i], 5 * (size_t)width * sizeof(float));
            free(rows);
            bytes += width * sizeof(float);
        }
        decode_costs(&f, &some);
        assert_true(some.readback_bytes >= bytes && some.readback_bytes < all.readback_bytes);
        assert_int_equal(some.dispatches, all.dispatches);
        assert_int_equal(some.barriers, all.barriers);
    }
    must(engine_capture(&f.engine, NULL, &err), &err);
    run_batch(&f, 0, 5, 1000); /* reads every stage */
    decode_costs(&f, &again);
    assert_int_equal(again.readback_bytes, all.readback_bytes);
    fixture_close(&f);
}

static void expect_refused(struct fixture *f, uint32_t first_position, uint32_t n_rows, const int32_t *tokens)
{
    struct error err;
    struct batch batch = {first_position, n_rows, tokens, false};
    assert_int_equal(f->engine.ops->begin(&f->engine, &batch, &err), STATUS_BAD_INPUT);
}

static void a_wrong_batch_is_refused_and_nothing_lost(void **state)
{
    (void)state;
    static const int32_t unknown[] = {1, VOCAB}, negative[] = {-1};
    struct fixture f;
    struct error err;
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    run_batch(&f, 0, 5, 1000);
    expect_refused(&f, 5, f.engine.max_rows + 1, f.tokens);
    expect_refused(&f, 5, 0, f.tokens);
    expect_refused(&f, POSITIONS, 1, f.tokens);
    expect_refused(&f, UINT32_MAX, 2, f.tokens);
    expect_refused(&f, 6, 1, f.tokens); /* position 5 has no keys */
    expect_refused(&f, 5, 2, unknown);
    expect_refused(&f, 5, 1, negative);
    run_batch(&f, 5, 1, 1000);
    /* No batch can follow one whose keys were not computed. */
    must(f.engine.ops->begin(&f.engine, &(struct batch){6, 2, f.tokens, false}, &err), &err);
    must(f.engine.ops->run(&f.engine, 0, 2, &err), &err);
    expect_refused(&f, 8, 1, f.tokens);
    fixture_close(&f);
}

/* More batch sizes than the engine keeps shapes for. A shape that is built again gives the same result. */
static void shapes_come_and_go(void **state)
{
    (void)state;
    struct fixture f;
    float first[3 * VOCAB];
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    run_batch(&f, 0, 3, 1000);
    uint32_t last = f.plan.n_steps - 1;
    memcpy(first, f.rows[last], sizeof(first));
    for (uint32_t n_rows = 1; n_rows <= 7; n_rows++) {
        run_batch(&f, 0, n_rows, 1000);
    }
    run_batch(&f, 0, 3, 1000);
    assert_memory_equal(first, f.rows[last], sizeof(first));
    fixture_close(&f);
}

static void a_submit_that_takes_too_long_is_a_lost_device(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    plan_by_hand(&f);
    fixture_open(&f, &(struct engine_limits){0}, false);
    run_batch(&f, 0, 16, 1000);
    engine_vulkan(&f.engine)->timeout_ns = 1;
    enum status status = STATUS_OK;
    for (int i = 0; i < 100 && status == STATUS_OK;
         i++) { /* on a busy machine the work may be done before the wait starts */
        must(f.engine.ops->begin(&f.engine, &(struct batch){0, 16, f.tokens, false}, &err), &err);
        status = f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err);
    }
    assert_int_equal(status, STATUS_DEVICE);
    engine_vulkan(&f.engine)->timeout_ns = UINT64_MAX;
    assert_int_equal(f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err), STATUS_DEVICE);
    fixture_close(&f); /* waits for the work that still runs */
}

/* A layer has 15 steps in 11 levels: q, k and v need no barrier between them, nor do the two ropes, nor gate and up.
 * Fused, an add shares a dispatch with the norm behind it. In layer 1, where gate and up have the same dtype, they
 * share one with the activation. */
static void few_barriers_and_few_dispatches(void **state)
{
    (void)state;
    for (int fused = 0; fused < 2; fused++) {
        struct fixture f;
        plan_by_hand(&f);
        fixture_open(&f, &(struct engine_limits){.no_fusing = !fused}, false);
        run_batch(&f, 0, 2,
                  1000); /* two rows: one row may run the decoding kernels, which tests/engine/decode.c counts */
        const struct shape *shape = engine_shape(&f.engine);
        assert_int_equal(shape->n_dispatches, f.plan.n_steps - (fused ? 2 * LAYERS + 2 + 1 : 0));
        assert_int_equal(shape->n_barriers, LAYERS * 11 + 3 - (fused ? 2 * LAYERS + 1 + 1 : 0));
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_gives_the_same_bits),
        cmocka_unit_test(every_step_follows_from_its_inputs),
        cmocka_unit_test(what_did_not_run_is_not_captured),
        cmocka_unit_test(written_rows_are_used),
        cmocka_unit_test(without_capture_the_last_stage_is_there),
        cmocka_unit_test(without_capture_the_last_row_is_there),
        cmocka_unit_test(chosen_stages_alone_are_captured),
        cmocka_unit_test(a_wrong_batch_is_refused_and_nothing_lost),
        cmocka_unit_test(shapes_come_and_go),
        cmocka_unit_test(few_barriers_and_few_dispatches),
        cmocka_unit_test(
            a_submit_that_takes_too_long_is_a_lost_device), /* runs last: some drivers cannot be opened again */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
