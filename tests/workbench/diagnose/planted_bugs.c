/* Bugs of the table of kinds, planted in other models than tests/workbench/diagnose/kinds.c plants them in: they are
 * called what they are. Bugs of some heads alone are, too. The twins: once a single value of the wrong rows is off by a
 * hundredth, the bug does not explain them, and is not named. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/diagnose/kinds/kind_check.h"

static const struct kind_bug *planted; /* by the plant functions below */

/* The bug, and one value besides. */
static bool plant_spoiled(struct plant *plant)
{
    uint32_t width = plant->right->width, last = plant->n - 1;
    if (!planted->plant(plant)) {
        return false;
    }
    double *row = plant->y + (uint64_t)last * width, *largest = row;
    for (uint32_t d = 0; d < width; d++) {
        largest = fabs(row[d]) > fabs(*largest) ? &row[d] : largest;
    }
    *largest *= 1.01;
    return true;
}

static uint32_t heads_of(const struct step *step)
{
    return step->op == OP_attention ? step->params.attention.heads : step->params.rope.heads;
}

/* The bug in the last head alone. */
static bool plant_in_last_head(struct plant *plant)
{
    uint32_t width = plant->right->width, dim = width / heads_of(plant->right);
    double *right = arena_alloc(&plant->arena, (uint64_t)plant->n * width * sizeof(*right));
    op_run(&(struct op_batch){.step = plant->right,
                              .weights_dtype = trace_find_step(plant->trace, plant->right)->weights_dtype,
                              .n_rows = plant->n,
                              .rows = plant->rows,
                              .y = right});
    if (!planted->plant(plant)) {
        return false;
    }
    for (uint32_t i = 0; i < plant->n; i++) {
        memcpy(plant->y + (uint64_t)i * width, right + (uint64_t)i * width, (width - dim) * sizeof(*right));
    }
    return true;
}

/* Whether the bug is called what it is, planted so. */
static bool is_named(struct small_model *small, const char *name, plant_function *plant)
{
    struct kind_outcome *outcome = xcalloc(1, sizeof(*outcome));
    struct kind_bug bug = *(planted = kind_bug_by_name(name));
    bug.plant = plant ? plant : bug.plant;
    kind_check(outcome, &bug, &small->plan, &small->golden);
    if (outcome->step < 0) {
        fail_msg("%s fits no step", name);
    }
    bool named = outcome->ok;
    if (!named && plant != plant_spoiled) {
        print_message("%s: %s: %s\n", name, outcome->found.fault, outcome->found.text);
    }
    free(outcome);
    return named;
}

static void bugs_are_named_unless_spoiled(void **state)
{
    (void)state;
    static const struct {
        const char *model, *bugs[12];
    } all[] = {
        {"tiny-gemma3",
         {"values-from-keys", "values-shifted", "row-before-read", "input-rolled", "fused-rows", "norm-offset",
          "norm-without-root", "relu"}},
        {"tiny-llama-odd",
         {"values-from-keys", "values-shifted", "row-before-read", "input-rolled", "fused-rows", "padding-in-softmax"}},
        {"tiny-gpt-oss-odd", {"router-sigmoid", "experts-shifted", "values-from-keys", "values-shifted"}},
        {"tiny-gpt-oss-105", {"next-token", "router-sigmoid", "experts-shifted", "padding-in-softmax"}},
    };
    for (size_t m = 0; m < sizeof(all) / sizeof(*all); m++) {
        struct small_model small = {0};
        small_open(&small, all[m].model, NULL);
        for (unsigned i = 0; i < 12 && all[m].bugs[i]; i++) {
            assert_true(is_named(&small, all[m].bugs[i], NULL));
            assert_false(is_named(&small, all[m].bugs[i], plant_spoiled));
        }
        small_close(&small);
    }
}

static void bugs_of_one_head_are_named(void **state)
{
    (void)state;
    static const char *const bugs[] = {"first-keys-lost", "padding-in-softmax", "mask-of-minus-two",
                                       "positions-shifted", "rope-frequency"};
    static const char *const models[] = {"tiny-llama", "tiny-gemma2", "tiny-gpt-oss"};
    for (size_t m = 0; m < 3; m++) {
        struct small_model small = {0};
        small_open(&small, models[m], NULL);
        for (size_t i = 0; i < sizeof(bugs) / sizeof(*bugs); i++) {
            assert_true(is_named(&small, bugs[i], plant_in_last_head));
        }
        small_close(&small);
    }
}

int main(void)
{
    omp_set_num_threads(1); /* the models are small; threads would only wait for each other */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bugs_are_named_unless_spoiled),
        cmocka_unit_test(bugs_of_one_head_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
