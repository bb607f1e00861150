/* Each kernel, the engine against the reference, at every size that selects another way to compute it: shader (a lane
 * or a workgroup per row of W), lanes of a workgroup, tile of rows, blocks, wide loads, chunks of keys. No value may
 * fail, and one that is wrong on purpose must fail. The bound is the audit's. */
#include "tests/engine/engine_fixture.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Opens a fixture for the steps of one kernel, with one way to compute a matmul or the device's choice. */
static struct fixture f;

static void start(void)
{
    fixture_init(&f, 640);
}

static uint32_t add(enum op op, uint32_t width, union step_params params, uint32_t in0, int64_t in1)
{
    uint32_t step = fixture_step(&f, op, width, params);
    f.plan.steps[step].input[0] = (int32_t)in0;
    f.plan.steps[step].input[1] = (int32_t)in1;
    return step;
}

/* Runs all steps for several numbers of rows. The last value of each output, moved by three bounds, must fail (moved by
 * one bit, if its bound is 0). */
static void check(const struct engine_limits *limits, const uint32_t *counts, unsigned n_counts, const char *what)
{
    double worst = 0;
    fixture_open(&f, limits, false);
    for (unsigned c = 0; c < n_counts; c++) {
        uint32_t n = counts[c];
        fixture_begin(&f, 0, n, n == 1);
        for (uint32_t i = 0; i < f.plan.n_steps; i++) {
            const struct step *step = &f.plan.steps[i];
            if (f.rows[i]) {
                continue;
            }
            float *rows = fixture_run(&f, i, n), *last = &rows[(uint64_t)n * step->width - 1];
            double ratio = fixture_ratio(&f, step, rows, 0, n, n == 1);
            if (!(ratio <= 1)) {
                fail_msg("%s: step %u, width %u, %u rows: ratio %g", what, i, step->width, n, ratio);
            }
            worst = ratio > worst ? ratio : worst;
            *last = nextafterf((float)(*last + 3 * f.last_bound), INFINITY);
            assert_true(fixture_ratio(&f, step, rows, 0, n, n == 1) > 1); /* the twin */
            free(rows);
        }
    }
    print_message("    %s: worst ratio %.3f\n", what, worst);
    fixture_close(&f);
}

static void add_matmul(uint32_t dtype, uint32_t layout, uint32_t n_in, uint32_t n_out)
{
    uint32_t input = fixture_input(&f, n_in);
    uint32_t step = add(OP_matmul, n_out, (union step_params){.matmul = {n_in, n_out, 0}}, input, -1);
    f.plan.steps[step].weight[0] = fixture_tensor_in(&f, dtype, layout, n_out, n_in);
}

/* Rows of a batch: 1 is decoding; from 2 on, tiles have 4 rows; from 16 on, 8 rows or the whole batch. */
static const uint32_t m[] = {1, 2, 4, 5, 16};

/* Every way that a device may choose. */
static void check_matmuls(void (*build)(void), const char *what)
{
    static const struct engine_limits ways[] = {{.matmul = MATMUL_CHOSEN},
                                                {.matmul = MATMUL_LANE, .tiles = TILES_NEVER},
                                                {.matmul = MATMUL_REDUCE, .tiles = TILES_NEVER},
                                                {.tiles = TILES_ALWAYS}};
    for (unsigned w = 0; w < COUNT(ways); w++) {
        start();
        build();
        check(&ways[w], m, COUNT(m), what);
    }
}

static void build_matmul_f32(void)
{
    /* Rows of odd length are read element by element, multiples of 4 by 16 bytes, multiples of 32 by blocks. From 4096
     * values on, four subgroups share a row. A workgroup computes two outputs from 16384 outputs on, and four from
     * 32768 on. */
    static const uint32_t sizes[][2] = {{1, 1},    {3, 5},   {4, 8},    {31, 33},  {32, 32},  {33, 31},   {64, 64},
                                        {127, 65}, {128, 9}, {1152, 7}, {4095, 2}, {4096, 3}, {8, 16384}, {8, 32771}};
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        add_matmul(DTYPE_F32, LAYOUT_ROWS, sizes[i][0], sizes[i][1]);
    }
}

