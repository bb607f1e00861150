/* fault, set, show: settings, some of which exchange the engine during a run. A new engine is opened beside the
 * old one and brought to its position; only then does it take the old one's place. So a failure changes nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/print_steps.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/run.h"
#include "workbench/probes/probe_config.h"
#include "workbench/trace/install_paths.h"

void repl_settings_init(struct repl_settings *settings, const char *device, const char *const *faults,
                        uint32_t n_faults)
{
    *settings = (struct repl_settings){.device = xstrdup(device), .decode = REPL_DECODE};
    for (uint32_t i = 0; i < n_faults && i < REPL_MAX_FAULTS; i++) {
        settings->faults[settings->n_faults++] = xstrdup(faults[i]);
    }
}

void repl_settings_free(struct repl_settings *settings)
{
    for (uint32_t i = 0; i < settings->n_faults; i++) {
        free(settings->faults[i]);
    }
    free(settings->device);
    free(settings->shaders);
    *settings = (struct repl_settings){0};
}

enum status repl_need_engine(const struct repl *repl, const char *what, struct error *err)
{
    return repl->session->on[SOURCE_ENGINE]
               ? STATUS_OK
               : error_set(err, STATUS_USAGE, NULL, what, ERROR_NO_OFFSET,
                           "this session has no engine, expected lockstep debug without --on reference");
}

/* Opens an engine with these settings, brings it to the position, and replaces the old one. If the old engine was lost,
 * the position goes back to where it ran last. */
enum status repl_exchange_engine(struct repl *repl, const struct repl_settings *settings, struct error *err)
{
    struct session_options options = {
        .device = settings->device,
        .max_positions = repl->session->backend[SOURCE_ENGINE].max_positions,
        .faults = (const char *const *)settings->faults,
        .n_faults = settings->n_faults,
        .shader_dir = settings->shaders,
        .weights = repl->session->weights,
    };
    struct new_engine engine;
    enum status status = session_new_engine(repl->session, &options, &engine, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (repl->captured != NULL) {
        status = engine_capture(&engine.backend, repl->captured, err);
    }
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    if (status == STATUS_OK && side != NULL && side->lost) {
        status = repl_go_to_point(repl, side->lost_at < repl_point(repl) ? side->lost_at : repl_point(repl), err);
    }
    if (side != NULL && status == STATUS_OK) {
        struct repl_side fresh = *side;
        fresh.backend = &engine.backend;
        status = repl_replay(repl, &fresh, err);
    }
    if (status != STATUS_OK) {
        session_drop_engine(&engine);
        return status;
    }
    session_replace_engine(repl->session, &engine);
    if (side != NULL) {
        side->lost = false;
        repl_side_changed(repl, side);
    }
    return STATUS_OK;
}

/* The index of a fault by its whole text (NAME@LAYER); n_faults: not planted. */
static uint32_t find_fault(const struct repl_settings *settings, const char *text)
{
    uint32_t i = 0;
    while (i < settings->n_faults && strcmp(settings->faults[i], text) != 0) {
        i++;
    }
    return i;
}

/* The index of the only planted fault with this name, whatever its layer. */
static enum status find_named(const struct repl_settings *settings, const char *name, uint32_t *at, struct error *err)
{
    size_t length = strlen(name);
    uint32_t n_found = 0;
    char planted[160] = "";
    for (uint32_t i = 0; i < settings->n_faults; i++) {
        const char *text = settings->faults[i];
        size_t used = strlen(planted);
        snprintf(planted + used, sizeof(planted) - used, "%s%s", i > 0 ? ", " : "", text);
        if (strncmp(text, name, length) == 0 && (text[length] == '@' || text[length] == '.')) {
            n_found++;
            *at = i;
        }
    }
    if (n_found == 1) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_USAGE, NULL, "fault", ERROR_NO_OFFSET, "%s is %s, expected one of those that are: %s",
                     name, n_found > 0 ? "planted more than once" : "not planted", planted[0] ? planted : "none");
}

