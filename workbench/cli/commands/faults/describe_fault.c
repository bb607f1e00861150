#include "workbench/cli/commands/faults/describe_fault.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "workbench/cli/command.h"
#include "workbench/diagnose/kinds/plant.h"
#include "workbench/diagnose/solver.h"
#include "workbench/fault/fault_story.h"
#include "workbench/trace/install_paths.h"
#include "workbench/trace/json_file.h"

/* What is told, field by field, on standard output and in the JSON. */
struct description {
    json_t *json;
    bool quiet;
};

static void tell(struct description *to, const char *key, const char *title, const char *text)
{
    if (*text == '\0') {
        return;
    }
    json_put(to->json, key, json_string(text));
    if (!to->quiet) {
        printf("%-12s %s\n", title, text);
    }
}

/* Adds to a list in words: "a, b". */
static void add_word(char *list, size_t size, const char *separator, const char *word)
{
    size_t length = strlen(list);
    snprintf(list + length, size - length, "%s%s", length > 0 ? separator : "", word);
}

static void tell_where(struct description *to, const struct fault *fault)
{
    char text[768] = "", stages[512] = "";
    for (const enum stage *stage = fault->stages; *stage != STAGE_COUNT; stage++) {
        add_word(stages, sizeof(stages), ", ", stage_name(*stage));
    }
    if (fault->pads_buffers) {
        snprintf(text, sizeof(text), "no step: the engine's buffers");
    } else {
        snprintf(text, sizeof(text), "%s%sat %s%s%s; %s", fault->op == OP_COUNT ? "" : op_info(fault->op)->name,
                 fault->op == OP_COUNT ? "" : ", ", stages,
                 fault->only_if || fault->edit ? ", where it changes the model" : "",
                 fault->decode_only ? ", in decode alone" : "",
                 fault->every_layer   ? "planted in every such layer at once"
                 : fault->whole_layer ? "planted in all of them in one layer"
                                      : "planted in the first one alone");
    }
    tell(to, "applies", "applies to", text);
}

static void tell_how(struct description *to, const struct fault *fault)
{
    char text[512];
    if (fault->in_chunks) {
        snprintf(text, sizeof(text),
                 "only where a prompt runs in several batches, as `lockstep invariants` has it; there it "
                 "is called positions");
    } else if (fault->silent) {
        snprintf(text, sizeof(text), "not at all: a report of it would be a false alarm");
    } else if (fault->breaks_engine) {
        snprintf(text, sizeof(text), "the engine fails (exit 6), and nothing is judged");
    } else {
        enum stage stage = fault->shows_at ? fault->shows_at : fault->found.stage;
        char by[128] = "the op, computed with this bug, gives the recorded rows";
        if (fault->relation) {
            snprintf(by, sizeof(by), "the recorded rows stand in the relation %s", fault->relation);
        }
        snprintf(text, sizeof(text), "%s%s fails%s (on %s at %s of layer %d); it is named because %s",
                 fault->nonfinite ? "NaN or infinity: " : "", stage_name(stage),
                 fault->decode_only ? " in decode rows alone" : "", fault->found.model, stage_name(fault->found.stage),
                 fault->found.layer, by);
        if (fault->found.layer == LAYER_NONE) {
            snprintf(text, sizeof(text), "%s%s fails%s (on %s); it is named because %s",
                     fault->nonfinite ? "NaN or infinity: " : "", stage_name(stage),
                     fault->decode_only ? " in decode rows alone" : "", fault->found.model, by);
        }
    }
    tell(to, "shows", "how it shows", text);
}

/* The command that plants it in a model that comes with lockstep, and finds it. */
static void tell_command(struct description *to, const struct fault *fault)
{
    char folder[PATH_MAX], golden[PATH_MAX + 64] = "", text[512];
    const char *model = fault->found.model;
    int stem = (int)strcspn(model, ".");
    if (install_path("golden", folder, NULL) == STATUS_OK) {
        snprintf(golden, sizeof(golden), "%s/%.*s.h5", folder, stem, model);
    }
    if (*golden && access(golden, R_OK) == 0) {
        snprintf(text, sizeof(text), "lockstep diff golden/%s --golden golden/%.*s.h5 --fault %s", model, stem, model,
                 fault->name);
    } else {
        snprintf(text, sizeof(text),
                 "lockstep trace golden/%s --ids 3,17,34,44,9 -n 3 --fault %s -o bug.h5 && lockstep audit golden/%s "
                 "bug.h5",
                 model, fault->name, model);
    }
    tell(to, "plant", "plant it", text);
}

