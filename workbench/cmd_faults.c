/* lockstep faults: the list of known bugs. With --check each is planted in the engine, on every small model under
 * golden/ that it applies to, and must be found where it was planted and called by its name; healthy runs must raise no
 * alarm. */
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/command.h"
#include "workbench/comparison.h"
#include "workbench/json_file.h"
#include "workbench/session.h"

static void list_faults(void)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++)
        printf("%s%s\n    %s\n    %s\n", faults[i].name, faults[i].silent ? " (silent: nothing may be reported)" : "",
               faults[i].story, faults[i].postmortem);
}

static enum status list_as_json(const char *path, struct error *err)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    json_t *object = json_object(), *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_t *entry = json_object();
        json_put(entry, "fault", json_string(faults[i].name));
        json_put(entry, "story", json_string(faults[i].story));
        json_put(entry, "postmortem", json_string(faults[i].postmortem));
        json_put(entry, "silent", json_boolean(faults[i].silent));
        json_push(array, entry);
    }
    json_put(object, "format", json_string("lockstep-faults"));
    json_put(object, "version", json_integer(1));
    json_put(object, "faults", array);
    return json_write_file(object, path, err);
}

/* golden/ beside the folder of the program (build/lockstep), else where the sources were built. */
static void golden_folder(char folder[PATH_MAX])
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0) {
        program[length] = '\0';
        snprintf(folder, PATH_MAX, "%.*s/../golden", PATH_MAX - 16, dirname(program));
        if (access(folder, R_OK | X_OK) == 0)
            return;
    }
    snprintf(folder, PATH_MAX, "%s/golden", LOCKSTEP_SOURCE_DIR);
}

/* The check of all faults: what was found so far. */
struct check {
    const char *device;
    const char *only; /* NULL, or the name of the one model to check */
    bool quiet;       /* the JSON goes to standard output */
    json_t *entries;
    uint32_t healthy_alarms, n_failed, n_models;
    bool *applied; /* [n_faults] to any model */
};

/* The engine runs the golden's tokens, with a fault (NULL: healthy), and its trace is judged. The reference need not
 * run: the audit is the reference's op. */
static enum status judge_engine(const struct check *check, const char *model, const struct trace *golden,
                                const char *fault, struct session *session, struct comparison *comparison,
                                struct error *err)
{
    const struct session_options options = {.engine = true,
                                            .device = check->device,
                                            .max_positions = golden->n_positions,
                                            .faults = &fault,
                                            .n_faults = fault != NULL};
    struct trace trace;
    enum status status = session_open(session, model, &options, err);
    if (status)
        return status;
    *comparison = (struct comparison){.plan = &session->plan};
    status = trace_check_plan(golden, &session->plan, err);
    if (!status)
        status = session_record(session, SOURCE_ENGINE, golden->n_positions, golden->tokens, golden->phase, NULL,
                                &trace, NULL, NULL, err);
    if (status) {
        session_close(session);
        return status;
    }
    comparison_add(comparison, SOURCE_ENGINE, &trace);
    comparison_judge(comparison, true, NULL);
    return STATUS_OK;
}

/* The step at which a planted fault shows first, by what the healthy run recorded; -1: of no step. false: it does not
 * apply to this model, or shows nowhere (a window that no position passes). */
static bool planted_step(const struct fault *fault, const struct plan *plan, const struct trace *healthy, int32_t *step)
{
    const struct fault_request request = {fault, LAYER_NONE, STAGE_COUNT};
    struct plan copy;
    int32_t first;
    plan_copy(&copy, plan);
    bool applies = fault_plant(&request, &copy, &first, NULL) == STATUS_OK;
    *step = -1;
    for (uint32_t i = 0; applies && first >= 0 && i < plan->n_steps && *step < 0; i++)
        if (memcmp(&copy.steps[i], &plan->steps[i], sizeof copy.steps[i]) != 0 && fault_shows(fault, plan, i, healthy))
            *step = (int32_t)i;
    plan_free(&copy);
    return applies && (first < 0 || *step >= 0);
}

