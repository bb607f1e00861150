/* Decoding as a GPU does it, forced on whatever device there is: matvec.comp, attention_part.comp and their fused
 * dispatches against the reference; with the bits of the steps run alone, with capture and without; and tokens chosen
 * on the device. */
#include "tests/engine_fixture.h"

enum { HIDDEN = 64, HEADS = 4, KV_HEADS = 2, DIM = 16, FFN = 736, VOCAB = 1330, LAYERS = 2, POSITIONS = 48 };

/* Of the device's own cores a small matrix's rows are less than one loop's; of few they are several chunks. */
static const struct engine_limits as_gpu = {.matvec = true}, few_cores = {.matvec = true, .cores = 1};

struct model_shape {
    uint32_t dtype, head_dtype;
    bool post_norms, head_norms, softcap;
};

static const struct model_shape shapes[] = {
    {DTYPE_F16, DTYPE_F16, true, true, false},    {DTYPE_Q8_0, DTYPE_Q4_0, true, true, true},
    {DTYPE_Q4_1, DTYPE_Q8_0, false, false, true}, {DTYPE_BF16, DTYPE_Q5_1, false, true, false},
    {DTYPE_Q5_0, DTYPE_F32, true, false, false},
};

static int32_t add_step(struct fixture *f, enum op op, enum stage stage, int32_t layer, uint32_t width, int32_t a,
                        int32_t b, union step_params params)
{
    uint32_t step = fixture_step(f, op, width, params);
    f->plan.steps[step].stage = stage;
    f->plan.steps[step].layer = layer;
    f->plan.steps[step].input[0] = a;
    f->plan.steps[step].input[1] = b;
    return (int32_t)step;
}

static int32_t add_matmul(struct fixture *f, enum stage stage, int32_t layer, uint32_t dtype, int32_t in,
                          uint32_t n_out, bool bias)
{
    uint32_t n_in = f->plan.steps[in].width;
    int32_t step =
        add_step(f, OP_matmul, stage, layer, n_out, in, -1, (union step_params){.matmul = {n_in, n_out, bias}});
    f->plan.steps[step].weight[0] = fixture_tensor(f, dtype, n_out, n_in);
    f->plan.steps[step].weight[1] = bias ? fixture_tensor(f, DTYPE_F32, 0, n_out) : NULL;
    return step;
}

static int32_t add_norm(struct fixture *f, enum stage stage, int32_t layer, int32_t in, uint32_t groups)
{
    uint32_t width = f->plan.steps[in].width, dim = width / groups;
    int32_t step =
        add_step(f, OP_rms_norm, stage, layer, width, in, -1, (union step_params){.rms_norm = {groups, dim, 1e-6f, 1}});
    f->plan.steps[step].weight[0] = fixture_tensor(f, DTYPE_F32, 0, dim);
    return step;
}

static int32_t add_sum(struct fixture *f, enum stage stage, int32_t layer, int32_t residual, int32_t branch)
{
    return add_step(f, OP_add, stage, layer, HIDDEN, residual, branch, (union step_params){.add = {HIDDEN}});
}

static int32_t add_rope(struct fixture *f, enum stage stage, int32_t layer, int32_t in, uint32_t heads)
{
    return add_step(f, OP_rope, stage, layer, heads * DIM, in, -1,
                    (union step_params){.rope = {heads, DIM, ROPE_TYPE_DEFAULT, 1e4f, 1, .scale = 1}});
}

static int32_t add_attention(struct fixture *f, const struct model_shape *shape, int32_t layer, int32_t norm)
{
    int32_t q = add_matmul(f, STAGE_q_proj, layer, shape->dtype, norm, HEADS * DIM, layer == 0);
    int32_t k = add_matmul(f, STAGE_k_proj, layer, shape->dtype, norm, KV_HEADS * DIM, layer == 0);
    int32_t v = add_matmul(f, STAGE_v_proj, layer, shape->dtype, norm, KV_HEADS * DIM, layer == 0);
    if (shape->head_norms) {
        q = add_norm(f, STAGE_q_norm, layer, q, HEADS);
        k = add_norm(f, STAGE_k_norm, layer, k, KV_HEADS);
    }
    q = add_rope(f, STAGE_q_rope, layer, q, HEADS);
    k = add_rope(f, STAGE_k_rope, layer, k, KV_HEADS);
    struct attention_params params = {HEADS, KV_HEADS, DIM, 0.02f, shape->softcap ? 20 : 0, layer ? 0 : 40, layer};
    int32_t attention =
        add_step(f, OP_attention, STAGE_attn_out, layer, HEADS * DIM, q, k, (union step_params){.attention = params});
    f->plan.steps[attention].input[2] = v;
    f->plan.steps[attention].weight[0] = layer ? fixture_tensor(f, DTYPE_BF16, 0, HEADS) : NULL;
    return add_matmul(f, STAGE_o_proj, layer, shape->dtype, attention, HIDDEN, layer == 0);
}