static void tell_formula(struct description *to, const char *right, const char *wrong)
{
    tell(to, "right", "right", right);
    tell(to, "wrong", "wrong", wrong);
}

static void describe_known(struct description *to, const struct fault *fault)
{
    const struct fault_formula *formula = fault_formula_of(fault);
    tell(to, "fault", "fault", fault->name);
    tell(to, "kind", "kind", fault_kind_name(fault->kind));
    tell(to, "story", "what it is", fault->story);
    tell_formula(to, formula->right, formula->wrong);
    tell_where(to, fault);
    tell_how(to, fault);
    tell(to, "postmortem", "postmortem", fault->postmortem);
    tell_command(to, fault);
}

/* The known faults of a kind, the bugs that are planted to check its solvers, and the solvers, as lists in words. */
static void list_of_kind(enum fault_kind kind, char faults[1024], char bugs[1024], char solvers[512])
{
    uint32_t n;
    const struct fault *list = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (list[i].kind == kind) {
            add_word(faults, 1024, ", ", list[i].name);
        }
    }
    const struct kind_bug *planted = kind_bugs(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (planted[i].kind != kind) {
            continue;
        }
        add_word(bugs, 1024, ", ", planted[i].name);
        if (!strstr(solvers, planted[i].solver)) {
            add_word(solvers, 512, ", ", planted[i].solver);
        }
    }
}

static void describe_kind(struct description *to, enum fault_kind kind)
{
    const struct kind_story *story = kind_story_of(kind);
    char faults[1024] = "", bugs[1024] = "", solvers[512] = "";
    list_of_kind(kind, faults, bugs, solvers);
    tell(to, "kind", "kind", fault_kind_name(kind));
    tell(to, "story", "what it is", story->story);
    tell_formula(to, story->right, story->wrong);
    tell(to, "shows", "how it shows", story->shows);
    tell(to, "faults", "known faults", faults);
    tell(to, "solvers", "solved by", solvers);
    tell(to, "bugs", "checked with", bugs);
    uint32_t n;
    const struct fault *list = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (list[i].kind == kind) {
            tell_command(to, &list[i]);
            return;
        }
    }
    tell(to, "plant", "plant it", *bugs ? "lockstep faults --check" : "");
}

static void describe_bug(struct description *to, const struct kind_bug *bug)
{
    tell(to, "bug", "bug", bug->name);
    tell(to, "kind", "kind", fault_kind_name(bug->kind));
    tell(to, "story", "what it is", bug->story);
    const struct kind_story *story = kind_story_of(bug->kind);
    tell_formula(to, story->right, story->wrong);
    tell(to, "applies", "applies to", op_info(bug->op)->name);
    tell(to, "shows", "how it shows", story->shows);
    tell(to, "solvers", "solved by", bug->solver);
    tell(to, "plant", "plant it", "lockstep faults --check");
}

enum status describe_fault(const struct arguments *arguments, bool quiet, struct error *err)
{
    const char *name = arguments->positional[0];
    const struct fault *fault = fault_by_name(name);
    const struct kind_bug *bug = kind_bug_by_name(name);
    enum fault_kind kind = fault_kind_by_name(name);
    struct description to = {.json = json_object(), .quiet = quiet};
    json_put(to.json, "format", json_string("lockstep-faults"));
    json_put(to.json, "version", json_integer(1));
    if (fault) {
        describe_known(&to, fault);
    } else if (kind != KIND_NONE) {
        describe_kind(&to, kind);
    } else if (bug) {
        describe_bug(&to, bug);
    } else {
        json_decref(to.json);
        char suggestion[SUGGEST_SIZE];
        return error_set(err, STATUS_USAGE, NULL, "NAME", ERROR_NO_OFFSET,
                         "\"%s\" is unknown, expected a fault or a kind that `lockstep faults` lists%s", name,
                         fault_suggest(name, suggestion));
    }
    if (arguments->json) {
        return json_write_file(to.json, arguments->json, err);
    }
    json_decref(to.json);
    return STATUS_OK;
}
