/* Traces in memory and in files: a file is read as it was written, is the same bytes each time, and is written
 * completely or not at all. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/scratch.h"

SCRATCH_FIXTURE

static bool same_files(const char *a, const char *b)
{
    static char bytes[2][1 << 16];
    size_t size_a = scratch_read(a, bytes[0], sizeof(bytes[0])), size_b = scratch_read(b, bytes[1], sizeof(bytes[1]));
    return size_a == size_b && memcmp(bytes[0], bytes[1], size_a) == 0;
}

static uint32_t files_in_folder(void)
{
    uint32_t n = 0;
    DIR *opened = opendir(folder);
    assert_non_null(opened);
    for (struct dirent *entry; (entry = readdir(opened));) {
        n += entry->d_name[0] != '.';
    }
    closedir(opened);
    return n;
}

/* Makes a trace with everything that a file can hold: missing rows, several arithmetics, digests, nonfinite values. */
static void make_trace(struct trace *trace)
{
    static const int32_t tokens[] = {5, 0, 262143, 7};
    static const uint8_t phase[] = {0, 0, 1, 1};
    trace_init(trace, "made", "gemma3_text", 12, 4, tokens, phase);
    memset(trace->weights_sha256, 'a', 64);
    memset(trace->config_sha256, '0', 64);
    assert_true(float_type("bfloat16", &trace->arith.u_storage, &trace->arith.eta));
    trace->weights_dtype = DTYPE_BF16;
    static const struct {
        int32_t layer;
        enum stage stage;
    } stages[] = {
        {-1, STAGE_logits_final}, {10, STAGE_q_proj}, {2, STAGE_ffn_act}, {-1, STAGE_embed}, {2, STAGE_attn_norm}};
    for (size_t i = 0; i < 5; i++) {
        struct trace_stage *stage = trace_add(trace, stages[i].layer, stages[i].stage, 3 + (uint32_t)i);
        for (uint32_t p = 0; p < 4; p++) {
            float row[8] = {(float)p, -0.0f, NAN, INFINITY, 1e-40f, (float)i};
            if (stages[i].layer != 10 || p == 1 || p == 3) {
                trace_set_row(trace, stage, p, row);
            }
        }
    }
    struct trace_stage *other = trace_find(trace, 2, STAGE_ffn_act);
    other->arith.roundings = (struct roundings){.operands = ROUNDING_F16,
                                                .values = ROUNDING_BF16,
                                                .scores = ROUNDING_F16,
                                                .shifted = ROUNDING_F16,
                                                .probs = ROUNDING_BF16};
    trace->arith.roundings.keys_values = ROUNDING_Q4_0;
    other->arith.u_storage = arith_float32.u_storage;
    other->arith.eta = arith_float32.eta;
    assert_true(float_type("float16", &other->arith.u_sum, &(double){0}));
    other->weights_dtype = DTYPE_F32;
    /* Decode rows of the file keep values in f16; of one stage they store f16, of another they do as all rows. */
    trace->decode_differs = other->decode_differs = true;
    trace->decode = trace->arith;
    trace->decode.roundings.values = ROUNDING_F16;
    other->decode = other->arith;
    assert_true(float_type("float16", &other->decode.u_storage, &other->decode.eta));
    struct trace_stage *third = trace_find(trace, 2, STAGE_attn_norm);
    third->decode_differs = true;
    third->arith = third->decode = trace->arith;
}

static void expect_equal_arith(const struct arith *a, const struct arith *b)
{
    assert_true(a->u_storage == b->u_storage && a->eta == b->eta && a->u_sum == b->u_sum);
    assert_true(roundings_equal(&a->roundings, &b->roundings));
}

static void expect_equal(const struct trace *a, const struct trace *b)
{
    assert_string_equal(a->model_type, b->model_type);
    assert_string_equal(a->producer, b->producer);
    assert_string_equal(a->weights_sha256, b->weights_sha256);
    assert_string_equal(a->config_sha256, b->config_sha256);
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->n_positions, b->n_positions);
    assert_int_equal(a->n_stages, b->n_stages);
    assert_int_equal(a->weights_dtype, b->weights_dtype);
    assert_memory_equal(a->tokens, b->tokens, a->n_positions * sizeof(*a->tokens));
    assert_memory_equal(a->phase, b->phase, a->n_positions);
    for (uint32_t i = 0; i < a->n_stages; i++) {
        const struct trace_stage *x = &a->stages[i], *y = &b->stages[i];
        assert_int_equal(x->layer, y->layer);
        assert_int_equal(x->stage, y->stage);
        assert_int_equal(x->width, y->width);
        assert_int_equal(x->n_recorded, y->n_recorded);
        assert_int_equal(x->weights_dtype, y->weights_dtype);
        assert_memory_equal(&x->arith, &y->arith, sizeof(x->arith));
        expect_equal_arith(trace_stage_declared(x, PHASE_DECODE), trace_stage_declared(y, PHASE_DECODE));
        assert_memory_equal(x->recorded, y->recorded, a->n_positions);
        for (uint32_t p = 0; p < a->n_positions; p++) {
            assert_int_equal(trace_row(x, p) != NULL, trace_row(y, p) != NULL);
            if (trace_row(x, p)) {
                assert_memory_equal(trace_row(x, p), trace_row(y, p), x->width * sizeof(float));
            }
        }
    }
}

