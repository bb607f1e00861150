/* set kernel: which kernel makes a stage. */
#include <stdio.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/run.h"
#include "workbench/session/kernel_options.h"

/* Of the batches of the run, or of a long prompt where there is none. */
static struct batch_sizes sizes_of_run(const struct repl *repl)
{
    uint32_t n_prompt = 0, most = UINT32_MAX;
    for (uint32_t i = 0; i < SOURCE_COUNT; i++) {
        const struct backend *backend = &repl->session->backend[i];
        most = repl->session->on[i] && backend->max_rows < most ? backend->max_rows : most;
    }
    while (n_prompt < repl->capacity && repl->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    return repl->capacity > 0 ? batch_sizes_of(n_prompt, repl->capacity - n_prompt, most)
                              : batch_sizes_of(most, 1, most);
}

enum status repl_check_kernels(const struct repl *repl, const struct kernel_choices *choices, const char *name,
                               struct error *err)
{
    struct batch_sizes sizes = sizes_of_run(repl);
    return repl->session->on[SOURCE_ENGINE]
               ? kernel_options_check(&repl->session->backend[SOURCE_ENGINE], choices, &sizes, name, err)
               : STATUS_OK;
}

void repl_show_kernels(const struct repl_settings *settings)
{
    bool any = false;
    printf("  kernels ");
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        enum stage_kernel kernel = settings->kernels.of_stage[stage];
        if (kernel != KERNEL_AUTO) {
            printf(" %s=%s", stage_name((enum stage)stage), stage_kernel_name(kernel));
            any = true;
        }
    }
    printf("%s\n", any ? "" : " as suits the device");
}

enum status repl_set_kernel(struct repl *repl, const struct words *words, struct error *err)
{
    struct backend *engine = &repl->session->backend[SOURCE_ENGINE];
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    struct batch_sizes sizes = sizes_of_run(repl);
    struct kernel_choices choices = repl->settings.kernels;
    TRY(repl_need_engine(repl, "kernel", err));
    if (words->n == 1) {
        return kernel_options_list(engine, &sizes, stdout, err);
    }
    if (words->n != 3) {
        return words_refuse(words, words->n - 1, err);
    }
    if (side != NULL && side->lost) {
        return error_set(err, STATUS_USAGE, NULL, "kernel", ERROR_NO_OFFSET,
                         "the engine is lost, expected set device first");
    }
    TRY(kernel_option_set(&choices, "kernel", words->word[1], words->word[2], err));
    TRY(kernel_options_check(engine, &choices, &sizes, "kernel", err));
    TRY(engine_choose_kernels(engine, &choices, err));
    repl->settings.kernels = choices;
    if (side != NULL) {
        repl_side_changed(repl, side);
        TRY(repl->n_batches > 0 ? repl_rerun(repl, side, err) : STATUS_OK);
    }
    TRY(kernel_option_tell(engine, stage_by_name(words->word[1]), &sizes, stdout, err));
    if (repl->settings.no_fuse) {
        printf("as run and diff run it; here each op runs by itself until set fuse on\n");
    }
    return STATUS_OK;
}
