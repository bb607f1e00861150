/* Tests of `lockstep invariants`: healthy models agree with themselves; what strikes one phase, one chunk or padded
 * tokens alone is found and named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stages.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"
#include "workbench/trace/trace.h"

SCRATCH_FIXTURE

#define GOLDEN LOCKSTEP_SOURCE_DIR "/golden/"

static void expect_run(int status, const char *words, const char *const *arguments)
{
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    expect_text(outcome.status == 2 || outcome.status == 3 ? outcome.err : outcome.out, words);
    assert_int_equal(outcome.status, status);
    outcome_free(&outcome);
}

/* Runs the engine with a fault; NULL: healthy. */
static void expect_engine(const char *model, const char *fault, int status, const char *words)
{
    char path[512];
    snprintf(path, sizeof(path), GOLDEN "%s", model);
    const char *const arguments[] = {"invariants", path, fault ? "--fault" : NULL, fault, NULL};
    expect_run(status, words, arguments);
}

static void models_agree_with_themselves(void **state)
{
    static const char *const models[] = {"tiny-gemma2", "tiny-gemma3-loud", "tiny-gpt-oss", "tiny-llama-q4_1.gguf"};
    (void)state;
    for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++) {
        expect_engine(models[i], NULL, 0, "they agree: 7 runs");
    }
}

/* Each strikes decode alone: the prefill passes beside it. */
static void a_phase_is_named(void **state)
{
    (void)state;
    expect_engine("tiny-gemma2", "attention-phase", 1,
                  "decode: layer 0 attn_out, token 1: attention-phase (reproduced)");
    expect_engine("tiny-gpt-oss", "kv-stale", 1, "decode: layer 0 attn_out, token 1: kv-stale (reproduced)");
    expect_engine("tiny-llama", "params-evicted", 1, "decode: embed, token 0: params-evicted (relation)");
}

/* Nothing shows in one batch; the first run in chunks is called by its positions. */
static void chunks_are_named(void **state)
{
    (void)state;
    expect_engine("tiny-gemma3", "chunk-offset-lost", 1,
                  "chunks of 1: layer 0 q_rope, token 1: positions (reproduced)");
    expect_engine("tiny-llama", "chunk-offset-lost", 1,
                  "they disagree: chunks of 1: layer 0 q_rope, token 1: positions");
}

/* One that strikes all runs alike is found in the first. */
static void what_all_runs_have_is_found_in_the_first(void **state)
{
    (void)state;
    expect_engine("tiny-gemma3", "embed-scale-missing", 1,
                  "they disagree: prefill: embed, token 0: embed-scale-missing");
}

static const char *record(char path[512], const char *name, const char *ids)
{
    struct outcome outcome;
    scratch_path(path, folder, name);
    const char *const arguments[] = {"trace", GOLDEN "tiny-llama", "--ids", ids, "-o", path, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    return path;
}

/* Writes a trace of first's rows, then second's: `first` may have fewer stages' rows, which then are not recorded. */
static const char *join(char path[512], const char *name, const char *first, const char *second)
{
    struct trace a, b, both;
    struct error err;
    assert_int_equal(trace_read(&a, first, &err), STATUS_OK);
    assert_int_equal(trace_read(&b, second, &err), STATUS_OK);
    uint32_t n = a.n_positions + b.n_positions;
    int32_t *tokens = calloc(n, sizeof(*tokens));
    uint8_t *phase = calloc(n, 1);
    memcpy(tokens, a.tokens, a.n_positions * sizeof(*tokens));
    memcpy(tokens + a.n_positions, b.tokens, b.n_positions * sizeof(*tokens));
    trace_init(&both, "both", b.model_type, b.n_layers, n, tokens, phase);
    for (uint32_t i = 0; i < b.n_stages; i++) {
        struct trace_stage *to = trace_add(&both, b.stages[i].layer, b.stages[i].stage, b.stages[i].width);
        for (uint32_t p = 0; p < a.n_positions; p++) {
            trace_set_row(&both, to, p, trace_row(&a.stages[i], p));
        }
        for (uint32_t p = 0; p < b.n_positions; p++) {
            trace_set_row(&both, to, a.n_positions + p, trace_row(&b.stages[i], p));
        }
    }
    assert_int_equal(trace_write(&both, scratch_path(path, folder, name), &err), STATUS_OK);
    free(tokens);
    free(phase);
    trace_free(&a);
    trace_free(&b);
    trace_free(&both);
    return path;
}

static void expect_traces(const char *a, const char *b, int status, const char *words)
{
    const char *const arguments[] = {"invariants", GOLDEN "tiny-llama", "--trace", a, "--trace", b, NULL};
    expect_run(status, words, arguments);
}

/* The second chunk of a prompt ran at the first one's positions, and without its keys. */
static void a_chunk_is_named(void **state)
{
    char whole[512], first[512], second[512], joined[512], shorter[512];
    (void)state;
    record(whole, "whole.h5", "1,2,3,4,5,6,7,8");
    record(shorter, "shorter.h5", "1,2,3,4,5");
    join(joined, "joined.h5", record(first, "1.h5", "1,2,3,4"), record(second, "2.h5", "5,6,7,8"));
    expect_traces(whole, shorter, 0, "they agree");
    expect_traces(whole, joined, 1, "layer 0 q_rope, token 4: positions (reproduced)");
}

/* Padding before the tokens: hidden by a mask, whatever stands in its rows; and seen. */
static void padding_is_found(void **state)
{
    char tokens[512], padding[512], masked[512], seen[512], other[512];
    (void)state;
    record(tokens, "tokens.h5", "1,2,3,4,5,6");
    join(masked, "masked.h5", record(padding, "padding.h5", "9,9,9"), tokens);
    record(seen, "seen.h5", "9,9,9,1,2,3,4,5,6");
    expect_traces(tokens, masked, 0, "behind 3 tokens of padding, which are not judged");
    expect_traces(tokens, seen, 1, "its tokens see the padding before them, no mask hides it");
    expect_traces(tokens, record(other, "other.h5", "5,6,7,8"), 3, "begin with other tokens");
    const char *const fault[] = {"invariants", GOLDEN "tiny-llama", "--trace",  tokens, "--trace",
                                 tokens,       "--fault",           "kv-stale", NULL};
    expect_run(2, "--trace: given with one of --prompt", fault);
    const char *const once[] = {"invariants", GOLDEN "tiny-llama", "--trace", tokens, NULL};
    expect_run(2, "--trace: given once, expected --trace A --trace B", once);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_agree_with_themselves),
        cmocka_unit_test(a_phase_is_named),
        cmocka_unit_test(chunks_are_named),
        cmocka_unit_test(what_all_runs_have_is_found_in_the_first),
        cmocka_unit_test(a_chunk_is_named),
        cmocka_unit_test(padding_is_found),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