static void test_plan_order_and_lookup(void **state)
{
    (void)state;
    struct trace trace;
    make_trace(&trace);
    static const int32_t layers[] = {-1, 2, 2, 10, -1};
    for (uint32_t i = 0; i < trace.n_stages; i++) {
        assert_int_equal(trace.stages[i].layer, layers[i]);
    }
    assert_int_equal(trace.stages[0].stage, STAGE_embed);
    assert_int_equal(trace.stages[4].stage, STAGE_logits_final);
    assert_ptr_equal(trace_find(&trace, 10, STAGE_q_proj), &trace.stages[3]);
    assert_null(trace_find(&trace, 10, STAGE_k_proj));
    assert_null(trace_find(&trace, 11, STAGE_q_proj));
    assert_null(trace_row(&trace.stages[3], 0));
    assert_true(isnan(trace.stages[3].rows[0]));
    assert_ptr_equal(trace_row(&trace.stages[3], 1), trace.stages[3].rows + trace.stages[3].width);
    assert_int_equal(trace.stages[3].n_recorded, 2);
    assert_ptr_equal(trace_add(&trace, 10, STAGE_q_proj, 4), &trace.stages[3]);
    assert_int_equal(trace.n_stages, 5);
    trace_free(&trace);
}

/* A trace written twice gives the same bytes; read and written again, the same bytes and values. */
static void test_round_trip(void **state)
{
    (void)state;
    char first[512], second[512], third[512];
    struct trace made, read;
    make_trace(&made);
    assert_int_equal(trace_write(&made, scratch_path(first, folder, "a.h5"), NULL), STATUS_OK);
    assert_int_equal(trace_write(&made, scratch_path(second, folder, "b.h5"), NULL), STATUS_OK);
    assert_true(same_files(first, second));
    assert_int_equal(trace_read(&read, first, NULL), STATUS_OK);
    expect_equal(&made, &read);
    assert_int_equal(trace_write(&read, scratch_path(third, folder, "c.h5"), NULL), STATUS_OK);
    assert_true(same_files(first, third));
    read.stages[0].rows[0] += 1;
    assert_int_equal(trace_write(&read, third, NULL), STATUS_OK);
    assert_false(same_files(first, third));
    trace_free(&read);
    trace_free(&made);
}

static void test_goldens_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"tiny-llama", "tiny-gemma3"};
    char path[512];
    for (size_t m = 0; m < 2; m++) {
        struct small_model small;
        struct trace read;
        small_open(&small, names[m], NULL);
        assert_int_equal(small.golden.n_stages, small.plan.n_steps);
        assert_int_equal(trace_check_plan(&small.golden, &small.plan, NULL), STATUS_OK);
        assert_int_equal(trace_write(&small.golden, scratch_path(path, folder, "golden.h5"), NULL), STATUS_OK);
        assert_int_equal(trace_read(&read, path, NULL), STATUS_OK);
        expect_equal(&small.golden, &read);
        trace_free(&read);
        small_close(&small);
    }
}

/* A failed write leaves the earlier file as it was, and no other file. */
static void test_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    char path[512], kept[512];
    struct trace trace;
    struct error err = {0};
    struct rlimit old, small = {2000, 2000};
    make_trace(&trace);
    assert_int_equal(trace_write(&trace, scratch_path(path, folder, "old.h5"), &err), STATUS_OK);
    assert_int_equal(trace_write(&trace, scratch_path(kept, folder, "kept.h5"), &err), STATUS_OK);
    uint32_t n_files = files_in_folder();
    trace.stages[0].rows[0] = 17;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    enum status status = trace_write(&trace, path, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, STATUS_IO);
    assert_non_null(strstr(err.text, "old.h5"));
    assert_true(same_files(path, kept));
    assert_int_equal(files_in_folder(), n_files);
    assert_int_equal(trace_write(&trace, path, &err), STATUS_OK);
    assert_false(same_files(path, kept));
    assert_int_equal(files_in_folder(), n_files);
    trace_free(&trace);
}

static void test_where_nothing_can_be_written(void **state)
{
    (void)state;
    char path[512];
    struct trace trace;
    struct error err = {0};
    make_trace(&trace);
    assert_int_equal(trace_write(&trace, scratch_path(path, folder, "no/such/folder.h5"), &err), STATUS_IO);
    assert_non_null(strstr(err.text, "folder.h5"));
    assert_int_equal(trace_write(&trace, folder, &err), STATUS_IO);
    assert_int_equal(trace_write(&trace, "/dev/null", &err), STATUS_IO);
    trace_free(&trace);
}

