/* lockstep faults --check: plants each known bug in the engine, on every small model under golden/ that it applies to.
 * Each must be found where it was planted and named; healthy runs must raise no alarm. Bugs of each kind that is solved
 * for are planted in the healthy run's trace and must be called what they are. */
#include "workbench/cli/commands/faults/check_faults.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/cli/command.h"
#include "workbench/session/fault_check.h"
#include "workbench/trace/install_paths.h"
#include "workbench/trace/json_file.h"

/* A check under way. */
struct check {
    struct fault_check faults;
    const char *device;
    const char *only; /* the one model to check, by its name under golden/ or its path; NULL: all */
    bool quiet;       /* standard output is for the JSON */
    json_t *entries, *kinds;
    uint32_t healthy_alarms, n_failed, n_kinds_failed, n_models;
    bool *applied; /* [n_faults] whether it applied to any model */
};

json_t *place_of(const struct plan *plan, int64_t step)
{
    json_t *object = json_object();
    json_put(object, "layer", step < 0 ? json_null() : json_layer(plan->steps[step].layer));
    json_put(object, "stage", step < 0 ? json_null() : json_string(stage_name(plan->steps[step].stage)));
    return object;
}

/* Prints a line and adds an entry to the JSON. */
static void record_outcome(struct check *check, const struct fault *fault, const char *model,
                           const struct fault_outcome *outcome)
{
    char label[64];
    const struct plan *plan = check->faults.healthy.plan; /* with the steps that are judged but not run */
    check->n_failed += !outcome->ok;
    if (!check->quiet) {
        printf("%-4s %-18s %-26s %-24s %s%s%s\n", outcome->ok ? "ok" : "FAIL", model, fault->name,
               outcome->failed      ? "engine: not captured"
               : outcome->found < 0 ? "nothing found"
                                    : step_label(&plan->steps[outcome->found], label),
               outcome->named, *outcome->named ? ", " : "", outcome->how);
    }
    json_t *entry = json_object();
    json_put(entry, "fault", json_string(fault->name));
    json_put(entry, "postmortem", json_string(fault->postmortem));
    json_put(entry, "model", json_text(model));
    json_put(entry, "injected", place_of(plan, outcome->planted));
    json_put(entry, "found", place_of(plan, outcome->found));
    json_put(entry, "named", json_string(outcome->named));
    json_put(entry, "how", json_string(outcome->how));
    json_put(entry, "ok", json_boolean(outcome->ok));
    json_push(check->entries, entry);
}

/* Judges a healthy run, then plants every fault that applies to the model, unless healthy_only. */
static enum status check_model(struct check *check, const char *path, const char *name, const char *golden,
                               bool healthy_only, struct error *err)
{
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    TRY(fault_check_open(&check->faults, path, golden, check->device, err));
    uint32_t n_alarms = check->faults.healthy.verdict.n_introduced;
    check->healthy_alarms += n_alarms;
    if (!check->quiet) {
        printf("%-4s %-18s %-26s %u alarms\n", n_alarms ? "FAIL" : "ok", name, "(healthy)", n_alarms);
    }
    for (uint32_t i = 0; i < n_faults && !healthy_only; i++) {
        bool applies;
        int64_t planted;
        struct fault_outcome outcome;
        TRY(fault_check_applies(&check->faults, faults[i].name, &applies, &planted, err));
        if (!applies) {
            continue;
        }
        check->applied[i] = true;
        TRY(fault_check_run(&check->faults, faults[i].name, &outcome, err));
        record_outcome(check, &faults[i], name, &outcome);
        fault_outcome_free(&outcome);
    }
    if (!healthy_only) {
        const struct comparison *healthy = &check->faults.healthy;
        check->n_kinds_failed += check_kinds(check->kinds, name, healthy->plan, healthy->list[0]);
    }
    return STATUS_OK;
}

/* Checks a model, NAME or NAME.gguf, on the tokens of NAME.h5 if that lies beside it. only: skip other NAMEs; NULL:
 * skip none. */