static void matmul_f32(void **state)
{
    (void)state;
    check_matmuls(build_matmul_f32, "matmul f32");
}

static void build_matmul_q4k(void)
{
    add_matmul(DTYPE_Q4_K, LAYOUT_ROWS, 256, 1);
    add_matmul(DTYPE_Q4_K, LAYOUT_ROWS, 256, 33);
    add_matmul(DTYPE_Q4_K, LAYOUT_ROWS, 512, 64);
}

static void matmul_q4k(void **state)
{
    (void)state;
    check_matmuls(build_matmul_q4k, "matmul-q4k (M>1, K=256)");
}

/* 1152 is not a multiple of a block: rows are padded, packed in one stream, or stored by columns. 1280 is a multiple.
 */
static void build_matmul_q4k_large(void)
{
    add_matmul(DTYPE_Q4_K, LAYOUT_ROWS, 1152, 40);
    add_matmul(DTYPE_Q4_K, LAYOUT_PACKED, 1152, 40);
    add_matmul(DTYPE_Q4_K, LAYOUT_COLUMNS, 1152, 40);
    add_matmul(DTYPE_Q4_K, LAYOUT_ROWS, 1280, 33);
    add_matmul(DTYPE_Q4_K, LAYOUT_ROWS, 4096, 3);
}

static void matmul_q4k_large(void **state)
{
    (void)state;
    check_matmuls(build_matmul_q4k_large, "matmul-q4k-large (K=1152)");
}

static void build_dequant(void)
{
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        add_matmul(dtype, LAYOUT_ROWS, 256, 36);
    }
}

/* Each format as it is decoded for a product. The gather below decodes it element by element. */
static void dequant(void **state)
{
    (void)state;
    check_matmuls(build_dequant, "dequant");
}

/* The softmax is part of attention. It takes keys in chunks of 256, so numbers of keys just below, at and above 256 are
 * tried, with and without a window, a softcap and sinks. */
static void check_keys(const uint32_t *positions, unsigned n_positions, const char *what)
{
    double worst = 0;
    fixture_open(&f, &(struct engine_limits){0}, false);
    uint32_t next = 0;
    for (unsigned p = 0; p < n_positions; p++) {
        while (next < positions[p]) { /* earlier positions are prefilled */
            uint32_t n = positions[p] - next < 16 ? positions[p] - next : 16;
            fixture_begin(&f, next, n, false);
            next += n;
        }
        double ratio = fixture_check(&f, next, 1, true);
        worst = ratio > worst ? ratio : worst;
        next++;
    }
    print_message("    %s: worst ratio %.3f\n", what, worst);
    fixture_close(&f);
}

static void attention(void **state)
{
    (void)state;
    start();
    fixture_attention(&f, (struct attention_params){2, 1, 8, 0.3f, 0, 0, 0});
    fixture_attention(&f, (struct attention_params){4, 2, 24, 0.2f, 0, 0, 0});
    fixture_attention(&f, (struct attention_params){1, 1, 64, 0.125f, 0, 0, 0});
    fixture_attention(&f, (struct attention_params){1, 1, 256, 0.0625f, 0, 0, 0});
    check(&(struct engine_limits){0}, m, COUNT(m), "attention");
}

static void softmax(void **state)
{
    (void)state;
    static const uint32_t keys[] = {0, 1, 254, 255, 256, 257, 511, 512, 513};
    start();
    fixture_attention(&f, (struct attention_params){2, 1, 16, 0.25f, 0, 0, 0});
    fixture_attention(&f, (struct attention_params){2, 1, 16, 0.25f, 5, 0, 0});
    fixture_attention(&f, (struct attention_params){2, 1, 16, 0.25f, 0, 256, 0});
    fixture_attention(&f, (struct attention_params){2, 1, 16, 0.25f, 0, 257, 0});
    fixture_attention(&f, (struct attention_params){2, 1, 16, 0.25f, 0, 0, 1});
    check_keys(keys, COUNT(keys), "softmax");
}

