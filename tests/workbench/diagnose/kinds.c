/* The table of bugs that solvers must explain: each solver has one, and each is called what it is on two models. What
 * `lockstep faults --check` finds on all models stands in tests/faults.json. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/diagnose/kinds/kind_check.h"

static bool has_bug(const char *solver)
{
    uint32_t n;
    const struct kind_bug *bugs = kind_bugs(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(bugs[i].solver, solver) == 0) {
            return true;
        }
    }
    return false;
}

static void every_solver_has_a_bug(void **state)
{
    (void)state;
    const char *solver;
    enum fault_kind kind;
    enum op op;
    for (uint32_t i = 0; (solver = solver_at(i, &kind, &op)) != NULL; i++) {
        if (!has_bug(solver)) {
            fail_msg("no bug in the table of kinds/kind_bugs.c is for solve_%s", solver);
        }
    }
    assert_false(has_bug("guessing")); /* the twin */
}

/* Plants a bug in a model's golden. Returns whether it is called what it is, or fits no step. */
static bool is_called_right(const struct kind_bug *bug, struct small_model *small, uint32_t *n_planted)
{
    struct kind_outcome *outcome = xcalloc(1, sizeof(*outcome));
    kind_check(outcome, bug, &small->plan, &small->golden);
    bool right = outcome->step < 0 || outcome->ok;
    *n_planted += outcome->step >= 0;
    if (!right) {
        print_message("%s: %s: %s\n", bug->name, outcome->found.fault, outcome->found.text);
    }
    free(outcome);
    return right;
}

static void bugs_are_called_what_they_are(void **state)
{
    (void)state;
    static const char *const models[] = {"tiny-gpt-oss", "tiny-gemma2"};
    uint32_t n, n_planted = 0;
    const struct kind_bug *bugs = kind_bugs(&n);
    for (size_t m = 0; m < 2; m++) {
        struct small_model small = {0};
        small_open(&small, models[m], NULL);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(is_called_right(&bugs[i], &small, &n_planted));
        }
        small_close(&small);
    }
    assert_true(n_planted >= 45);
}

/* The twins: the same bug, expected to have another kind, or another number, or to say something else. */
static bool plant_a_third(struct plant *plant)
{
    bool fits = plant_half_branch(plant);
    plant->number = 1 / 3.0;
    return fits;
}

static void other_answers_are_not_right(void **state)
{
    (void)state;
    struct small_model small = {0};
    uint32_t n_planted = 0;
    small_open(&small, "tiny-llama", NULL);
    const struct kind_bug *right = kind_bug_by_name("branch-halved");
    struct kind_bug kind = *right, number = *right, says = *right;
    kind.kind = KIND_ADDITIVE;
    number.plant = plant_a_third;
    says.says = "something else";
    assert_true(is_called_right(right, &small, &n_planted));
    assert_false(is_called_right(&kind, &small, &n_planted));
    assert_false(is_called_right(&number, &small, &n_planted));
    assert_false(is_called_right(&says, &small, &n_planted));
    assert_int_equal(n_planted, 4);
    assert_null(kind_bug_by_name("branch-doubled"));
    small_close(&small);
}

/* The trace is put back, so that the next bug is planted in a healthy one. */
static void trace_stays_healthy(void **state)
{
    (void)state;
    struct small_model small = {0};
    uint32_t n_planted = 0;
    small_open(&small, "tiny-llama", NULL);
    assert_true(is_called_right(kind_bug_by_name("values-clipped"), &small, &n_planted));
    assert_int_equal(n_planted, 1);
    for (uint32_t i = 0; i < small.plan.n_steps; i++) {
        assert_false(trace_find_step(&small.golden, &small.plan.steps[i]) &&
                     diagnose_n_failing(&small.plan, i, &small.golden) > 0);
    }
    small_close(&small);
}

/* Rows that no bug makes: every solver of the step's op refuses them. Returns how many solvers were asked. */
static uint32_t expect_refusals(struct small_model *small, uint32_t s, bool *asked)
{
    const struct step *step = &small->plan.steps[s];
    struct trace_stage *stage = trace_find_step(&small->golden, step);
    struct op_trial trial;
    struct evidence evidence;
    struct solver_claim claims[SOLVERS_MOST];
    uint64_t n = (uint64_t)small->golden.n_positions * step->width;
    float *healthy = xmalloc(n * sizeof(*healthy));
    memcpy(healthy, stage->rows, n * sizeof(*healthy));
    for (uint64_t at = 0; at < n; at++) {
        stage->rows[at] *= 1 + 0.02f * (float)((at * 2654435761u >> 7) % 11);
    }
    trial_open(&trial, &small->plan, s, &small->golden);
    uint32_t n_failing = trial_sort_failing_first(&trial, step), n_claims = 0, n_asked = 0;
    bool is_span = trial.rows.n > 0 && row_is_span(&trial.rows.rows[0]);
    if (n_failing > 0 && !is_span) {
        evidence_open(&evidence, &trial, &small->plan, s, &small->golden);
        n_claims = solvers_ask(&(struct solve){.trial = &trial, .evidence = &evidence}, claims);
        evidence_close(&evidence);
        enum fault_kind kind;
        enum op op;
        for (uint32_t i = 0; solver_at(i, &kind, &op) != NULL; i++) {
            asked[i] |= op == step->op || op == OP_COUNT;
            n_asked++;
        }
    }
    trial_close(&trial);
    memcpy(stage->rows, healthy, n * sizeof(*healthy));
    free(healthy);
    if (n_claims > 0) {
        fail_msg("solve_%s explains noise in %s", claims[0].solver, stage_name(step->stage));
    }
    return n_asked;
}

static void every_solver_refuses_noise(void **state)
{
    (void)state;
    static const char *const models[] = {"tiny-gpt-oss", "tiny-gemma2", "tiny-llama-odd"};
    bool asked[SOLVERS_MOST] = {false};
    for (size_t m = 0; m < 3; m++) {
        struct small_model small = {0};
        small_open(&small, models[m], NULL);
        small.golden.from_file = false; /* its optional stages are those that the run used */
        for (uint32_t s = 0; s < small.plan.n_steps; s++) {
            const struct step *step = &small.plan.steps[s];
            bool noisy = trace_find_step(&small.golden, step) && !stage_is_integer(step->stage);
            if (noisy && step->layer <= 1) {
                expect_refusals(&small, s, asked);
            }
        }
        small_close(&small);
    }
    enum fault_kind kind;
    enum op op;
    for (uint32_t i = 0; solver_at(i, &kind, &op) != NULL; i++) {
        if (!asked[i] && op != OP_attention_probs) { /* no golden holds probabilities */
            fail_msg("solver %u was not asked", i);
        }
    }
}

int main(void)
{
    omp_set_num_threads(1); /* the models are small; threads would only wait for each other */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_solver_has_a_bug),      cmocka_unit_test(bugs_are_called_what_they_are),
        cmocka_unit_test(other_answers_are_not_right), cmocka_unit_test(trace_stays_healthy),
        cmocka_unit_test(every_solver_refuses_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
