/* Ten blind hunts on a terminal. A hider plants a known bug in a layer of its choice; a hunter who sees the terminal
 * alone types the same commands whatever the bug is, three at most. The answer must name layer, stage and bug. The twin
 * judges a hunt by what the hider of another one hid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"
#include "workbench/session/fault_check.h"

SCRATCH_FIXTURE

static const struct {
    const char *model, *fault;
} hunts[] = {
    {"tiny-llama", "softmax-sizes-swapped"},    {"tiny-gemma3", "qk-norm-no-offset"},
    {"tiny-gemma2", "attn-softcap-missing"},    {"tiny-gpt-oss", "sinks-missing"},
    {"tiny-gemma3", "residual-dropped"},        {"tiny-gpt-oss", "gate-up-halves"},
    {"tiny-llama-odd", "rope-interleaved"},     {"tiny-gemma2", "layernorm-for-rmsnorm"},
    {"tiny-gpt-oss-odd", "topk-after-softmax"}, {"tiny-llama", "kv-stale"},
};
#define N_HUNTS (sizeof(hunts) / sizeof(hunts[0]))

/* What the hider knows. */
struct secret {
    char fault[64]; /* as --fault takes it */
    char where[64]; /* "layer 17 attn_out" */
    const char *name;
};

/* Plants the bug in one of the layers that can have it. The choice looks random, and is the same in every run. */
static void hide(size_t i, struct secret *secret)
{
    char model[128];
    struct session session;
    struct fault_request request;
    const struct session_options nothing = {0};
    struct error err;
    snprintf(model, sizeof(model), "golden/%s", hunts[i].model);
    assert_int_equal(session_open(&session, model, &nothing, &err), STATUS_OK);
    uint32_t n_layers = session.plan.n_layers, n_tried = 0;
    int32_t first = -1;
    for (uint32_t layer = (uint32_t)(i * 2654435761u >> 7) % n_layers; first < 0; layer = (layer + 1) % n_layers) {
        struct plan copy;
        assert_true(n_tried++ < n_layers);
        snprintf(secret->fault, sizeof(secret->fault), "%s@%u", hunts[i].fault, layer);
        assert_int_equal(fault_parse(&request, secret->fault, &err), STATUS_OK);
        plan_copy(&copy, &session.plan);
        first = fault_plant(&request, &copy, &first, &err) == STATUS_OK ? first : -1;
        plan_free(&copy);
    }
    step_label(&session.plan.steps[first], secret->where);
    secret->name = fault_check_name(&request);
    session_close(&session);
}

/* Types a command; returns what it answered. malloc'ed. */
static char *ask(struct terminal *terminal, const char *line)
{
    size_t from = terminal->looked;
    terminal_type(terminal, line);
    terminal_expect(terminal, "dbg> ");
    char *answer = xcalloc(terminal->looked - from + 1, 1);
    memcpy(answer, terminal->text + from, terminal->looked - from);
    return answer;
}

/* Types commands until the answer has a place and a cause. Returns it, malloc'ed; *n: commands typed. */
static char *hunt(struct terminal *terminal, unsigned *n)
{
    static const char *const commands[] = {"until diverge\n", "first\n", "diagnose\n"};
    char *answer = NULL;
    bool done = false;
    for (*n = 0; !done && *n < sizeof(commands) / sizeof(commands[0]); ++*n) {
        free(answer);
        answer = ask(terminal, commands[*n]);
        done = strstr(answer, "diverged: engine, ") != NULL && strstr(answer, "cause     ") != NULL;
    }
    return answer;
}

/* Whether the answer says where the bug is and what it is. */
static bool is_right(const char *answer, const struct secret *secret)
{
    char where[128], cause[96];
    snprintf(where, sizeof(where), "diverged: engine, %s, ", secret->where);
    snprintf(cause, sizeof(cause), "cause     %s (", secret->name);
    return strstr(answer, where) != NULL && strstr(answer, cause) != NULL;
}

static void each_ends_in_three_commands(void **state)
{
    (void)state;
    struct secret secrets[N_HUNTS];
    for (size_t i = 0; i < N_HUNTS; i++) {
        hide(i, &secrets[i]);
    }
    for (size_t i = 0; i < N_HUNTS; i++) {
        char model[128], golden[128];
        struct terminal terminal;
        unsigned n;
        snprintf(model, sizeof(model), "golden/%s", hunts[i].model);
        snprintf(golden, sizeof(golden), "golden/%s.h5", hunts[i].model);
        const char *const arguments[] = {"debug", model, "--golden", golden, "--fault", secrets[i].fault, NULL};
        terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, arguments);
        terminal_expect(&terminal, "dbg> ");
        char *answer = hunt(&terminal, &n);
        print_message("%-18s %-28s %s: %u command%s\n", hunts[i].model, secrets[i].fault, secrets[i].where, n,
                      n == 1 ? "" : "s");
        if (!is_right(answer, &secrets[i])) {
            fprintf(stderr, "expected %s, %s in:\n%s\n", secrets[i].where, secrets[i].name, answer);
            fail();
        }
        assert_false(is_right(answer, &secrets[(i + 1) % N_HUNTS])); /* the twin */
        free(answer);
        terminal_type(&terminal, "quit\n");
        assert_int_equal(terminal_end(&terminal), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_ends_in_three_commands, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