static void rmsnorm(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 1024, 1025, 1152, 2048, 2049, 4097};
    start();
    for (unsigned i = 0; i < COUNT(dims); i++) {
        for (uint32_t groups = 1; groups <= 3; groups += 2) {
            struct rms_norm_params p = {groups, dims[i], 1e-6f, groups == 1 ? 1 : 0};
            uint32_t input = fixture_input(&f, groups * dims[i]);
            uint32_t step = add(OP_rms_norm, groups * dims[i], (union step_params){.rms_norm = p}, input, -1);
            f.plan.steps[step].weight[0] = fixture_tensor(&f, DTYPE_F32, 0, dims[i]);
        }
    }
    check(&(struct engine_limits){0}, m, COUNT(m), "rmsnorm");
}

static void rope(void **state)
{
    (void)state;
    static const uint32_t dims[] = {2, 6, 64, 128, 256};
    start();
    for (unsigned i = 0; i < COUNT(dims); i++) {
        for (uint32_t type = ROPE_TYPE_DEFAULT; type <= ROPE_TYPE_YARN; type++) {
            struct rope_params p = {.heads = 3,
                                    .dim = dims[i],
                                    .type = type,
                                    .theta = 10000,
                                    .factor = type == ROPE_TYPE_DEFAULT ? 1 : 8,
                                    .low = 1,
                                    .high = type == ROPE_TYPE_YARN ? 32 : 4,
                                    .original = 64,
                                    .scale = type == ROPE_TYPE_YARN ? 1.2f : 1};
            add(OP_rope, 3 * dims[i], (union step_params){.rope = p}, fixture_input(&f, 3 * dims[i]), -1);
        }
    }
    check(&(struct engine_limits){0}, m, COUNT(m), "rope");
}

/* Widths around the lanes of a workgroup. */
static const uint32_t widths[] = {1, 8, 63, 64, 65, 1000};

static void check_glu(uint32_t activation, const char *what)
{
    start();
    for (unsigned i = 0; i < COUNT(widths); i++) {
        uint32_t gate = fixture_input(&f, widths[i]), up = fixture_input(&f, widths[i]);
        add(OP_glu, widths[i], (union step_params){.glu = {widths[i], activation}}, gate, up);
    }
    check(&(struct engine_limits){0}, m, COUNT(m), what);
}

static void silu(void **state)
{
    (void)state;
    check_glu(ACTIVATION_SILU, "silu");
}

static void gelu(void **state)
{
    (void)state;
    check_glu(ACTIVATION_GELU_TANH, "gelu");
}

static void residual(void **state)
{
    (void)state;
    start();
    for (unsigned i = 0; i < COUNT(widths); i++) {
        uint32_t x = fixture_input(&f, widths[i]), branch = fixture_input(&f, widths[i]);
        add(OP_add, widths[i], (union step_params){.add = {widths[i]}}, x, branch);
    }
    check(&(struct engine_limits){0}, m, COUNT(m), "residual");
}

/* Rows of each format and layout, with and without a scale, whole and in slices of a few rows. */
static void gather(void **state)
{
    (void)state;
    for (unsigned sliced = 0; sliced < 2; sliced++) {
        start();
        for (unsigned i = 0; i < 64; i++) {
            f.tokens[i] = (int32_t)(i * 37 % 300);
        }
        for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
            struct embed_params p = {256, 300, dtype % 2 ? 16 : 1};
            uint32_t step = fixture_step(&f, OP_embed, 256, (union step_params){.embed = p});
            f.plan.steps[step].weight[0] = fixture_tensor(&f, dtype, 300, 256);
        }
        check(&(struct engine_limits){.max_binding = sliced ? 32768 : 0}, m, COUNT(m),
              sliced ? "gather, sliced" : "gather");
    }
}

static const struct {
    uint32_t n, k;
} choices[] = {{1, 1}, {4, 1}, {4, 4}, {8, 2}, {32, 4}, {33, 8}, {128, 4}};

static void topk(void **state)
{
    (void)state;
    start();
    for (unsigned i = 0; i < COUNT(choices); i++) {
        uint32_t n = choices[i].n, k = choices[i].k, logits = fixture_input(&f, n);
        add(OP_topk, k, (union step_params){.topk = {n, k}}, logits, -1);
        add(OP_topk_softmax, k, (union step_params){.topk_softmax = {n, k}}, logits, -1);
    }
    check(&(struct engine_limits){0}, m, COUNT(m), "topk");
}