/* Found where it was planted, in the phase where it shows, and named first, as its row says. */
static bool found_and_named(const struct fault *fault, int32_t planted, const struct comparison *comparison)
{
    const struct verdict *verdict = &comparison->verdict;
    if (fault->silent || !verdict->diverged)
        return fault->silent && !verdict->diverged;
    const struct finding *finding = audit_finding(&comparison->audit, verdict->introduced[0].step, 0);
    bool in_phase = !fault->decode_only || comparison->list[0]->phase[finding->position] == PHASE_DECODE;
    return (int32_t)verdict->introduced[0].step == planted && in_phase && comparison->n_diagnoses > 0 &&
           strcmp(comparison->diagnoses[0].fault, fault->name) == 0 &&
           comparison->diagnoses[0].how == (fault->relation ? HOW_RELATION : HOW_REPRODUCED);
}

static json_t *place(const struct plan *plan, int64_t step)
{
    json_t *object = json_object();
    json_put(object, "layer", step < 0 ? json_null() : json_layer(plan->steps[step].layer));
    json_put(object, "stage", step < 0 ? json_null() : json_string(stage_name(plan->steps[step].stage)));
    return object;
}

/* What happened with one fault on one model. */
struct outcome {
    int64_t planted, found;
    const char *named, *how;
    bool ok;
};

/* One line for people, one entry for scripts. */
static void record_outcome(struct check *check, const struct fault *fault, const char *model, const struct plan *plan,
                           const struct outcome *outcome)
{
    char label[64];
    check->n_failed += !outcome->ok;
    if (!check->quiet)
        printf("%-4s %-16s %-26s %-24s %s%s%s\n", outcome->ok ? "ok" : "FAIL", model, fault->name,
               outcome->found < 0 ? "nothing found" : step_label(&plan->steps[outcome->found], label), outcome->named,
               *outcome->named ? ", " : "", outcome->how);
    json_t *entry = json_object();
    json_put(entry, "fault", json_string(fault->name));
    json_put(entry, "postmortem", json_string(fault->postmortem));
    json_put(entry, "model", json_text(model));
    json_put(entry, "injected", place(plan, outcome->planted));
    json_put(entry, "found", place(plan, outcome->found));
    json_put(entry, "named", json_string(outcome->named));
    json_put(entry, "how", json_string(outcome->how));
    json_put(entry, "ok", json_boolean(outcome->ok));
    json_push(check->entries, entry);
}

/* One fault on one model. A fault that breaks the engine must end the run, and nothing is judged. */
static enum status check_fault(struct check *check, const struct fault *fault, const char *path, const char *name,
                               const struct trace *golden, const struct plan *plan, int32_t planted, struct error *err)
{
    struct session session;
    struct comparison comparison;
    struct error broken;
    enum status status = judge_engine(check, path, golden, fault->name, &session, &comparison, &broken);
    if (fault->breaks_engine && status == STATUS_DEVICE) {
        record_outcome(check, fault, name, plan, &(struct outcome){planted, planted, fault->name, "failed", true});
        return STATUS_OK;
    }
    if (status) {
        *err = broken;
        return status;
    }
    const struct verdict *verdict = &comparison.verdict;
    const struct diagnosis *first = comparison.n_diagnoses > 0 ? &comparison.diagnoses[0] : NULL;
    int64_t found = verdict->diverged ? (int64_t)verdict->introduced[0].step : -1;
    record_outcome(check, fault, name, plan,
                   &(struct outcome){.planted = planted,
                                     .found = found,
                                     .named = first ? first->fault : "",
                                     .how = first                        ? diagnosis_how_name(first->how)
                                            : fault->silent && found < 0 ? "silent"
                                                                         : "none",
                                     .ok = !fault->breaks_engine && found_and_named(fault, planted, &comparison)});
    comparison_free(&comparison);
    session_close(&session);
    return STATUS_OK;
}

/* A healthy run first; then every fault that applies to the model. */
static enum status check_model(struct check *check, const char *path, const char *name, const struct trace *golden,
                               struct error *err)
{
    struct session session;
    struct comparison comparison;
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    enum status status = judge_engine(check, path, golden, NULL, &session, &comparison, err);
    if (status)
        return status;
    check->healthy_alarms += comparison.verdict.n_introduced;
    if (!check->quiet)
        printf("%-4s %-16s %-26s %u alarms\n", comparison.verdict.n_introduced ? "FAIL" : "ok", name, "(healthy)",
               comparison.verdict.n_introduced);
    for (uint32_t i = 0; i < n_faults && !status; i++) {
        int32_t planted;
        if (!planted_step(&faults[i], &session.plan, comparison.list[0], &planted))
            continue;
        check->applied[i] = true;
        status = check_fault(check, &faults[i], path, name, golden, &session.plan, planted, err);
    }
    comparison_free(&comparison);
    session_close(&session);
    return status;
}

