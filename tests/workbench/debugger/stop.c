/* Ctrl-C, by stop_ask(): the command fails with one line, the position stays, and what runs afterwards has the same
 * bits as an uninterrupted run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/stop.h"
#include "tests/support/prompt.h"
#include "workbench/debugger/run/run.h"

PROMPT_FIXTURE("golden/tiny-gemma3")

/* Types a line as if Ctrl-C had been pressed. */
static void type_stopped(struct prompt *prompt, const char *line)
{
    struct error err = {STATUS_OK, ""};
    uint64_t point = repl_point(&prompt->repl);
    stop_ask();
    assert_int_equal(repl_run_line(&prompt->repl, line, &err), STATUS_INTERRUPTED);
    stop_clear();
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(repl_point(&prompt->repl), point);
    assert_int_equal(prompt->repl.n_introduced, 0);
}

static const char restart[] =
    "restart --ids 3,17,99,204,5,61,300,7,42,11,23,400,8,77,150,9,3,17,99,204,5,61,300,7 -n 2";

static void stopped_anywhere_the_bits_are_the_same(void **state)
{
    struct prompt *prompt = *state;
    uint32_t n, n_again;
    prompt_type(prompt, restart);
    prompt_type(prompt, "continue");
    float *rows = prompt_rows(prompt, &n);
    prompt_type(prompt, restart);
    prompt_type(prompt, "step layer 1");
    static const char *const lines[] = {"step token", "step layer 3", "step", "audit", "continue"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        type_stopped(prompt, lines[i]);
        prompt_type(prompt, i % 2 == 0 ? "step op 3" : "step layer");
    }
    prompt_type(prompt, "continue");
    float *again = prompt_rows(prompt, &n_again);
    assert_int_equal(n, n_again);
    assert_memory_equal(rows, again, n * sizeof(float));
    prompt_type(prompt, "back token");
    prompt_type(prompt, "patch ffn_down@2 scale 2"); /* the twin: other bits */
    prompt_type(prompt, "continue");
    free(again);
    again = prompt_rows(prompt, &n_again);
    assert_memory_not_equal(rows, again, n * sizeof(float));
    free(rows);
    free(again);
}

/* Ctrl-C while weights are decoded on load. */
static void opening_stops(void **state)
{
    (void)state;
    struct session session;
    struct error err = {STATUS_OK, ""};
    struct session_options options = {.engine = true, .max_positions = 64, .weights = "f32"};
    stop_ask();
    assert_int_equal(session_open(&session, "golden/tiny-llama-q4_1.gguf", &options, &err), STATUS_INTERRUPTED);
    stop_clear();
    assert_int_equal(session_open(&session, "golden/tiny-llama-q4_1.gguf", &options, &err), STATUS_OK);
    session_close(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stopped_anywhere_the_bits_are_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opening_stops, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
