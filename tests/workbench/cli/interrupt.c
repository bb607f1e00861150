/* Ctrl-C ends a command within a second: in the middle of an op of hundreds of millions of products, in the audit of
 * one, and in a prefill on the engine; at the prompt as well. Commands leave no file behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"
#include "workbench/trace/trace.h"

#define SMOLLM2 ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
#define ROWS 32
#define HIDDEN 2048
#define VOCAB 131072

/* A busy machine may need more than a second to run anything, and a fast one may be done before Ctrl-C comes. Then the
 * test is tried again, with an earlier Ctrl-C. */
#define TRIES 6
#ifdef __SANITIZE_ADDRESS__
#define LIMIT 10.0
#else
#define LIMIT 1.0
#endif

SCRATCH_FOLDER

/* A Llama with one layer, all weights zero, and a wide vocabulary: the logits of 32 rows take 8.6 billion products. The
 * file is sparse. */
static void write_wide_model(const char *path)
{
    static const struct {
        const char *name;
        unsigned rows, columns; /* columns 0: a vector */
    } tensors[] = {
        {"model.embed_tokens.weight", VOCAB, HIDDEN},
        {"model.layers.0.self_attn.q_proj.weight", 64, HIDDEN},
        {"model.layers.0.self_attn.k_proj.weight", 64, HIDDEN},
        {"model.layers.0.self_attn.v_proj.weight", 64, HIDDEN},
        {"model.layers.0.self_attn.o_proj.weight", HIDDEN, 64},
        {"model.layers.0.mlp.gate_proj.weight", 64, HIDDEN},
        {"model.layers.0.mlp.up_proj.weight", 64, HIDDEN},
        {"model.layers.0.mlp.down_proj.weight", HIDDEN, 64},
        {"model.layers.0.input_layernorm.weight", HIDDEN, 0},
        {"model.layers.0.post_attention_layernorm.weight", HIDDEN, 0},
        {"model.norm.weight", HIDDEN, 0},
    };
    static const char config[] =
        "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 2048, \"num_attention_heads\": 1, "
        "\"num_key_value_heads\": 1, \"head_dim\": 64, \"intermediate_size\": 64, \"vocab_size\": 131072, "
        "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", \"attention_bias\": "
        "false, "
        "\"mlp_bias\": false, \"tie_word_embeddings\": true, \"rope_parameters\": {\"rope_theta\": 10000.0, "
        "\"rope_type\": \"default\"}, \"bos_token_id\": 1, \"eos_token_id\": 2, \"pad_token_id\": null}\n";
    char header[4096] = "{", file[512];
    uint64_t at = 0;
    for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]); i++) {
        uint64_t columns = tensors[i].columns, end = at + 2 * tensors[i].rows * (columns > 0 ? columns : 1);
        char shape[64];
        snprintf(shape, sizeof(shape), columns > 0 ? "%u,%u" : "%u", tensors[i].rows, tensors[i].columns);
        sprintf(header + strlen(header), "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
                i > 0 ? "," : "", tensors[i].name, shape, (unsigned long long)at, (unsigned long long)end);
        at = end;
    }
    strcat(header, "}");
    struct buffer bytes = {0};
    buffer_u64(&bytes, strlen(header));
    buffer_add(&bytes, header, strlen(header));
    scratch_write(scratch_path(file, path, "config.json"), config, strlen(config));
    scratch_write(scratch_path(file, path, "model.safetensors"), bytes.bytes, bytes.size);
    assert_int_equal(truncate(file, (off_t)(bytes.size + at)), 0);
    buffer_free(&bytes);
}

/* Writes a trace of its last norm and logits only, so that auditing it is one long op. */
static void write_wide_trace(const char *path)
{
    int32_t tokens[ROWS] = {0};
    uint8_t phase[ROWS] = {0};
    struct trace trace;
    trace_init(&trace, "test", "llama", 1, ROWS, tokens, phase);
    const struct {
        enum stage stage;
        uint32_t width;
    } stages[] = {{STAGE_final_norm, HIDDEN}, {STAGE_logits, VOCAB}};
    for (int i = 0; i < 2; i++) {
        struct trace_stage *stage = trace_add(&trace, LAYER_NONE, stages[i].stage, stages[i].width);
        memset(stage->rows, 0, (uint64_t)ROWS * stages[i].width * sizeof(float));
        memset(stage->recorded, 1, ROWS);
        stage->n_recorded = ROWS;
    }
    struct error err;
    assert_int_equal(trace_write(&trace, path, &err), STATUS_OK);
    trace_free(&trace);
}

static int set_up(void **state)
{
    (void)state;
    char path[512];
    /* Two threads: with all of many cores there is no long op. */
    assert_int_equal(setenv("OMP_NUM_THREADS", "2", 1), 0);
    scratch_make(folder);
    assert_int_equal(mkdir(scratch_path(path, folder, "wide"), 0777), 0);
    write_wide_model(path);
    return 0;
}

