/* A GPU that is lost or times out during a command: the command fails with one line, the reference goes on, and set
 * device opens the engine again at its last position. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/internal.h"
#include "tests/support/prompt.h"
#include "workbench/debugger/run/run.h"

PROMPT_FIXTURE("golden/tiny-llama")

/* Types a line that must fail with STATUS_DEVICE, in one line. */
static void type_lost(struct prompt *prompt, const char *line, const char *text)
{
    struct error err = {STATUS_OK, ""};
    assert_int_equal(repl_run_line(&prompt->repl, line, &err), STATUS_DEVICE);
    if (strstr(err.text, text) == NULL || strchr(err.text, '\n') != NULL) {
        fail_msg("%s: %s, expected %s", line, err.text, text);
    }
}

static struct device *device(struct prompt *prompt)
{
    return engine_vulkan(&prompt->session.backend[SOURCE_ENGINE]);
}

static void lose(struct prompt *prompt)
{
    device(prompt)->lost = true; /* as after VK_ERROR_DEVICE_LOST or a timeout */
}

static const char restart[] = "restart --ids 3,17,99,204,5 -n 2";

/* Op by op, the engine stops where it was lost. */
static void a_lost_gpu(void **state)
{
    struct prompt *prompt = *state;
    struct repl *repl = &prompt->repl;
    uint32_t n, n_again;
    prompt_type(prompt, restart);
    prompt_type(prompt, "continue");
    float *rows = prompt_rows(prompt, &n);
    int32_t token = repl->tokens[6];
    prompt_type(prompt, "set fuse off");
    prompt_type(prompt, restart);
    prompt_type(prompt, "step layer 1");
    uint64_t point = repl_point(repl);
    lose(prompt);
    type_lost(prompt, "step layer 2", "engine: ");
    assert_int_equal(repl_point(repl), point); /* the session is unchanged */
    assert_true(repl_side_of(repl, SOURCE_ENGINE)->lost);
    prompt_type(prompt, "step layer 2"); /* the reference goes on */
    prompt_type(prompt, "back op 2");
    prompt_type(prompt, "continue");
    assert_true(repl_is_over(repl));
    assert_ptr_equal(repl_leader(repl), repl_side_of(repl, SOURCE_REFERENCE));
    assert_int_equal(repl->tokens[6], token);
    prompt_type(prompt, "set device 0");
    assert_false(repl_side_of(repl, SOURCE_ENGINE)->lost);
    assert_int_equal(repl_point(repl), point); /* where the engine ran last */
    assert_ptr_equal(repl_leader(repl), repl_side_of(repl, SOURCE_ENGINE));
    prompt_type(prompt, "continue");
    float *again = prompt_rows(prompt, &n_again);
    assert_int_equal(n, n_again);
    assert_memory_equal(rows, again, n * sizeof(float));
    assert_int_equal(repl->n_introduced, 0);
    free(rows);
    free(again);
}

/* The engine has made all of a batch at its first step. If it is lost then, that shows at the next batch. */
static void a_gpu_lost_behind_a_batch(void **state)
{
    struct prompt *prompt = *state;
    prompt_type(prompt, restart);
    prompt_type(prompt, "step layer 2");
    lose(prompt);
    prompt_type(prompt, "back layer");
    prompt_type(prompt, "step token");
    uint64_t point = repl_point(&prompt->repl);
    type_lost(prompt, "continue", "set device opens it again, the reference goes on without it");
    assert_int_equal(repl_point(&prompt->repl), point);
    prompt_type(prompt, "back layer");
    prompt_type(prompt, "step layer 2");
    prompt_type(prompt, "set device 0");
    prompt_type(prompt, "continue");
    assert_true(repl_is_over(&prompt->repl));
    assert_int_equal(prompt->repl.n_introduced, 0);
}

/* set device fails for a device that does not exist, and changes nothing. */
static void an_unknown_device_changes_nothing(void **state)
{
    struct prompt *prompt = *state;
    struct error err = {STATUS_OK, ""};
    prompt_type(prompt, restart);
    prompt_type(prompt, "step layer 1");
    uint64_t point = repl_point(&prompt->repl);
    assert_int_not_equal(repl_run_line(&prompt->repl, "set device 99", &err), STATUS_OK);
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(repl_point(&prompt->repl), point);
    prompt_type(prompt, "continue");
    assert_int_equal(prompt->repl.n_introduced, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lost_gpu, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_gpu_lost_behind_a_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_device_changes_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
