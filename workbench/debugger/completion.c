#include "workbench/debugger/completion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/fault/fault.h"
#include "workbench/probes/probe_config.h"

struct search {
    struct candidates *candidates;
    const struct plan *plan; /* NULL: any model's */
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

/* Whether the model has a stage: in a layer, or in any (LAYER_ANY). */
#define LAYER_ANY (-2)
static bool has_stage(const struct search *search, enum stage stage, int32_t layer)
{
    bool found = search->plan == NULL && layer == LAYER_ANY;
    for (uint32_t s = 0; !found && search->plan != NULL && s < search->plan->n_steps; s++) {
        const struct step *step = &search->plan->steps[s];
        found = step->stage == stage && (layer == LAYER_ANY || step->layer == layer);
    }
    return found;
}

/* STAGE, and once @ is typed STAGE@LAYER. */
static void offer_stages(const struct search *search)
{
    const char *at = strchr(search->prefix, '@');
    search->candidates->open_ended = at == NULL;
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        if (at == NULL && has_stage(search, (enum stage)stage, LAYER_ANY)) {
            offer(search, stage_name(stage));
        }
        for (int32_t layer = 0; at != NULL && search->plan != NULL && layer < (int32_t)search->plan->n_layers;
             layer++) {
            char place[64];
            snprintf(place, sizeof(place), "%s@%d", stage_name(stage), layer);
            if (strncmp(place, search->prefix, strlen(search->prefix)) == 0 &&
                has_stage(search, (enum stage)stage, layer)) {
                offer(search, place);
            }
        }
    }
}

static void offer_layers(const struct search *search)
{
    for (uint32_t layer = 0; search->plan != NULL && layer < search->plan->n_layers; layer++) {
        char number[16];
        snprintf(number, sizeof(number), "%u", layer);
        offer(search, number);
    }
}

/* LAYER.STAGE: first the layers, and behind the point the layer's stages; or STAGE@LAYER. */
static void offer_places(const struct search *search)
{
    size_t digits = strspn(search->prefix, "0123456789");
    bool layer_given = digits > 0 && search->prefix[digits] == '.';
    if (digits == 0 && search->prefix[0] != '\0') {
        offer_stages(search);
        return;
    }
    search->candidates->open_ended = !layer_given;
    for (uint32_t layer = 0; search->plan != NULL && layer < search->plan->n_layers; layer++) {
        char place[64];
        snprintf(place, sizeof(place), "%u.", layer);
        if (!layer_given) {
            offer(search, place);
        }
        for (uint32_t s = 0; layer_given && s < search->plan->n_steps; s++) {
            if (search->plan->steps[s].layer == (int32_t)layer) {
                snprintf(place, sizeof(place), "%u.%s", layer, stage_name(search->plan->steps[s].stage));
                offer(search, place);
            }
        }
    }
}

static void offer_words(const struct search *search, const char *const *words)
{
    for (; *words != NULL; words++) {
        offer(search, *words);
    }
}

static void offer_conditions(const struct search *search)
{
    search->candidates->open_ended = true; /* a number follows most of them */
    offer_words(search, (const char *const[]){"nan", "maxabs>", "ratio>", NULL});
}

static void offer_switch(const struct search *search)
{
    offer_words(search, (const char *const[]){"on", "off", NULL});
}

static void offer_errors(const struct search *search)
{
    offer_words(search, (const char *const[]){"stop", "continue", NULL});
}

static void offer_topics(const struct search *search)
{
    for (uint32_t i = 0; repl_topic_at(i) != NULL; i++) {
        offer(search, repl_topic_at(i));
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
    {"<layers>", offer_layers},   {"<places>", offer_places},         {"<conditions>", offer_conditions},
    {"<switch>", offer_switch},   {"<errors>", offer_errors},         {"<topics>", offer_topics},
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

/* previous: the word before the one to complete. first: that one is the command's first. */
static void offer_completion(const struct search *search, const char *completion, const char *previous, bool first)
{
    char copy[256], *rest;
    snprintf(copy, sizeof(copy), "%s", completion);
    char *further = strchr(copy, '/');
    bool behind = further != NULL && !first;
    if (further != NULL) {
        *further = '\0';
        if (!first) {
            memmove(copy, further + 1, strlen(further + 1) + 1);
        }
    }
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
        if (after == NULL || !behind) {
            offer_entry(search, entry);
        }
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

/* How many words stand in bytes [first, end) of a line. */
static uint32_t count_words(const char *line, uint32_t first, uint32_t end)
{
    uint32_t n = 0;
    for (uint32_t i = first; i < end; i++) {
        n += line[i] != ' ' && (i == first || line[i - 1] == ' ');
    }
    return n;
}

void candidates_find(struct candidates *candidates, const struct plan *plan, const char *line, uint32_t start,
                     const char *prefix)
{
    *candidates = (struct candidates){0};
    const struct search search = {candidates, plan, prefix};
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
        uint32_t n = count_words(line, offset + (uint32_t)strcspn(line + offset, " "), start);
        if (n < command->max || command->raw) {
            offer_completion(&search, command->completion, previous, n == 0);
        }
    }
}

const char *candidates_suggest(const struct repl_command *command, const char *word, char text[SUGGEST_SIZE])
{
    struct suggestion suggestion = {.word = word};
    struct candidates candidates = {0};
    const struct search search = {&candidates, NULL, ""};
    char copy[256], *rest;
    snprintf(copy, sizeof(copy), "%s", command->completion != NULL ? command->completion : "");
    for (char *entry = strtok_r(copy, " /", &rest); entry != NULL; entry = strtok_r(NULL, " /", &rest)) {
        entry[strcspn(entry, ":")] = '\0';
        if (strcmp(entry, "<files>") != 0) {
            offer_entry(&search, entry);
        }
    }
    for (uint32_t i = 0; i < candidates.n; i++) {
        suggest_offer(&suggestion, candidates.word[i]);
    }
    candidates_free(&candidates);
    return suggest_text(&suggestion, text);
}

void candidates_free(struct candidates *candidates)
{
    for (uint32_t i = 0; i < candidates->n; i++) {
        free(candidates->word[i]);
    }
    free(candidates->word);
    *candidates = (struct candidates){0};
}
