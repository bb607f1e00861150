/* The choice among the kernels that can make a stage: each of them is right on small models and is called by its name;
 * what cannot run is refused; and the audit judges the kernel that was chosen, not another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/prompt.h"
#include "tests/support/scratch.h"
#include "workbench/session/step_kernel.h"

#define MODEL "golden/tiny-gemma3"
#define GOLDEN "golden/tiny-gemma3.h5"

SCRATCH_FIXTURE

/* The batches of the run that a test steps through. */
#define PROMPT_ROWS 7
static const uint32_t row_counts[] = {PROMPT_ROWS, 1};

/* The kernel made the stage's rows in every batch of n_rows, by the notes of the prompt and by `info plan`. */
static void expect_made_by(const struct repl *repl, enum stage stage, enum stage_kernel kernel, uint32_t n_rows)
{
    char file[64], text[STEP_KERNEL_SIZE];
    uint32_t n_found = 0;
    snprintf(file, sizeof(file), "%s.comp", stage_kernel_name(kernel));
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        const struct repl_batch *batch = &repl->batches[b];
        for (uint32_t s = 0; batch->n_rows == n_rows && s < repl->plan->n_steps; s++) {
            const struct step *step = &repl->plan->steps[s];
            if (step->stage == stage) {
                step_kernel_write_name(&batch->kernels[s], text);
                assert_string_equal(text, file);
                step_kernel_text(&repl->session->backend[SOURCE_ENGINE], n_rows, step, false, text);
                assert_int_equal(strncmp(text, file, strlen(file)), 0);
                n_found++;
            }
        }
    }
    assert_true(n_found > 0);
}

/* What can make each stage, and what does where nothing is chosen, in batches of row_counts[]. */
struct table {
    uint32_t possible[2][STAGE_COUNT], used[2][STAGE_COUNT];
};

static void table_read(struct table *table, const struct backend *engine)
{
    const struct kernel_choices none = {0};
    struct error err;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(engine_possible_kernels(engine, row_counts[i], table->possible[i], &err), STATUS_OK);
        assert_int_equal(engine_used_kernels(engine, row_counts[i], &none, table->used[i], &err), STATUS_OK);
    }
}

/* Whether a kernel can make a stage, and does not where nothing is chosen, in batches of row_counts[i]. */
static bool is_choice(const struct table *table, int i, unsigned stage, unsigned kernel)
{
    return table->possible[i][stage] & ~table->used[i][stage] & 1u << kernel;
}

/* Chooses a kernel, or "auto", for each stage that it can make. */
static void choose(struct prompt *prompt, const struct table *table, unsigned kernel, const char *name)
{
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        if (is_choice(table, 0, stage, kernel) || is_choice(table, 1, stage, kernel)) {
            char line[128];
            snprintf(line, sizeof(line), "set kernel %s %s", stage_name((enum stage)stage), name);
            prompt_type(prompt, line);
        }
    }
}

/* Has a kernel make each stage that it can make. Returns how many those are, over both sizes of a batch. */
static uint32_t try_kernel(struct prompt *prompt, const struct table *table, enum stage_kernel kernel)
{
    uint32_t n = 0;
    choose(prompt, table, kernel, stage_kernel_name(kernel));
    prompt_type(prompt, "continue");
    for (int i = 0; i < 2; i++) {
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
            if (is_choice(table, i, stage, kernel)) {
                expect_made_by(&prompt->repl, (enum stage)stage, kernel, row_counts[i]);
                n++;
            }
        }
    }
    if (prompt->repl.n_introduced > 0) {
        fprintf(stderr, "%s introduces an error\n", stage_kernel_name(kernel));
    }
    assert_int_equal(prompt->repl.n_introduced, 0);
    prompt_type(prompt, "restart");
    choose(prompt, table, kernel, "auto");
    return n;
}

