/* A window that is missing in some layers is told as that; local and global layers are exchanged only where both are.
 * Recorded at the op and inside a span, where layer_out alone is recorded. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/diagnose/diagnose.h"

#define MODEL "tiny-gemma3"

/* Which layers' windows are wrong. */
enum which { ONE_LOCAL, ALL_LOCAL, ONE_GLOBAL, EXCHANGED };

/* The window of local layers, and where they and the global ones are: first of each. */
struct layers {
    uint32_t window;
    int32_t local, global;
};

static struct layers find_layers(const struct plan *plan)
{
    struct layers layers = {0, -1, -1};
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &plan->steps[i];
        if (step->op != OP_attention) {
            continue;
        }
        bool local = step->params.attention.window != 0;
        layers.window = local ? step->params.attention.window : layers.window;
        layers.local = local && layers.local < 0 ? step->layer : layers.local;
        layers.global = !local && layers.global < 0 ? step->layer : layers.global;
    }
    assert_true(layers.local >= 0 && layers.global >= 0);
    return layers;
}

static void edit_windows(struct plan *plan, const struct layers *layers, enum which which)
{
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        struct step *step = &plan->steps[i];
        bool local = step->op == OP_attention && step->params.attention.window != 0;
        bool global = step->op == OP_attention && !local;
        if (local &&
            (which == ALL_LOCAL || which == EXCHANGED || (which == ONE_LOCAL && step->layer == layers->local))) {
            step->params.attention.window = 0;
        } else if (global && (which == EXCHANGED || (which == ONE_GLOBAL && step->layer == layers->global))) {
            step->params.attention.window = layers->window;
        }
    }
}

/* Leaves layer_out, what lies outside the layers, and nothing else. */
static void keep_layers(struct trace *run)
{
    for (uint32_t s = run->n_stages; s-- > 0;) {
        if (run->stages[s].layer != LAYER_NONE && run->stages[s].stage != STAGE_layer_out) {
            trace_remove_stage(run, &run->stages[s]);
        }
    }
}

static void expect(enum which which, bool dump, const char *name, double window)
{
    struct small_model small = {0};
    struct plan wrong;
    struct trace run;
    struct diagnosis found[8];
    small_open(&small, MODEL, NULL);
    struct layers layers = find_layers(&small.plan);
    plan_copy(&wrong, &small.plan);
    edit_windows(&wrong, &layers, which);
    record_run(&run, &wrong, &small.golden);
    if (dump) {
        keep_layers(&run);
    }
    int32_t layer = which == ONE_GLOBAL ? layers.global : layers.local;
    int32_t step = plan_find(&small.plan, layer, dump ? STAGE_layer_out : STAGE_attn_out);
    uint32_t n = diagnose_step(&small.plan, (uint32_t)step, &run, found, 8);
    assert_true(n > 0);
    print_message("    %d, %s: %s: %s\n", (int)which, dump ? "layer_out alone" : "all stages", found[0].fault,
                  found[0].text);
    assert_string_equal(found[0].fault, name);
    assert_int_equal(found[0].how, HOW_REPRODUCED);
    assert_int_equal(found[0].kind, KIND_VISIBLE_KEYS);
    if (!isnan(window)) {
        assert_string_equal(found[0].solved.name, "sliding_window");
        assert_true(found[0].solved.found == window);
    }
    trace_free(&run);
    plan_free(&wrong);
    small_close(&small);
}

static void one_window_is_missing(void **state)
{
    (void)state;
    for (int dump = 0; dump < 2; dump++) {
        expect(ONE_LOCAL, dump, "wrong-sliding-window", 0);
        expect(ALL_LOCAL, dump, "wrong-sliding-window", 0);
    }
}

static void one_layer_has_a_window_too_many(void **state)
{
    (void)state;
    struct small_model small = {0};
    small_open(&small, MODEL, NULL);
    double window = find_layers(&small.plan).window;
    small_close(&small);
    expect(ONE_GLOBAL, false, "wrong-sliding-window", window);
    expect(ONE_GLOBAL, true, "wrong-sliding-window", window);
}

/* The twin: both kinds of layers have it. */
static void layers_are_exchanged(void **state)
{
    (void)state;
    expect(EXCHANGED, false, "window-layers-swapped", NAN);
    expect(EXCHANGED, true, "window-layers-swapped", NAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_window_is_missing),
        cmocka_unit_test(one_layer_has_a_window_too_many),
        cmocka_unit_test(layers_are_exchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