static enum status check_path(struct check *check, const char *path, const char *only, bool healthy_only,
                              struct error *err)
{
    char golden[PATH_MAX + 4], name[256];
    size_t length = strlen(path), end = strlen(".gguf");
    while (length > 1 && path[length - 1] == '/') {
        length--;
    }
    size_t stem = length > end && strncmp(path + length - end, ".gguf", end) == 0 ? length - end : length, first = stem;
    while (first > 0 && path[first - 1] != '/') {
        first--;
    }
    snprintf(golden, sizeof(golden), "%.*s.h5", (int)stem, path);
    snprintf(name, sizeof(name), "%.*s", (int)(stem - first), path + first);
    if (only && strcmp(name, only) != 0) {
        return STATUS_OK;
    }
    check->n_models++;
    return check_model(check, path, name, access(golden, R_OK) == 0 ? golden : NULL, healthy_only, err);
}

/* Checks a model of which this file was found: NAME/config.json, NAME/manifest.json or NAME.gguf. golden/same/ holds
 * one model in several formats; a healthy run of each is enough to check its reader. */
static enum status check_found(struct check *check, const char *found, struct error *err)
{
    char path[PATH_MAX];
    bool is_gguf = strcmp(strrchr(found, '.'), ".gguf") == 0;
    snprintf(path, sizeof(path), "%.*s", is_gguf ? (int)strlen(found) : (int)(strrchr(found, '/') - found), found);
    return check_path(check, path, check->only, strstr(found, "/same/") != NULL, err);
}

static enum status check_all(struct check *check, struct error *err)
{
    static const char *const patterns[] = {"/*/config.json",      "/*/manifest.json",      "/*.gguf",
                                           "/same/*/config.json", "/same/*/manifest.json", "/same/*.gguf"};
    char folder[PATH_MAX], pattern[PATH_MAX + 32];
    glob_t found = {0};
    enum status status = STATUS_OK;
    if (check->only && access(check->only, F_OK) == 0) {
        status = check_path(check, check->only, NULL, false, err);
        fault_check_close(&check->faults);
        return status;
    }
    TRY(install_path("golden", folder, err));
    for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
        snprintf(pattern, sizeof(pattern), "%s%s", folder, patterns[i]);
        (void)glob(pattern, i > 0 ? GLOB_APPEND : 0, NULL, &found); /* a pattern without a match is no error */
    }
    if (found.gl_pathc == 0) {
        return error_set(err, STATUS_ABSENT, folder, NULL, ERROR_NO_OFFSET,
                         "has no models, expected the small ones that come with lockstep");
    }
    for (size_t i = 0; i < found.gl_pathc && status == STATUS_OK; i++) {
        status = check_found(check, found.gl_pathv[i], err);
    }
    globfree(&found);
    fault_check_close(&check->faults);
    if (status == STATUS_OK && check->n_models == 0) {
        return error_set(err, STATUS_BAD_INPUT, NULL, "MODEL", ERROR_NO_OFFSET,
                         "\"%s\", expected a model, or the name of one under %s", check->only, folder);
    }
    return status;
}

/* Lists the faults that no model can show, and that this check therefore says nothing about. */
static void report_unapplied(struct check *check)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (check->applied[i]) {
            continue;
        }
        if (!check->quiet) {
            printf("n/a  %-18s %-26s %s\n", "-", faults[i].name,
                   check->only ? "does not apply to this model" : "applies to no model under golden/");
        }
    }
}

enum status check_faults(const struct arguments *arguments, bool quiet, struct error *err)
{
    uint32_t n_faults;
    fault_list(&n_faults);
    struct check check = {.device = arguments->device,
                          .only = arguments->n_positional ? arguments->positional[0] : NULL,
                          .quiet = quiet,
                          .entries = json_array(),
                          .kinds = json_array()};
    check.applied = xcalloc(n_faults, sizeof(*check.applied));
    enum status status = check_all(&check, err);
    if (status == STATUS_OK) {
        report_unapplied(&check);
    }
    if (status == STATUS_OK && !quiet) {
        print_kinds(check.kinds);
    }
    free(check.applied);
    json_t *object = json_object();
    json_put(object, "format", json_string("lockstep-faults"));
    json_put(object, "version", json_integer(1));
    json_put(object, "healthy_alarms", json_integer(check.healthy_alarms));
    json_put(object, "faults", check.entries);
    json_put(object, "kinds", check.kinds);
    if (status == STATUS_OK && arguments->json) {
        status = json_write_lines(object, arguments->json, err);
    } else {
        json_decref(object);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (!quiet) {
        printf("%u faults missed, %u false alarms\n", check.n_failed, check.healthy_alarms);
    }
    return check.n_failed + check.n_kinds_failed + check.healthy_alarms > 0 ? STATUS_DIVERGED : STATUS_OK;
}