static void each_is_right(const char *model, uint32_t n_expected)
{
    struct prompt prompt;
    struct table table;
    uint32_t n = 0, n_values;
    assert_int_equal(prompt_open(&prompt, model), 0);
    table_read(&table, &prompt.session.backend[SOURCE_ENGINE]);
    prompt_type(&prompt, "restart --ids 3,17,99,204,5,61,30 -n 2");
    prompt_type(&prompt, "continue");
    float *before = prompt_rows(&prompt, &n_values);
    prompt_type(&prompt, "restart");
    for (unsigned kernel = KERNEL_AUTO + 1; kernel < KERNEL_COUNT; kernel++) {
        bool any = false;
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
            any = any || is_choice(&table, 0, stage, kernel) || is_choice(&table, 1, stage, kernel);
        }
        n += any ? try_kernel(&prompt, &table, (enum stage_kernel)kernel) : 0;
    }
    print_message("%s: %u choices\n", model, n);
    assert_true(n >= n_expected);
    prompt_type(&prompt, "continue");
    float *after = prompt_rows(&prompt, &n_values); /* auto takes every choice back */
    assert_memory_equal(before, after, n_values * sizeof(float));
    free(before);
    free(after);
    prompt_close(&prompt);
}

/* During a run, a choice runs all again as far as the position goes, and auto gives the same bits back. */
static void a_run_is_made_again(void **state)
{
    (void)state;
    struct prompt prompt;
    uint32_t n;
    assert_int_equal(prompt_open(&prompt, MODEL), 0);
    int32_t q_proj = plan_find(prompt.repl.plan, 0, STAGE_q_proj);
    prompt_type(&prompt, "restart --ids 3,17,99,204,5,61,30 -n 2");
    prompt_type(&prompt, "continue");
    float *before = prompt_rows(&prompt, &n);
    enum stage_kernel decoded_by = stage_kernel_by_name(prompt.repl.batches[1].kernels[q_proj].shader);
    prompt_type(&prompt, "set kernel q_proj matmul_tile");
    expect_made_by(&prompt.repl, STAGE_q_proj, KERNEL_matmul_tile, PROMPT_ROWS);
    expect_made_by(&prompt.repl, STAGE_q_proj, decoded_by, 1); /* a tile has several rows */
    float *between = prompt_rows(&prompt, &n);
    assert_memory_not_equal(before, between, n * sizeof(float)); /* another order of sums */
    prompt_type(&prompt, "set kernel q_proj auto");
    float *after = prompt_rows(&prompt, &n);
    assert_memory_equal(before, after, n * sizeof(float));
    assert_int_equal(prompt.repl.n_introduced, 0);
    free(before);
    free(between);
    free(after);
    prompt_close(&prompt);
}

static void each_kernel_is_right(void **state)
{
    (void)state;
    each_is_right("golden/tiny-gemma3", 40);
    each_is_right("golden/tiny-gpt-oss", 20);
}

/* diff must refuse these options as wrong usage, in one line with the text. */
static void expect_diff_refuses(const char *const options[4], const char *text)
{
    struct outcome outcome;
    const char *const arguments[] = {"diff",     MODEL,      "--golden", GOLDEN, options[0],
                                     options[1], options[2], options[3], NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, STATUS_USAGE);
    expect_one_line(outcome.err, text);
    outcome_free(&outcome);
}

static void expect_kernel_refused(const char *choice, const char *text)
{
    expect_diff_refuses((const char *const[4]){"--kernel", choice}, text);
}