static void repeat_ids(char *text, int n, int step)
{
    strcpy(text, "1");
    for (int i = 1; i < n; i++) {
        sprintf(text + strlen(text), ",%d", 1 + i * step);
    }
}

static uint32_t files_in(const char *path)
{
    uint32_t n = 0;
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        n += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    }
    closedir(directory);
    return n;
}

/* Each of them is in one long op when Ctrl-C comes. */
static void commands_end(void **state)
{
    (void)state;
    char model[512], trace[512], out[512], json[512], ids[256];
    scratch_path(model, folder, "wide");
    scratch_path(out, folder, "out.h5");
    scratch_path(json, folder, "out.json");
    write_wide_trace(scratch_path(trace, folder, "trace.h5"));
    repeat_ids(ids, ROWS, 3);
    uint32_t n_files = files_in(folder);
    const char *const commands[][10] = {
        {"trace", model, "--ids", ids, "--on", "reference", "-o", out},
        {"run", model, "--ids", ids, "-n", "3", "--on", "reference"},
        {"audit", model, trace, "--json", json},
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        double seconds = LIMIT, after = 1.0;
        for (int k = 0; k < TRIES && seconds >= LIMIT; k++) {
            struct outcome outcome;
            seconds = program_interrupt(&outcome, LOCKSTEP_PROGRAM, after, commands[i]);
            if (outcome.status == 0) {
                seconds = LIMIT;
                after /= 2;
                (void)unlink(out);
                (void)unlink(json);
            } else {
                assert_int_equal(outcome.status, 130);
                expect_one_line(outcome.err, "interrupted");
                assert_string_equal(outcome.out, "");
            }
            outcome_free(&outcome);
        }
        print_message("%s: %.3f s\n", commands[i][0], seconds);
        assert_true(seconds < LIMIT);
        assert_int_equal(files_in(folder), n_files);
    }
}

/* The engine generates text, many tokens at a time. */
static void text_ends(void **state)
{
    (void)state;
    const char *const arguments[] = {"run", "golden/tiny-llama", "--ids", "1,2", "-n", "20000", NULL};
    double seconds = LIMIT;
    for (int k = 0; k < TRIES && seconds >= LIMIT; k++) {
        struct outcome outcome;
        seconds = program_interrupt(&outcome, LOCKSTEP_PROGRAM, 2.0, arguments);
        assert_int_equal(outcome.status, 130);
        expect_one_line(outcome.err, "interrupted");
        outcome_free(&outcome);
    }
    print_message("run on the engine: %.3f s\n", seconds);
    assert_true(seconds < LIMIT);
}

/* Types `continue` at the prompt, and Ctrl-C this many seconds after a text showed. Returns the seconds until the
 * prompt is back, or LIMIT if the run was over before. */
static double interrupt_at_prompt(struct terminal *terminal, const char *shows, useconds_t later)
{
    terminal_type(terminal, "restart\n");
    terminal_expect(terminal, "dbg> ");
    terminal_type(terminal, "continue\n");
    terminal_expect(terminal, shows);
    usleep(later);
    double start = now();
    terminal_type(terminal, "\x03");
    bool over = terminal_expect_either(terminal, "interrupted: the position is before", "the run is over") == 1;
    terminal_expect(terminal, "dbg> ");
    return over ? LIMIT : now() - start;
}

static void prompt_comes_back(const char *const arguments[], const char *shows)
{
    struct terminal terminal;
    double best = LIMIT;
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, arguments);
    terminal_expect(&terminal, "dbg> ");
    for (int i = 0; i < TRIES && best >= LIMIT; i++) {
        best = interrupt_at_prompt(&terminal, shows, 300000u >> i);
    }
    print_message("the prompt is back after %.3f s\n", best);
    assert_true(best < LIMIT);
    terminal_type(&terminal, "where\n");
    terminal_expect(&terminal, "stages ran; next is");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
}

static void one_long_op_at_the_prompt(void **state)
{
    (void)state;
    char model[512], ids[256];
    repeat_ids(ids, ROWS, 3);
    const char *const arguments[] = {
        "debug", scratch_path(model, folder, "wide"), "--on", "reference", "--ids", ids, "-n", "1", NULL};
    prompt_comes_back(arguments, "stage 16/19"); /* the layer has run; logits are next */
}

static void a_prefill_of_200_tokens(void **state)
{
    (void)state;
    char ids[2048];
    repeat_ids(ids, 200, 37);
    if (access(SMOLLM2, R_OK) != 0) {
        print_message(SMOLLM2 " is not there (./check fetches it): its prefill is not shown\n");
        skip();
    }
    const char *const arguments[] = {"debug", SMOLLM2, "--ids", ids, "-n", "1", NULL};
    prompt_comes_back(arguments, "stage 31/454");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_end),
        cmocka_unit_test(text_ends),
        cmocka_unit_test(one_long_op_at_the_prompt),
        cmocka_unit_test(a_prefill_of_200_tokens),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
