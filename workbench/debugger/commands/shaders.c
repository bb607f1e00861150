/* reload, watch: compile edited GLSL, and run all again with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/stop.h"
#include "workbench/debugger/command.h"
#include "workbench/debugger/print_steps.h"
#include "workbench/debugger/run/full_comparison.h"
#include "workbench/debugger/run/run.h"
#include "workbench/debugger/shader_files.h"
#include "workbench/trace/install_paths.h"

#define POLL_MS 20

/* The folder with the GLSL: as set, or the program's own. *folder is malloc'ed. */
enum status repl_shader_folder(const struct repl *repl, char **folder, struct error *err)
{
    char path[PATH_MAX];
    const char *set = repl->settings.shaders;
    if (set == NULL) {
        TRY(install_path("shaders", path, err));
    }
    *folder = xstrdup(set != NULL ? set : path);
    return STATUS_OK;
}

/* Repeats the last command that ran steps, from where it began. If the position is no longer at its end (the run went
 * back, or was interrupted), repeats only the stage that ran last. */
static enum status repeat_last_run(struct repl *repl, struct error *err)
{
    if (repl->last_run != NULL && repl->last_to == repl_point(repl) && repl->last_from < repl->last_to) {
        char *line = repl->last_run;
        repl->last_run = NULL;
        enum status status = repl_go_to_point(repl, repl->last_from, err);
        if (status == STATUS_OK) {
            printf("again: %s\n", line);
            status = repl_run_line(repl, line, err);
        }
        free(line);
        return status;
    }
    uint32_t step = repl->next - 1;
    enum status status = repl_go_back(repl, repl->n_batches - 1, step, err);
    if (status == STATUS_OK) {
        status = repl_run_steps(repl, step + 1, err);
    }
    if (status == STATUS_OK) {
        print_steps(repl, step, step + 1, true);
    }
    return status;
}

/* The kernels of a batch size: what the shader makes of the plan, in the fused schedule. NULL: nothing. */
static const struct step *made_by(const struct repl *repl, const struct shader_files *files, const char *file,
                                  uint32_t n_rows, bool by_itself)
{
    const struct backend *engine = &repl->session->backend[SOURCE_ENGINE];
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        struct engine_kernel kernel;
        if (engine_kernel_of(engine, n_rows, s, by_itself, &kernel) &&
            shader_files_concerns(files, file, kernel.shader)) {
            return &repl->plan->steps[s];
        }
    }
    return NULL;
}

/* Tells of a changed file that no stage runs in this schedule, and what its op runs instead. */
static void tell_unused(const struct repl *repl, const struct shader_files *files, const char *file)
{
    const struct backend *engine = &repl->session->backend[SOURCE_ENGINE];
    uint32_t prompt_rows = repl->n_batches > 0 ? repl->batches[0].n_rows : 1;
    bool by_itself = repl->settings.no_fuse;
    if (made_by(repl, files, file, prompt_rows, by_itself) != NULL ||
        made_by(repl, files, file, 1, by_itself) != NULL) {
        return;
    }
    printf("%s changed, but no stage of this plan runs it here", file);
    const struct step *alone = made_by(repl, files, file, prompt_rows, true);
    struct engine_kernel kernel;
    if (alone != NULL &&
        engine_kernel_of(engine, prompt_rows, (uint32_t)(alone - repl->plan->steps), by_itself, &kernel)) {
        printf(": %s is made by %s.comp", stage_name(alone->stage), kernel.shader);
    }
    printf("\n");
}

/* Has the engine compile the folder's GLSL: as it is, or opened anew where it was lost. */
static enum status use_shaders(struct repl *repl, const struct repl_settings *settings, struct error *err)
{
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (side != NULL && side->lost) {
        return repl_exchange_engine(repl, settings, err);
    }
    TRY(engine_reload(&repl->session->backend[SOURCE_ENGINE], settings->compiled, err));
    if (side != NULL) {
        repl_side_changed(repl, side);
    }
    return STATUS_OK;
}