static int32_t add_layer(struct fixture *f, const struct model_shape *shape, int32_t layer, int32_t residual)
{
    int32_t norm = add_norm(f, STAGE_attn_norm, layer, residual, 1);
    int32_t branch = add_attention(f, shape, layer, norm);
    if (shape->post_norms)
        branch = add_norm(f, STAGE_post_attn_norm, layer, branch, 1);
    residual = add_sum(f, STAGE_attn_resid, layer, residual, branch);
    norm = add_norm(f, STAGE_ffn_norm, layer, residual, 1);
    int32_t gate = add_matmul(f, STAGE_ffn_gate, layer, shape->dtype, norm, FFN, false);
    int32_t up = add_matmul(f, STAGE_ffn_up, layer, shape->dtype, norm, FFN, false);
    int32_t act = add_step(f, OP_glu, STAGE_ffn_act, layer, FFN, gate, up,
                           (union step_params){.glu = {FFN, layer ? ACTIVATION_SILU : ACTIVATION_GELU_TANH}});
    branch = add_matmul(f, STAGE_ffn_down, layer, shape->dtype, act, HIDDEN, false);
    if (shape->post_norms)
        branch = add_norm(f, STAGE_post_ffn_norm, layer, branch, 1);
    return add_sum(f, STAGE_layer_out, layer, residual, branch);
}

static void plan_by_hand(struct fixture *f, const struct model_shape *shape)
{
    fixture_init(f, POSITIONS);
    for (int i = 0; i < 64; i++)
        f->tokens[i] = (i * 37 + 5) % VOCAB;
    int32_t residual = (int32_t)fixture_step(f, OP_embed, HIDDEN, (union step_params){.embed = {HIDDEN, VOCAB, 2}});
    f->plan.steps[residual].weight[0] = fixture_tensor(f, shape->head_dtype, VOCAB, HIDDEN);
    for (int32_t layer = 0; layer < LAYERS; layer++)
        residual = add_layer(f, shape, layer, residual);
    int32_t norm = add_norm(f, STAGE_final_norm, LAYER_NONE, residual, 1);
    int32_t logits = add_matmul(f, STAGE_logits, LAYER_NONE, shape->head_dtype, norm, VOCAB, false);
    add_step(f, OP_softcap, STAGE_logits_final, LAYER_NONE, VOCAB, logits, -1,
             (union step_params){.softcap = {VOCAB, 30}});
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
        uint32_t width = f->plan.steps[i].width;
        if (!f->rows[i])
            f->rows[i] = xcalloc((uint64_t)f->max_positions * width, sizeof(float));
        must(f->engine.ops->read(&f->engine, i, f->rows[i] + (uint64_t)position * width, &err), &err);
    }
}

/* Each step of positions around the ends of parts and windows, from its own recorded inputs. */
static void every_step_follows_from_its_inputs(void **state)
{
    (void)state;
    for (unsigned k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
        struct fixture f;
        double worst = 0;
        plan_by_hand(&f, &shapes[k]);
        fixture_open(&f, k % 2 ? &few_cores : &as_gpu, false);
        for (uint32_t position = 0; position < 42; position++) {
            decode(&f, position, 1000);
            bool judged = position < 2 || position % 32 < 2 || position >= 39;
            for (uint32_t i = 0; i < f.plan.n_steps && judged; i++) {
                const struct step *step = &f.plan.steps[i];
                double ratio = fixture_ratio(&f, step, f.rows[i] + (uint64_t)position * step->width, position, 1, true);
                char label[64];
                if (!(ratio <= 1))
                    fail_msg("shape %u, %s, position %u: ratio %g", k, step_label(step, label), position, ratio);
                worst = ratio > worst && step->op == OP_matmul ? ratio : worst;
            }
        }
        print_message("shape %u: worst ratio of a matmul %.3f\n", k, worst);
        fixture_close(&f);
    }
}

/* The twin: a row of weights that is off by a thousandth is seen. */
static void a_wrong_weight_is_seen(void **state)
{
    (void)state;
    struct fixture f;
    plan_by_hand(&f, &shapes[0]);
    fixture_open(&f, &as_gpu, false);
    decode(&f, 0, 1000);
    for (uint32_t i = 0; i < f.plan.n_steps; i++) {
        const struct step *step = &f.plan.steps[i];
        if (step->op != OP_matmul)
            continue;
        float *row = f.rows[i];
        row[step->width / 2] *= 1.001f;
        assert_true(fixture_ratio(&f, step, row, 0, 1, true) > 1);
    }
    fixture_close(&f);
}