/* The expert rows that each token gathers. The inputs that hold indices are overwritten with valid ones. */
static void moe_gather(void **state)
{
    (void)state;
    enum { EXPERTS = 6, K = 3 };
    static const uint32_t dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_MXFP4, DTYPE_Q8_0};
    for (unsigned sliced = 0; sliced < 2; sliced++) {
        double worst = 0;
        start();
        uint32_t logits = fixture_input(&f, EXPERTS);
        uint32_t indices = add(OP_topk, K, (union step_params){.topk = {EXPERTS, K}}, logits, -1);
        for (unsigned i = 0; i < COUNT(dtypes); i++) {
            for (uint32_t shared = 0; shared < 2; shared++) {
                uint32_t x = fixture_input(&f, shared ? 64 : K * 64), n_out = 8 * shared + 33;
                struct expert_matmul_params p = {EXPERTS, K, 64, n_out, shared, 1};
                uint32_t step = add(OP_expert_matmul, K * n_out, (union step_params){.expert_matmul = p}, x, indices);
                f.plan.steps[step].weight[0] = fixture_tensor(&f, dtypes[i], EXPERTS * n_out, 64);
                f.plan.steps[step].weight[1] = fixture_tensor(&f, DTYPE_F32, EXPERTS, n_out);
            }
        }
        fixture_open(&f, &(struct engine_limits){.max_binding = sliced ? 16384 : 0}, false);
        for (unsigned c = 0; c < COUNT(m); c++) {
            fixture_begin(&f, 0, m[c], m[c] == 1);
            float *places = fixture_run(&f, indices, m[c]); /* the experts that the topk kernel chose */
            f.rows[indices] = places;
            for (uint32_t i = indices + 1; i < f.plan.n_steps; i++) {
                if (f.rows[i]) {
                    continue;
                }
                float *rows = fixture_run(&f, i, m[c]);
                double ratio = fixture_ratio(&f, &f.plan.steps[i], rows, 0, m[c], m[c] == 1);
                if (!(ratio <= 1)) {
                    fail_msg("moe-gather: step %u, %u rows: ratio %g", i, m[c], ratio);
                }
                worst = ratio > worst ? ratio : worst;
                f.rows[indices][0] = f.rows[indices][0] == 0 ? 1 : 0; /* the twin: another expert's row */
                assert_true(fixture_ratio(&f, &f.plan.steps[i], rows, 0, m[c], m[c] == 1) > 1);
                f.rows[indices][0] = places[0];
                free(rows);
                float *again = fixture_run(&f, indices, m[c]);
                memcpy(places, again, (uint64_t)m[c] * K * sizeof(float));
                free(again);
            }
            free(places);
            f.rows[indices] = NULL;
        }
        print_message("    moe-gather%s: worst ratio %.3f\n", sliced ? ", sliced" : "", worst);
        fixture_close(&f);
    }
}

static void scatter_add(void **state)
{
    (void)state;
    static const uint32_t ks[] = {1, 2, 4, 8};
    start();
    for (unsigned i = 0; i < COUNT(ks); i++) {
        for (unsigned w = 0; w < COUNT(widths); w++) {
            uint32_t parts = fixture_input(&f, ks[i] * widths[w]), shares = fixture_input(&f, ks[i]);
            add(OP_expert_sum, widths[w], (union step_params){.expert_sum = {ks[i], widths[w]}}, parts, shares);
        }
    }
    check(&(struct engine_limits){0}, m, COUNT(m), "scatter-add");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_f32), cmocka_unit_test(matmul_q4k), cmocka_unit_test(matmul_q4k_large),
        cmocka_unit_test(attention),  cmocka_unit_test(rmsnorm),    cmocka_unit_test(softmax),
        cmocka_unit_test(rope),       cmocka_unit_test(silu),       cmocka_unit_test(gelu),
        cmocka_unit_test(gather),     cmocka_unit_test(dequant),    cmocka_unit_test(residual),
        cmocka_unit_test(topk),       cmocka_unit_test(moe_gather), cmocka_unit_test(scatter_add),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