/* A symbolic link stays one, and the file that it points to is replaced. */
static void test_link_is_followed(void **state)
{
    (void)state;
    char path[512], link[512];
    struct stat info;
    struct trace trace;
    make_trace(&trace);
    scratch_write(scratch_path(path, folder, "target.h5"), "old", 3);
    assert_int_equal(symlink("target.h5", scratch_path(link, folder, "link.h5")), 0);
    assert_int_equal(trace_write(&trace, link, NULL), STATUS_OK);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_size > 1000);
    trace_free(&trace);
}

/* A trace of another plan or of other tokens than the golden's is refused; the error says what differs and where. */
static void test_checks(void **state)
{
    (void)state;
    struct small_model llama, gemma;
    struct error err = {0};
    small_open(&llama, "tiny-llama", NULL);
    small_open(&gemma, "tiny-gemma3", NULL);
    assert_int_equal(trace_check_plan(&gemma.golden, &llama.plan, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "n_layers"));
    struct trace copy;
    trace_copy(&copy, &llama.golden);
    assert_int_equal(trace_check_same_tokens(&copy, &llama.golden, &err), STATUS_OK);
    trace_add(&copy, 1, STAGE_q_norm, 64);
    assert_int_equal(trace_check_plan(&copy, &llama.plan, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "layer 1 q_norm"));
    copy.tokens[4]++;
    assert_int_equal(trace_check_same_tokens(&copy, &llama.golden, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "position 4"));
    copy.tokens[4] = 512;
    assert_int_equal(trace_check_plan(&copy, &llama.plan, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "token 512"));
    copy.tokens[4] = llama.golden.tokens[4];
    copy.phase[9] = PHASE_DECODE;
    assert_int_equal(trace_check_same_tokens(&copy, &llama.golden, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "position 9 is phase 1"));
    trace_free(&copy);
    trace_init(&copy, "wide", "llama", 4, 1, llama.golden.tokens, llama.golden.phase);
    assert_int_equal(trace_check_same_tokens(&copy, &llama.golden, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "position 1 "));
    trace_add(&copy, 0, STAGE_q_proj, 65);
    assert_int_equal(trace_check_plan(&copy, &llama.plan, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, "65 values, expected 64"));
    trace_free(&copy);
    small_close(&llama);
    small_close(&gemma);
}

/* The rows of a fused product are refused with what to slice. The twin: rows of another width are not said to be one.
 */
static void test_fused_products(void **state)
{
    (void)state;
    static const struct {
        enum stage stage;
        uint32_t width;
        const char *says;
    } cases[] = {
        {STAGE_q_proj, 128, "x[:, 0:64] as q_proj, x[:, 64:96] as k_proj, x[:, 96:128] as v_proj"},
        {STAGE_v_proj, 64, "x[:, 0:32] as k_proj, x[:, 32:64] as v_proj"},
        {STAGE_ffn_up, 320, "x[:, 0:160] as ffn_gate, x[:, 160:320] as ffn_up"},
        {STAGE_q_proj, 127, NULL},
        {STAGE_ffn_down, 320, NULL},
    };
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct trace trace;
        struct error err = {0};
        trace_init(&trace, "fused", "llama", 4, 2, small.golden.tokens, small.golden.phase);
        trace_add(&trace, 1, cases[i].stage, cases[i].width);
        assert_int_equal(trace_check_plan(&trace, &small.plan, &err), STATUS_BAD_INPUT);
        assert_int_equal(strstr(err.text, "of a fused product") != NULL, cases[i].says != NULL);
        assert_true(cases[i].says == NULL || strstr(err.text, cases[i].says) != NULL);
        trace_free(&trace);
    }
    small_close(&small);
}

/* Where one of two traces has one token more at the front, the refusal says so. The twin: tokens that differ otherwise.
 */
static void test_tokens_that_are_shifted(void **state)
{
    (void)state;
    static const struct {
        int32_t tokens[4];
        const char *says;
    } cases[] = {
        {{2, 2, 17, 101}, "stands twice"},
        {{9, 2, 17, 101}, "is not in the golden"},
        {{17, 101, 44, 7}, "the golden's first token, BOS as a rule, is missing"},
        {{2, 17, 102, 44}, NULL},
    };
    static const int32_t golden_tokens[] = {2, 17, 101, 44};
    static const uint8_t phase[4] = {0};
    struct trace golden;
    trace_init(&golden, "golden", "llama", 4, 4, golden_tokens, phase);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct trace trace;
        struct error err = {0};
        trace_init(&trace, "shifted", "llama", 4, 4, cases[i].tokens, phase);
        assert_int_equal(trace_check_same_tokens(&trace, &golden, &err), STATUS_BAD_INPUT);
        assert_int_equal(strstr(err.text, "BOS") != NULL, cases[i].says != NULL);
        assert_true(cases[i].says == NULL || strstr(err.text, cases[i].says) != NULL);
        trace_free(&trace);
    }
    trace_free(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_order_and_lookup),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_goldens_round_trip),
        cmocka_unit_test(test_failed_write_leaves_the_old_file),
        cmocka_unit_test(test_where_nothing_can_be_written),
        cmocka_unit_test(test_link_is_followed),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_fused_products),
        cmocka_unit_test(test_tokens_that_are_shifted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
