/* lockstep faults: lists the known bugs and the kinds of bugs that are solved for; check_faults.c is its --check. */
#include <stdio.h>
#include <string.h>

#include "workbench/cli/command.h"
#include "workbench/cli/commands/faults/check_faults.h"
#include "workbench/cli/commands/faults/describe_fault.h"
#include "workbench/fault/fault_story.h"
#include "workbench/trace/json_file.h"

static void list_faults(void)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        printf("%s%s\n    %s\n    %s; %s\n", faults[i].name,
               faults[i].in_chunks ? " (shows only where a prompt runs in chunks)"
               : faults[i].silent  ? " (silent: nothing may be reported)"
                                   : "",
               faults[i].story, fault_kind_name(faults[i].kind), faults[i].postmortem);
    }
}

/* The kinds, with the names of the bugs that are planted to check what is solved for. */
static void list_kinds(void)
{
    printf("\nKinds of bugs. Where no fault above explains an op, its error is solved for:\n");
    const struct kind_story *story;
    for (enum fault_kind kind = KIND_NONE + 1; (story = kind_story_of(kind)) != NULL; kind++) {
        printf("%s\n    %s\n", fault_kind_name(kind), story->story);
    }
    printf("\n`lockstep faults NAME` tells one of them.\n");
}

static json_t *kinds_as_json(void)
{
    json_t *array = json_array();
    const struct kind_story *story;
    for (enum fault_kind kind = KIND_NONE + 1; (story = kind_story_of(kind)) != NULL; kind++) {
        json_t *entry = json_object();
        json_put(entry, "kind", json_string(fault_kind_name(kind)));
        json_put(entry, "story", json_string(story->story));
        json_push(array, entry);
    }
    return array;
}

static enum status list_as_json(const char *path, struct error *err)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    json_t *object = json_object(), *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_t *entry = json_object();
        json_put(entry, "fault", json_string(faults[i].name));
        json_put(entry, "kind", json_string(fault_kind_name(faults[i].kind)));
        json_put(entry, "story", json_string(faults[i].story));
        json_put(entry, "postmortem", json_string(faults[i].postmortem));
        json_put(entry, "silent", json_boolean(faults[i].silent));
        json_push(array, entry);
    }
    json_put(object, "format", json_string("lockstep-faults"));
    json_put(object, "version", json_integer(1));
    json_put(object, "faults", array);
    json_put(object, "kinds", kinds_as_json());
    return json_write_file(object, path, err);
}

enum status command_faults(const struct arguments *arguments, struct error *err)
{
    bool quiet = arguments->json && strcmp(arguments->json, "-") == 0;
    if (arguments->check) {
        return check_faults(arguments, quiet, err);
    }
    if (arguments->n_positional > 0) {
        return describe_fault(arguments, quiet, err);
    }
    if (!quiet) {
        list_faults();
        list_kinds();
    }
    return arguments->json ? list_as_json(arguments->json, err) : STATUS_OK;
}