/* Whole, step by step, and in ranges that cut the fused groups: the same bits in every stage. */
static void alone_or_fused_the_bits_are_the_same(void **state)
{
    (void)state;
    static const uint32_t strides[] = {1, 5, 3};
    for (unsigned k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k += 2) {
        struct fixture whole, parts;
        plan_by_hand(&whole, &shapes[k]);
        plan_by_hand(&parts, &shapes[k]);
        fixture_open(&whole, &as_gpu, false);
        fixture_open(&parts, &as_gpu, k == 2);
        for (uint32_t position = 0; position < 34; position++) {
            decode(&whole, position, 1000);
            decode(&parts, position, position < 30 ? 1000 : strides[position % 3]);
            for (uint32_t i = 0; i < whole.plan.n_steps; i++) {
                uint32_t width = whole.plan.steps[i].width;
                char label[64];
                if (memcmp(whole.rows[i] + (uint64_t)position * width, parts.rows[i] + (uint64_t)position * width,
                           width * sizeof(float)) != 0)
                    fail_msg("shape %u, %s, position %u", k, step_label(&whole.plan.steps[i], label), position);
            }
        }
        fixture_close(&whole);
        fixture_close(&parts);
    }
}

static uint32_t largest(const float *values, uint32_t n, uint32_t masked)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (i != masked && (best == UINT32_MAX || values[i] > values[best]))
            best = i;
    }
    return best;
}

/* Captured or not, every logit has the same bits; and so has a chain of tokens chosen on the device the same tokens. */
static void capture_changes_nothing(void **state)
{
    (void)state;
    for (unsigned k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k += 2) {
        struct fixture f;
        struct error err;
        float with[20][VOCAB], without[VOCAB];
        int32_t ids[20], chained[20], token = 7;
        plan_by_hand(&f, &shapes[k]);
        fixture_open(&f, &as_gpu, false);
        uint32_t last = f.plan.n_steps - 1, masked = k ? UINT32_MAX : 11;
        for (uint32_t i = 0; i < 20; i++) {
            f.tokens[i] = i ? ids[i - 1] : token;
            decode(&f, i, 1000);
            memcpy(with[i], f.rows[last] + (uint64_t)i * VOCAB, sizeof(with[i]));
            ids[i] = (int32_t)largest(with[i], VOCAB, masked);
        }
        for (int captured = 1; captured >= 0; captured--) {
            must(engine_decode(&f.engine, 0, token, (int32_t)masked, 20, chained, &err), &err);
            assert_memory_equal(ids, chained, sizeof(ids));
            bool none[FIXTURE_MAX_STEPS] = {false};
            none[last] = true;
            must(engine_capture(&f.engine, captured ? none : NULL, &err), &err);
        }
        f.engine.ops->close(&f.engine);
        struct engine_options options = {.max_positions = POSITIONS, .no_capture = true, .validation = true};
        must(engine_open_limited(&f.engine, &f.plan, &options, &as_gpu, &err), &err);
        for (uint32_t i = 0; i < 20; i++) {
            must(f.engine.ops->begin(&f.engine, &(struct batch){i, 1, &f.tokens[i], true}, &err), &err);
            must(f.engine.ops->run(&f.engine, 0, f.plan.n_steps, &err), &err);
            must(f.engine.ops->read(&f.engine, last, without, &err), &err);
            assert_memory_equal(with[i], without, sizeof(without));
        }
        fixture_close(&f);
    }
}

/* A chain that does not fit is refused, and one that fits to the last position is not. */
static void a_chain_ends_with_the_cache(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    int32_t ids[POSITIONS + 1];
    plan_by_hand(&f, &shapes[0]);
    fixture_open(&f, &as_gpu, false);
    assert_int_equal(engine_decode(&f.engine, 1, 3, -1, 1, ids, &err), STATUS_BAD_INPUT); /* position 0 has no keys */
    must(engine_decode(&f.engine, 0, 3, -1, POSITIONS, ids, &err), &err);
    assert_int_equal(engine_decode(&f.engine, POSITIONS - 1, 3, -1, 2, ids, &err), STATUS_BAD_INPUT);
    fixture_close(&f);
}

/* Five levels a layer: norms and q, k, v; parts of the attention; o; norms, gate, up and activation; down. Then embed,
 * and norms and head. */
static void five_levels_a_layer(void **state)
{
    (void)state;
    struct fixture f;
    plan_by_hand(&f, &shapes[0]);
    fixture_open(&f, &as_gpu, false);
    decode(&f, 0, 1000);
    assert_int_equal(engine_shape(&f.engine)->n_barriers, LAYERS * 5 + 1);
    assert_int_equal(engine_shape(&f.engine)->n_dispatches, LAYERS * 7 + 2);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_follows_from_its_inputs),   cmocka_unit_test(a_wrong_weight_is_seen),
        cmocka_unit_test(alone_or_fused_the_bits_are_the_same), cmocka_unit_test(capture_changes_nothing),
        cmocka_unit_test(a_chain_ends_with_the_cache),          cmocka_unit_test(five_levels_a_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