/* golden/NAME/config.json or golden/NAME.gguf, with golden/NAME.h5 beside it. */
static enum status check_found(struct check *check, const char *found, struct error *err)
{
    static const char config[] = "/config.json", gguf[] = ".gguf";
    char path[PATH_MAX], name[PATH_MAX], golden_path[PATH_MAX + 4];
    struct trace golden;
    size_t length = strlen(found);
    bool is_folder = length > strlen(config) && strcmp(found + length - strlen(config), config) == 0;
    size_t stem = length - (is_folder ? strlen(config) : strlen(gguf));
    snprintf(path, sizeof path, "%.*s", (int)(is_folder ? stem : length), found);
    snprintf(name, sizeof name, "%.*s", (int)stem, found);
    snprintf(golden_path, sizeof golden_path, "%s.h5", name);
    if (access(golden_path, R_OK) != 0 || (check->only && strcmp(strrchr(name, '/') + 1, check->only) != 0))
        return STATUS_OK;
    check->n_models++;
    enum status status = trace_read(&golden, golden_path, err);
    if (status)
        return status;
    status = check_model(check, path, strrchr(name, '/') + 1, &golden, err);
    trace_free(&golden);
    return status;
}

static enum status check_all(struct check *check, struct error *err)
{
    char folder[PATH_MAX], pattern[PATH_MAX + 32];
    glob_t found;
    enum status status = STATUS_OK;
    golden_folder(folder);
    snprintf(pattern, sizeof pattern, "%s/*/config.json", folder);
    bool any = glob(pattern, 0, NULL, &found) == 0;
    snprintf(pattern, sizeof pattern, "%s/*.gguf", folder);
    any |= glob(pattern, GLOB_APPEND, NULL, &found) == 0;
    if (!any)
        return error_set(err, STATUS_ABSENT, folder, NULL, ERROR_NO_OFFSET,
                         "has no models, expected the small ones that come "
                         "with lockstep");
    for (size_t i = 0; i < found.gl_pathc && !status; i++)
        status = check_found(check, found.gl_pathv[i], err);
    globfree(&found);
    if (!status && check->n_models == 0)
        return error_set(err, STATUS_BAD_INPUT, NULL, "MODEL", ERROR_NO_OFFSET,
                         "\"%s\", expected the name of a model under %s that has a golden", check->only, folder);
    return status;
}

/* A fault that no model can show is not proved to be found: it is listed. */
static void report_unapplied(struct check *check)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (check->applied[i])
            continue;
        if (!check->quiet)
            printf("n/a  %-16s %-26s applies to no model under golden/\n", "-", faults[i].name);
    }
}

enum status command_faults(const struct arguments *arguments, struct error *err)
{
    bool quiet = arguments->json && strcmp(arguments->json, "-") == 0;
    uint32_t n_faults;
    fault_list(&n_faults);
    if (!arguments->check && !quiet)
        list_faults();
    if (!arguments->check)
        return arguments->json ? list_as_json(arguments->json, err) : STATUS_OK;
    struct check check = {.device = arguments->device,
                          .only = arguments->n_positional ? arguments->positional[0] : NULL,
                          .quiet = quiet,
                          .entries = json_array()};
    check.applied = xcalloc(n_faults, sizeof *check.applied);
    enum status status = check_all(&check, err);
    if (!status)
        report_unapplied(&check);
    free(check.applied);
    json_t *object = json_object();
    json_put(object, "format", json_string("lockstep-faults"));
    json_put(object, "version", json_integer(1));
    json_put(object, "healthy_alarms", json_integer(check.healthy_alarms));
    json_put(object, "faults", check.entries);
    if (!status && arguments->json)
        status = json_write_file(object, arguments->json, err);
    else
        json_decref(object);
    if (status)
        return status;
    if (!quiet)
        printf("%u faults missed, %u false alarms\n", check.n_failed, check.healthy_alarms);
    return check.n_failed + check.healthy_alarms > 0 ? STATUS_DIVERGED : STATUS_OK;
}
