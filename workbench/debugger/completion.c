#include "workbench/debugger/completion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/fault/fault.h"
#include "workbench/probes/probe_config.h"

struct search {
    struct candidates *candidates;
    const char *prefix;
};

static void offer(const struct search *search, const char *word)
{
    struct candidates *candidates = search->candidates;
    if (strncmp(word, search->prefix, strlen(search->prefix)) == 0) {
        candidates->word = xrealloc(candidates->word, (candidates->n + 1) * sizeof(*candidates->word));
        candidates->word[candidates->n++] = xstrdup(word);
    }
}

static void offer_stages(const struct search *search)
{
    search->candidates->open_ended = true;
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        offer(search, stage_name(stage));
    }
}

static void offer_commands(const struct search *search)
{
    for (uint32_t i = 0; repl_command_at(i) != NULL; i++) {
        offer(search, repl_command_at(i)->name);
    }
}

static void offer_faults(const struct search *search)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        offer(search, faults[i].name);
    }
}

static void offer_presets(const struct search *search)
{
    for (uint32_t i = 0; probe_preset_name(i) != NULL; i++) {
        offer(search, probe_preset_name(i));
    }
}

static void offer_categories(const struct search *search)
{
    for (uint32_t i = 0; i < TRACE_CATEGORY_COUNT; i++) {
        offer(search, trace_category_name(i));
    }
}

static void offer_files(const struct search *search)
{
    search->candidates->files = true;
}

static const struct {
    const char *name;
    void (*offer)(const struct search *search);
} lists[] = {
    {"<stages>", offer_stages},   {"<commands>", offer_commands},     {"<faults>", offer_faults},
    {"<presets>", offer_presets}, {"<categories>", offer_categories}, {"<files>", offer_files},
};

/* A word, or the list that it names. */
static void offer_entry(const struct search *search, const char *entry)
{
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (strcmp(lists[i].name, entry) == 0) {
            lists[i].offer(search);
            return;
        }
    }
    offer(search, entry);
}

/* previous: the word before the one to complete. */
static void offer_completion(const struct search *search, const char *completion, const char *previous)
{
    char copy[256], *rest;
    snprintf(copy, sizeof(copy), "%s", completion);
    for (char *entry = strtok_r(copy, " ", &rest); entry != NULL; entry = strtok_r(NULL, " ", &rest)) {
        char *after = strchr(entry, ':');
        if (after != NULL) {
            *after++ = '\0';
            if (strcmp(entry, previous) == 0) { /* what follows this word, and nothing else */
                candidates_free(search->candidates);
                offer_entry(search, after);
                return;
            }
        }
        offer_entry(search, entry);
    }
}

/* The word of the line that ends before `end`, without the blanks between. */
static void word_before(const char *line, uint32_t end, char word[64])
{
    while (end > 0 && line[end - 1] == ' ') {
        end--;
    }
    uint32_t begin = end;
    while (begin > 0 && line[begin - 1] != ' ') {
        begin--;
    }
    snprintf(word, 64, "%.*s", (int)(end - begin), line + begin);
}

void candidates_find(struct candidates *candidates, const char *line, uint32_t start, const char *prefix)
{
    *candidates = (struct candidates){0};
    const struct search search = {candidates, prefix};
    char name[64], previous[64];
    uint32_t offset = (uint32_t)strspn(line, " ");
    if (start <= offset) {
        offer_commands(&search);
        return;
    }
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(line + offset, " "), line + offset);
    word_before(line, start, previous);
    const struct repl_command *command = repl_command_by_name(name);
    if (command != NULL && strcmp(previous, "from") == 0) {
        offer(&search, source_name(SOURCE_ENGINE));
        offer(&search, source_name(SOURCE_REFERENCE));
        offer(&search, source_name(SOURCE_GOLDEN));
    } else if (command != NULL && command->completion != NULL) {
        offer_completion(&search, command->completion, previous);
    }
}

void candidates_free(struct candidates *candidates)
{
    for (uint32_t i = 0; i < candidates->n; i++) {
        free(candidates->word[i]);
    }
    free(candidates->word);
    *candidates = (struct candidates){0};
}
