/* The choice among the kernels that can make a stage where the kernels for GPUs decode, forced on any device: each
 * choice is followed, in every layer, and its rows follow from their inputs; without one, all is as before. */
#include "tests/engine/decoded_plan.h"

#define N_POSITIONS 3

static const struct model_shape shape = {DTYPE_Q8_0, DTYPE_F16, true, true, true};

static void read_rows(struct fixture *f, uint32_t position)
{
    struct error err;
    must(f->engine.ops->begin(&f->engine, &(struct batch){position, 1, f->tokens + position, true}, &err), &err);
    must(f->engine.ops->run(&f->engine, 0, f->plan.n_steps, &err), &err);
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        uint32_t width = f->plan.steps[i].width;
        f->rows[i] = f->rows[i] ? f->rows[i] : xcalloc((uint64_t)f->max_positions * width, sizeof(float));
        must(f->engine.ops->read(&f->engine, i, f->rows[i] + (uint64_t)position * width, &err), &err);
    }
}

/* Decodes, and audits every step. */
static void decode_all(struct fixture *f, const char *what)
{
    for (uint32_t position = 0; position < N_POSITIONS; position++) {
        read_rows(f, position);
        for (uint32_t i = 0; i < f->plan.n_steps; i++) {
            const struct step *step = &f->plan.steps[i];
            const float *row = f->rows[i] + (uint64_t)position * step->width;
            char label[64];
            if (!(fixture_ratio(f, step, row, position, 1, true) <= 1)) {
                fail_msg("%s: %s, position %u is wrong", what, step_label(step, label), position);
            }
        }
    }
}

/* Whether the kernel makes every step that was to be made by it. *n: how many those are. */
static bool is_followed(const struct fixture *f, const struct kernel_choices *choices, uint32_t *n)
{
    *n = 0;
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        struct engine_kernel kernel;
        enum stage_kernel chosen = choices->of_stage[f->plan.steps[i].stage];
        assert_true(engine_kernel_of(&f->engine, 1, i, false, &kernel));
        if (chosen != KERNEL_AUTO) {
            ++*n;
            if (strcmp(kernel.shader, stage_kernel_name(chosen)) != 0) {
                return false;
            }
        }
    }
    return true;
}

static void open_as_gpu(struct fixture *f)
{
    struct error err;
    const struct engine_options options = {.max_positions = POSITIONS, .max_rows = 16, .validation = true};
    plan_by_hand(f, &shape);
    must(backend_open(&f->engine, &f->plan, &options, &(struct engine_limits){.matvec = true}, &err), &err);
}

static void each_choice_is_followed(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    uint32_t possible[STAGE_COUNT], used[STAGE_COUNT], n_kernels = 0;
    const struct kernel_choices none = {0};
    open_as_gpu(&f);
    must(engine_possible_kernels(&f.engine, 1, possible, &err), &err);
    must(engine_used_kernels(&f.engine, 1, &none, used, &err), &err);
    for (unsigned kernel = KERNEL_AUTO + 1; kernel < KERNEL_COUNT; kernel++) {
        struct kernel_choices choices = {0};
        uint32_t n;
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
            choices.of_stage[stage] = possible[stage] & ~used[stage] & 1u << kernel ? (uint8_t)kernel : KERNEL_AUTO;
        }
        if (memcmp(&choices, &none, sizeof(none)) == 0) {
            continue;
        }
        must(engine_choose_kernels(&f.engine, &choices, &err), &err);
        decode_all(&f, stage_kernel_name((enum stage_kernel)kernel));
        assert_true(is_followed(&f, &choices, &n));
        print_message("%-22s makes %u steps\n", stage_kernel_name((enum stage_kernel)kernel), n);
        n_kernels++;
    }
    assert_true(n_kernels >= 10);
    fixture_close(&f);
}

/* The twin: what nothing makes is not called followed. And where nothing is chosen, the fused groups are there again.
 */
static void what_cannot_run_is_not_followed(void **state)
{
    (void)state;
    struct fixture f;
    struct error err;
    uint32_t n;
    const struct kernel_choices none = {0};
    struct kernel_choices choices = {0};
    open_as_gpu(&f);
    decode_all(&f, "nothing chosen");
    uint32_t before = engine_shape(&f.engine)->n_dispatches;
    choices.of_stage[STAGE_q_proj] = KERNEL_rope;
    must(engine_choose_kernels(&f.engine, &choices, &err), &err);
    decode_all(&f, "rope for q_proj"); /* right all the same, by another kernel */
    assert_false(is_followed(&f, &choices, &n));
    choices = (struct kernel_choices){0};
    choices.of_stage[STAGE_ffn_norm] = KERNEL_rms_norm;
    must(engine_choose_kernels(&f.engine, &choices, &err), &err);
    decode_all(&f, "the norm by itself");
    assert_true(engine_shape(&f.engine)->n_dispatches > before);
    must(engine_choose_kernels(&f.engine, &none, &err), &err);
    decode_all(&f, "nothing chosen again");
    assert_int_equal(engine_shape(&f.engine)->n_dispatches, before);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_choice_is_followed),
        cmocka_unit_test(what_cannot_run_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
