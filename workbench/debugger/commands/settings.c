/* set, show: the settings, one row each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/run.h"
#include "workbench/probes/probe_config.h"
#include "workbench/text/terminal.h"

static enum status set_device(struct repl *repl, const char *value, struct error *err)
{
    enum status status = repl_need_engine(repl, "device", err);
    struct repl_settings changed = repl->settings;
    changed.device = xstrdup(value);
    status = status == STATUS_OK ? repl_exchange_engine(repl, &changed, err) : status;
    free(status == STATUS_OK ? repl->settings.device : changed.device);
    if (status == STATUS_OK) {
        repl->settings = changed;
        printf("the engine runs on %s\n", engine_device(&repl->session->backend[SOURCE_ENGINE])->name);
    }
    return status;
}

static enum status set_shaders(struct repl *repl, const char *value, struct error *err)
{
    struct stat info;
    if (stat(value, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return error_set(err, STATUS_BAD_INPUT, value, "shaders", ERROR_NO_OFFSET, "no such folder");
    }
    free(repl->settings.shaders);
    repl->settings.shaders = xstrdup(value);
    return STATUS_OK;
}

static enum status set_decode(struct repl *repl, const char *value, struct error *err)
{
    int64_t n;
    TRY(word_number(value, "decode", 0, 1000000, &n, err));
    repl->settings.decode = (uint32_t)n;
    return STATUS_OK;
}

static enum status set_width(struct repl *repl, const char *value, struct error *err)
{
    int64_t n;
    (void)repl;
    TRY(word_number(value, "width", 0, 1000, &n, err));
    terminal_set_width((unsigned)n);
    return STATUS_OK;
}

/* on or off, or two words of the same meaning. */
static enum status word_choice(const char *value, const char *name, const char *yes, const char *no, bool *is_yes,
                               struct error *err)
{
    if (strcmp(value, yes) != 0 && strcmp(value, no) != 0) {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "\"%s\", expected %s or %s", value, yes, no);
    }
    *is_yes = strcmp(value, yes) == 0;
    return STATUS_OK;
}

static enum status set_pager(struct repl *repl, const char *value, struct error *err)
{
    bool on = true;
    (void)repl;
    TRY(word_choice(value, "pager", "on", "off", &on, err));
    terminal_set_pager(on);
    return STATUS_OK;
}

static enum status set_fuse(struct repl *repl, const char *value, struct error *err)
{
    bool fuse = true;
    TRY(word_choice(value, "fuse", "on", "off", &fuse, err));
    TRY(repl_need_engine(repl, "fuse", err));
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (repl->settings.no_fuse == fuse && side != NULL) {
        repl_side_changed(repl, side);
    }
    repl->settings.no_fuse = !fuse;
    printf(fuse ? "the engine runs what run and diff run\n"
                : "the engine runs each op by itself, from here on: other kernels than those of run and diff\n");
    return STATUS_OK;
}

static enum status set_errors(struct repl *repl, const char *value, struct error *err)
{
    return word_choice(value, "errors", "continue", "stop", &repl->settings.errors_continue, err);
}

static enum status set_layers(struct repl *repl, const char *value, struct error *err)
{
    TRY(probe_config_set_layers(repl->config, value, repl->plan, err));
    return repl_update_capture(repl, err);
}

static enum status set_preset(struct repl *repl, const char *value, struct error *err)
{
    TRY(probe_config_read_preset(repl->config, value, repl->plan, err));
    return repl_update_capture(repl, err);
}

/* One row a setting. */
static const struct {
    const char *name;
    enum status (*set)(struct repl *repl, const char *value, struct error *err);
} settings[] = {{"device", set_device}, {"shaders", set_shaders}, {"decode", set_decode},
                {"width", set_width},   {"pager", set_pager},     {"layers", set_layers},
                {"preset", set_preset}, {"fuse", set_fuse},       {"errors", set_errors}};

enum status do_set(struct repl *repl, const struct words *words, struct error *err)
{
    if (strcmp(words->word[0], "kernel") == 0) {
        return repl_set_kernel(repl, words, err);
    }
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (strcmp(settings[i].name, words->word[0]) == 0) {
            return words->n == 2 ? settings[i].set(repl, words->word[1], err) : words_refuse(words, words->n - 1, err);
        }
    }
    return words_refuse(words, 0, err);
}

/* What runs, and what reload would compile. */
static enum status show_shaders(const struct repl *repl, struct error *err)
{
    const char *runs = repl->settings.compiled;
    char *folder;
    TRY(repl_shader_folder(repl, &folder, err));
    if (runs != NULL && strcmp(runs, folder) == 0) {
        printf("  shaders  compiled from %s\n", runs);
    } else {
        printf("  shaders  %s%s; reload shaders compiles %s\n", runs != NULL ? "compiled from " : "built in",
               runs != NULL ? runs : "", folder);
    }
    free(folder);
    return STATUS_OK;
}

static void show_terminal(void)
{
    if (terminal_width_is_set()) {
        printf("  width    %u columns\n", terminal_width());
    } else {
        printf("  width    the terminal's\n");
    }
    const char *pager = terminal_pager();
    printf("  pager    %s\n", !terminal_pager_is_on() ? "off" : pager != NULL ? pager : "on, but there is none here");
}

enum status do_show(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    const struct repl_settings *s = &repl->settings;
    if (repl->session->on[SOURCE_ENGINE]) {
        printf("  device   %s\n", engine_device(&repl->session->backend[SOURCE_ENGINE])->name);
    } else {
        printf("  device   none, only the reference runs\n");
    }
    TRY(show_shaders(repl, err));
    printf("  fuse     %s\n", s->no_fuse ? "off: each op by itself" : "on: the kernels of run and diff");
    repl_show_kernels(s);
    printf("  errors   a piped command that fails %s\n", s->errors_continue ? "ends nothing" : "ends the run");
    printf("  decode   %u tokens after a prompt, unless -n says otherwise\n", s->decode);
    show_terminal();
    printf("  layers  ");
    for (uint32_t i = 0; i < repl->config->n_layers; i++) {
        printf(" %d", repl->config->layers[i]);
    }
    printf("%s\n", repl->config->n_layers == 0 ? " all are read back" : "; only these are read back");
    printf("  log      %s, trace %s, %u probes\n", log_level_name(repl->config->level),
           repl->config->trace_enabled ? "on" : "off", repl->config->n_probes);
    printf("  faults  ");
    for (uint32_t i = 0; i < s->n_faults; i++) {
        printf(" %s", s->faults[i]);
    }
    printf("%s\n  patches ", s->n_faults == 0 ? " none" : "");
    for (uint32_t i = 0; i < repl->n_patches; i++) {
        char label[64];
        printf("%s %s", i > 0 ? "," : "", step_label(&repl->plan->steps[repl->patches[i].step], label));
    }
    printf("%s\n", repl->n_patches == 0 ? " none" : "");
    return STATUS_OK;
}
