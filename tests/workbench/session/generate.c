/* Text whose tokens the engine chooses in groups is compared with the same text made token by token: the same ids in
 * the same order for every group size, up to the text's end, which may lie inside a group, and with a planted fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/stop.h"
#include "workbench/session/session.h"

enum { N = 40, PROMPT = 5 };
static const int32_t prompt[PROMPT] = {1, 200, 3, 77, 5};

struct heard {
    int32_t ids[N];
    uint32_t n, stop_at; /* Ctrl-C is pressed when this many came; 0: never */
};

static void hear(void *context, int32_t id)
{
    struct heard *heard = context;
    assert_true(heard->n < N);
    heard->ids[heard->n++] = id;
    if (heard->n == heard->stop_at) {
        stop_ask();
    }
}

/* A watch that only counts batches. While there is one, tokens are made one by one. */
static enum status glance(void *context, struct backend *backend, const struct batch *batch, struct error *err)
{
    (void)backend;
    (void)batch;
    (void)err;
    ++*(uint32_t *)context;
    return STATUS_OK;
}

static void open_session(struct session *session, const char *model, const char *fault)
{
    struct error err;
    struct session_options options = {
        .engine = true, .max_positions = PROMPT + N, .no_capture = true, .faults = &fault, .n_faults = fault != NULL};
    if (session_open(session, model, &options, &err) != STATUS_OK) {
        fail_msg("%s: %s", model, err.text);
    }
}

/* Generates N tokens; returns the number of submits. */
static uint64_t generate(struct session *session, struct heard *heard)
{
    struct error err;
    struct engine_costs before, after;
    int32_t out[N];
    uint32_t n_out;
    *heard = (struct heard){.n = 0};
    engine_costs(&session->backend[SOURCE_ENGINE], &before);
    const struct generate_options options = {
        .prompt = prompt, .n_prompt = PROMPT, .n = N, .each = hear, .context = heard};
    if (session_generate(session, SOURCE_ENGINE, &options, out, &n_out, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    engine_costs(&session->backend[SOURCE_ENGINE], &after);
    assert_int_equal(n_out, heard->n);
    assert_memory_equal(out, heard->ids, n_out * sizeof(*out));
    return after.submits - before.submits;
}

static bool same(const struct heard *a, const struct heard *b)
{
    return a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof(*a->ids)) == 0;
}

/* Generates token by token into *alone, then in groups of several sizes, and compares. */
static void compare_ways(struct session *session, struct heard *alone)
{
    static const uint32_t sizes[] = {0, 1, 7, ENGINE_TOKENS_A_SUBMIT};
    uint32_t batches = 0;
    session->watch = glance;
    session->watch_context = &batches;
    uint64_t submits = generate(session, alone);
    assert_int_equal(batches, alone->n);
    assert_true(submits >= alone->n);
    session->watch = NULL;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct heard heard;
        session->group_size = sizes[i];
        submits = generate(session, &heard);
        assert_true(same(alone, &heard));
        assert_true(sizes[i] != ENGINE_TOKENS_A_SUBMIT || alone->n < N || submits < N / 2);
    }
}

/* The first index from `at` on whose id occurs at no earlier index. */
static uint32_t first_new(const struct heard *heard, uint32_t at)
{
    for (uint32_t k = 0; k < at; k++) {
        if (heard->ids[k] == heard->ids[at]) {
            return first_new(heard, at + 1);
        }
    }
    assert_true(at < N);
    return at;
}

static void the_text_is_the_same(void **state)
{
    (void)state;
    static const char *const models[] = {"golden/tiny-llama", "golden/tiny-gpt-oss-odd"};
    for (unsigned i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        struct session session;
        struct heard whole, shorter;
        open_session(&session, models[i], NULL);
        compare_ways(&session, &whole);
        assert_int_equal(whole.n, N);
        uint32_t at = first_new(&whole, 9); /* from now on the text ends there */
        session.model.config.eos_ids = &whole.ids[at];
        session.model.config.n_eos_ids = 1;
        compare_ways(&session, &shorter);
        assert_int_equal(shorter.n, at + 1);
        assert_false(same(&whole, &shorter)); /* the twin */
        session_close(&session);
    }
}

/* A faulty engine makes another text, the same for every group size. */
static void a_fault_is_the_same_too(void **state)
{
    (void)state;
    struct session session;
    struct heard right, wrong;
    open_session(&session, "golden/tiny-llama", NULL);
    (void)generate(&session, &right);
    session_close(&session);
    open_session(&session, "golden/tiny-llama", "kv-stale");
    compare_ways(&session, &wrong);
    assert_false(same(&right, &wrong));
    session_close(&session);
}

/* Ctrl-C ends generation between two groups or inside one; the next generation is complete again. */
static void it_can_be_stopped(void **state)
{
    (void)state;
    struct session session;
    struct heard whole, again;
    struct error err;
    int32_t out[N];
    uint32_t n_out;
    open_session(&session, "golden/tiny-llama", NULL);
    (void)generate(&session, &whole);
    for (uint32_t size = 1; size <= ENGINE_TOKENS_A_SUBMIT; size += ENGINE_TOKENS_A_SUBMIT - 1) {
        struct heard heard = {.stop_at = 3};
        const struct generate_options options = {
            .prompt = prompt, .n_prompt = PROMPT, .n = N, .each = hear, .context = &heard};
        session.group_size = size;
        enum status status = session_generate(&session, SOURCE_ENGINE, &options, out, &n_out, &err);
        stop_clear();
        assert_int_equal(status, STATUS_INTERRUPTED);
        assert_true(heard.n >= 3 && heard.n <= 3 + ENGINE_TOKENS_A_SUBMIT);
        (void)generate(&session, &again);
        assert_true(same(&whole, &again));
    }
    session_close(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_the_same),
        cmocka_unit_test(a_fault_is_the_same_too),
        cmocka_unit_test(it_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
