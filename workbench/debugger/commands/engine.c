/* fault, and what exchanges the engine during a run. A new engine is opened beside the old one and brought to its
 * position; only then does it take the old one's place. So a failure changes nothing. */
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
    free(settings->compiled);
    *settings = (struct repl_settings){0};
}

enum status repl_need_engine(const struct repl *repl, const char *what, struct error *err)
{
    return repl->session->on[SOURCE_ENGINE]
               ? STATUS_OK
               : error_set(
                     err, STATUS_USAGE, NULL, what, ERROR_NO_OFFSET,
                     "this session has no engine, expected lockstep debug without --trace, and without --on reference");
}

/* Before another engine goes on in the middle of a layer: has this one recompute what was not read back of the layer,
 * as the other would start from rows of its own. */
static enum status record_layer(struct repl *repl, const struct repl_side *side, struct error *err)
{
    const struct step *steps = repl->plan->steps;
    bool inside = repl->n_batches > 0 && repl->next > 0 && repl->next < repl->plan->n_steps &&
                  steps[repl->next].layer == steps[repl->next - 1].layer;
    uint32_t step = repl->next;
    while (inside && step-- > 0 && steps[step].layer == steps[repl->next].layer) {
        if (side != NULL && !side->lost && !repl_is_captured(repl, step)) {
            return repl_ensure_captured(repl, step, err);
        }
    }
    return STATUS_OK;
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
        .shader_dir = settings->compiled,
        .weights = repl->session->weights,
        .kernels = settings->kernels,
    };
    struct new_engine engine;
    struct repl_side *side = repl_side_of(repl, SOURCE_ENGINE);
    TRY(record_layer(repl, side, err));
    enum status status = session_new_engine(repl->session, &options, &engine, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (repl->captured != NULL) {
        status = engine_capture(&engine.backend, repl->captured, err);
    }
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