/* Compiles the folder's GLSL, and runs all again with it. Nothing changes where it does not compile. */
static enum status compile_and_rerun(struct repl *repl, struct error *err)
{
    struct repl_settings changed = repl->settings;
    struct shader_files files;
    TRY(repl_shader_folder(repl, &changed.shaders, err));
    enum status status = shader_files_read(&files, changed.shaders, err);
    changed.compiled = xstrdup(changed.shaders);
    if (status == STATUS_OK) {
        status = use_shaders(repl, &changed, err);
    }
    if (status != STATUS_OK) {
        shader_files_free(&files);
        free(changed.shaders);
        free(changed.compiled);
        return status;
    }
    free(repl->settings.shaders);
    free(repl->settings.compiled);
    repl->settings = changed;
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (side != NULL && repl->n_batches > 0) {
        status = repl_rerun(repl, side, err);
    }
    if (repl->shaders == NULL) {
        repl->shaders = xcalloc(1, sizeof(*repl->shaders));
        shader_files_built_in(repl->shaders);
    }
    (void)shader_files_compare(&files, repl->shaders);
    for (uint32_t i = 0; i < files.n; i++) {
        if (files.files[i].changed) {
            tell_unused(repl, &files, files.files[i].name);
        }
    }
    shader_files_free(repl->shaders);
    *repl->shaders = files;
    return status;
}

static enum status need_shaders(const struct repl *repl, const struct words *words, struct error *err)
{
    return strcmp(words->word[0], "shaders") == 0 ? repl_need_engine(repl, words->command->name, err)
                                                  : words_refuse(words, 0, err);
}

enum status do_reload(struct repl *repl, const struct words *words, struct error *err)
{
    TRY(need_shaders(repl, words, err));
    TRY(compile_and_rerun(repl, err));
    printf("shaders compiled from %s\n", repl->settings.shaders);
    return repl->n_batches > 0 && repl->next > 0 ? repeat_last_run(repl, err) : STATUS_OK;
}

/* The verdict in a line: of `diff`, or without a golden of what ran so far. comparison: as repl_compare has it. */
static enum status verdict_line(struct repl *repl, const struct comparison **comparison, char line[REPL_VERDICT_SIZE],
                                struct error *err)
{
    *comparison = NULL;
    if (repl->n_sides > 0) {
        TRY(repl_compare(repl, comparison, err));
    }
    if (*comparison == NULL && repl->n_introduced > 0) {
        repl_diverged_text(source_name(repl->sides[repl->introduced[0].side].source),
                           &repl->judged_plan.steps[repl->introduced[0].step], line);
    } else if (*comparison == NULL) {
        strcpy(line, "no step introduced an error so far");
    } else {
        repl_verdict_text(*comparison, line);
    }
    return STATUS_OK;
}

static double seconds_now(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* After a file was written: what the verdict was, and what it is now; and the answer, if it is a divergence. false: it
 * did not compile, or the run failed. */
static bool show_change(struct repl *repl, char before[REPL_VERDICT_SIZE])
{
    struct error err = {STATUS_OK, ""};
    const struct comparison *comparison = NULL;
    char now[REPL_VERDICT_SIZE];
    double start = seconds_now();
    enum status status = compile_and_rerun(repl, &err);
    if (status == STATUS_OK) {
        status = verdict_line(repl, &comparison, now, &err);
    }
    if (status != STATUS_OK) {
        printf("%s\n", err.text); /* GLSL that is being written does not compile at every moment */
        return false;
    }
    bool same = strcmp(before, now) == 0;
    printf("%.2f s: %s%s%s\n", seconds_now() - start, before, same ? ", as before" : " -> ", same ? "" : now);
    if (comparison != NULL && comparison->verdict.diverged && !same) {
        comparison_print(comparison, stdout);
    }
    memcpy(before, now, sizeof(now));
    return true;
}

enum status do_watch(struct repl *repl, const struct words *words, struct error *err)
{
    int64_t n_changes = INT64_MAX;
    const struct comparison *unused;
    char before[REPL_VERDICT_SIZE], *folder;
    TRY(need_shaders(repl, words, err));
    if (words->n == 2) {
        TRY(word_number(words->word[1], "watch", 1, 1000000, &n_changes, err));
    }
    TRY(verdict_line(repl, &unused, before, err));
    TRY(repl_shader_folder(repl, &folder, err));
    uint64_t stamp = shader_files_stamp(folder);
    if (stamp == 0) {
        enum status status = error_set(err, STATUS_BAD_INPUT, folder, "shaders", ERROR_NO_OFFSET, "cannot be read");
        free(folder);
        return status;
    }
    printf("%s; watching %s, Ctrl-C ends it\n", before, folder);
    fflush(stdout);
    while (n_changes > 0 && !stop_asked()) {
        const struct timespec pause = {0, POLL_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
        uint64_t now = shader_files_stamp(folder);
        if (now == stamp || now == 0) {
            continue;
        }
        (void)nanosleep(&pause, NULL); /* an editor may still be writing */
        stamp = shader_files_stamp(folder);
        n_changes -= show_change(repl, before);
        fflush(stdout);
    }
    free(folder);
    stop_clear();
    return STATUS_OK;
}