enum status do_fault(struct repl *repl, const struct words *words, struct error *err)
{
    const char *text = words->word[1];
    bool on = strcmp(words->word[0], "on") == 0;
    if (!on && strcmp(words->word[0], "off") != 0) {
        return words_refuse(words, 0, err);
    }
    struct fault_request request;
    enum status status = fault_parse(&request, text, err);
    if (status == STATUS_OK) {
        status = repl_need_engine(repl, "fault", err);
    }
    struct repl_settings changed = repl->settings; /* shares the texts */
    uint32_t at = find_fault(&changed, text);
    bool there = at < changed.n_faults;
    if (status == STATUS_OK && on && (there || at == REPL_MAX_FAULTS)) {
        status = error_set(err, STATUS_USAGE, NULL, "fault", ERROR_NO_OFFSET, "%s is %s, expected another", text,
                           there ? "planted already" : "one too many");
    }
    if (status == STATUS_OK && !on && !there) {
        status = find_named(&changed, text, &at, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (on) {
        changed.faults[changed.n_faults++] = xstrdup(text);
    } else {
        text = changed.faults[at];
        memmove(&changed.faults[at], &changed.faults[at + 1], (changed.n_faults - at - 1) * sizeof(char *));
        changed.n_faults--;
    }
    status = repl_exchange_engine(repl, &changed, err);
    free(status != STATUS_OK && on ? changed.faults[changed.n_faults - 1] : NULL);
    if (status != STATUS_OK) {
        return status;
    }
    printf("%s is %s, from here on\n", text, on ? "planted" : "taken out");
    if (!on) {
        free(repl->settings.faults[at]);
    }
    repl->settings = changed;
    return STATUS_OK;
}

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
    TRY(word_number(value, "width", 0, 1000, &n, err));
    repl->settings.width = (uint32_t)n;
    return STATUS_OK;
}

/* on or off, or two words of the same meaning. */
static enum status word_choice(const char *value, const char *name, const char *yes, const char *no, bool *is_yes,
                               struct error *err)
{
    *is_yes = strcmp(value, yes) == 0;
    return *is_yes || strcmp(value, no) == 0
               ? STATUS_OK
               : error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "\"%s\", expected %s or %s", value, yes, no);
}

static enum status set_fuse(struct repl *repl, const char *value, struct error *err)
{
    bool fuse;
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
} settings[] = {{"device", set_device}, {"shaders", set_shaders}, {"decode", set_decode}, {"width", set_width},
                {"layers", set_layers}, {"preset", set_preset},   {"fuse", set_fuse},     {"errors", set_errors}};

enum status do_set(struct repl *repl, const struct words *words, struct error *err)
{
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (strcmp(settings[i].name, words->word[0]) == 0) {
            return settings[i].set(repl, words->word[1], err);
        }
    }
    return words_refuse(words, 0, err);
}

enum status do_show(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    const struct repl_settings *s = &repl->settings;
    char *shaders;
    TRY(repl_shader_folder(repl, &shaders, err));
    if (repl->session->on[SOURCE_ENGINE]) {
        printf("  device   %s\n", engine_device(&repl->session->backend[SOURCE_ENGINE])->name);
    } else {
        printf("  device   none, only the reference runs\n");
    }
    printf("  shaders  %s%s\n", shaders, s->shaders == NULL ? " (built in until reload shaders)" : "");
    free(shaders);
    printf("  fuse     %s\n", s->no_fuse ? "off: each op by itself" : "on: the kernels of run and diff");
    printf("  errors   a piped command that fails %s\n", s->errors_continue ? "ends nothing" : "ends the run");
    printf("  decode   %u tokens after a prompt, unless -n says otherwise\n", s->decode);
    if (s->width == 0) {
        printf("  width    the terminal's\n");
    } else {
        printf("  width    %u columns\n", s->width);
    }
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