static void what_cannot_run_is_refused(void **state)
{
    (void)state;
    expect_kernel_refused("q_proj", "expected STAGE=KERNEL");
    expect_kernel_refused("q_prj=matmul", "\"q_prj\", expected a stage");
    expect_kernel_refused("q_proj=matmull", "\"matmull\" is no kernel");
    expect_kernel_refused("router_logits=matmul", "this model has no such stage");
    expect_kernel_refused("attn_out=matmul", "attention_join");
    expect_kernel_refused("q_norm=rope", "expected one of rms_norm, head_norm_rope");
    expect_diff_refuses((const char *const[4]){"--on", "reference", "--kernel", "q_proj=matmul"},
                        "the engine, which does not run");
    /* The one asks for gate and up alone, the other for both together. */
    expect_diff_refuses((const char *const[4]){"--kernel", "ffn_gate=matmul_reduce", "--kernel", "ffn_act=matmul_glu"},
                        "beside the other kernels");
    /* A tile has several rows; this run computes one at a time. */
    struct outcome outcome;
    const char *const run[] = {"run", MODEL, "--ids", "3", "-n", "2", "--kernel", "q_proj=matmul_tile", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
    assert_int_equal(outcome.status, STATUS_USAGE);
    expect_one_line(outcome.err, "q_proj cannot be made by matmul_tile, in batches of 1 row");
    outcome_free(&outcome);
    /* At the prompt the session stays as it was. */
    const char *const debug[] = {"debug", MODEL, "--golden", GOLDEN, NULL};
    program_converse(&outcome, LOCKSTEP_PROGRAM,
                     "step 1\nset kernel q_proj embed\nset kernel q_proj\nshow\nset kernel\nstep layer 0\n", debug);
    expect_text(outcome.err, "kernel: q_proj cannot be made by embed");
    expect_text(outcome.err, "expected: set ");
    expect_text(outcome.out, "kernels  as suits the device");
    expect_text(outcome.out, "batches of 10 rows: stage, its kernel, and others that can make it");
    expect_text(outcome.out, "batches of 1 row: stage");
    outcome_free(&outcome);
}

/* One kernel is broken. Where it is chosen, the audit finds it; where it is not, nothing is wrong: the twin. */
static void the_chosen_kernel_is_judged(void **state)
{
    (void)state;
    char command[2048], lines[2048];
    snprintf(command, sizeof(command),
             "cd %s && mkdir bad && cp %s/shaders/* bad && sed -i 's/sum\\[r\\]\\[c\\] = 0.0;/sum[r][c] = 3.0;/' "
             "bad/matmul_tile.comp && ! cmp -s bad/matmul_tile.comp %s/shaders/matmul_tile.comp",
             folder, LOCKSTEP_SOURCE_DIR, LOCKSTEP_SOURCE_DIR);
    assert_int_equal(system(command), 0);
    snprintf(lines, sizeof(lines),
             "set shaders %s/bad\nreload shaders\nrun 1\naudit\nset kernel ffn_down matmul_tile\nassert parity\nfirst\n"
             "show\nset kernel ffn_down auto\naudit\n",
             folder);
    struct outcome outcome;
    const char *const debug[] = {"debug", MODEL, "--golden", GOLDEN, NULL};
    program_converse(&outcome, LOCKSTEP_PROGRAM, lines, debug);
    expect_text(outcome.out, "ffn_down: matmul_tile in batches of 10 rows, ");
    expect_text(outcome.err, "assert parity: diverged: engine, layer 0 ffn_down");
    expect_text(outcome.out, "matmul_tile.comp, dispatch ");
    expect_text(outcome.out, "kernels  ffn_down=matmul_tile\n");
    const char *parity = strstr(outcome.out, "as diff judges them: parity");
    assert_non_null(parity);
    expect_text(parity + 1, "as diff judges them: parity");
    assert_int_equal(outcome.status, STATUS_DIVERGED); /* the assert failed, although the lines after it ran */
    outcome_free(&outcome);
}

static void run_diff_and_bench_take_it(void **state)
{
    (void)state;
    struct outcome outcome;
    const char *const diff[] = {
        "diff", MODEL, "--golden", GOLDEN, "--kernel", "ffn_down=matmul_tile", "--fault", "weight-spike@2.ffn_down",
        NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", diff);
    assert_int_equal(outcome.status, STATUS_DIVERGED);
    expect_text(outcome.out, "matmul_tile.comp, dispatch ");
    expect_text(outcome.out, "--kernel ffn_down=matmul_tile"); /* the command that opens the prompt */
    outcome_free(&outcome);
    const char *const bench[] = {"bench",    MODEL,           "-p",     "4", "-n", "2",
                                 "--kernel", "q_proj=matvec", "--json", "-", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", bench);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "\"chosen_kernels\": {\n  \"q_proj\": \"matvec\"\n }");
    outcome_free(&outcome);
    const char *const run[] = {"run", MODEL, "--ids", "3,17,99", "-n", "2", "--kernel", "attn_out=attention_join",
                               NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kernel_is_right),
        cmocka_unit_test(a_run_is_made_again),
        cmocka_unit_test(what_cannot_run_is_refused),
        cmocka_unit_test_setup_teardown(the_chosen_kernel_is_judged, set_up, tear_down),
        cmocka_unit_test(run_diff_and_bench_take_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
