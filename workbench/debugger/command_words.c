#include "workbench/debugger/command_words.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/completion.h"
#include "workbench/trace/stage_list.h"

/* Reads one word from *at into word[], which has room for the rest of the line. false: a quote is not closed. */
static bool read_word(const char **at, char *word)
{
    char quote = '\0';
    for (; **at != '\0'; (*at)++) {
        char c = **at;
        if (quote == '\0' && isspace((unsigned char)c)) {
            break;
        }
        if (c == '\\' && quote != '\'' && (*at)[1] != '\0') {
            *word++ = *++(*at);
        } else if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (c == quote && quote != '\0') {
            quote = '\0';
        } else {
            *word++ = c;
        }
    }
    *word = '\0';
    return quote == '\0';
}

enum status words_split(struct words *words, const char *line, struct error *err)
{
    for (const char *at = line;;) {
        while (isspace((unsigned char)*at)) {
            at++;
        }
        if (*at == '\0' || *at == '#') {
            return STATUS_OK;
        }
        const char *begin = at;
        if (words->n == MAX_WORDS) {
            words_free(words);
            return error_set(err, STATUS_USAGE, NULL, "line", at - line, "more than %d words", MAX_WORDS);
        }
        words->word[words->n] = xmalloc(strlen(at) + 1);
        if (!read_word(&at, words->word[words->n++])) {
            words_free(words);
            return error_set(err, STATUS_USAGE, NULL, "line", begin - line, "a quote opens and does not close");
        }
    }
}

void words_free(struct words *words)
{
    for (uint32_t i = 0; i < words->n; i++) {
        free(words->word[i]);
    }
    words->n = 0;
}

enum status words_refuse(const struct words *words, uint32_t i, struct error *err)
{
    const struct repl_command *command = words->command;
    char suggestion[SUGGEST_SIZE];
    return error_set(err, STATUS_USAGE, NULL, command->name, ERROR_NO_OFFSET, "\"%.40s\", expected: %s %s%s",
                     words->word[i], command->name, command->args,
                     candidates_suggest(command, words->word[i], suggestion));
}

enum status word_number(const char *word, const char *what, int64_t low, int64_t high, int64_t *number,
                        struct error *err)
{
    char *end;
    errno = 0;
    long long value = strtoll(word, &end, 10);
    if (end == word || *end != '\0' || errno != 0 || value < low || value > high) {
        return error_set(err, STATUS_USAGE, NULL, what, ERROR_NO_OFFSET, "\"%s\", expected a number from %lld to %lld",
                         word, (long long)low, (long long)high);
    }
    *number = value;
    return STATUS_OK;
}

enum status word_side(struct repl *repl, const char *word, struct repl_side **side, struct error *err)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (strcmp(source_name(repl->sides[i].source), word) == 0) {
            *side = &repl->sides[i];
            return STATUS_OK;
        }
    }
    char here[64] = "";
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        strcat(strcat(here, i > 0 ? ", " : ""), source_name(repl->sides[i].source));
    }
    struct suggestion suggestion = {.word = word};
    char text[SUGGEST_SIZE];
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        suggest_offer(&suggestion, source_name(repl->sides[i].source));
    }
    return error_set(err, STATUS_USAGE, NULL, "from", ERROR_NO_OFFSET, "\"%s\", expected one of: %s%s", word,
                     here[0] != '\0' ? here : "none, as there is no run", suggest_text(&suggestion, text));
}

/* The layer that ran last; before anything ran, layer 0. */
static int32_t current_layer(const struct repl *repl)
{
    uint32_t last = repl->n_rows > 0 && repl->next > 0 ? repl->next - 1 : 0;
    const struct step *steps = repl->plan->steps;
    while (last > 0 && steps[last].layer == LAYER_NONE) {
        last--;
    }
    return steps[last].layer == LAYER_NONE ? 0 : steps[last].layer;
}

enum status word_step(struct repl *repl, const char *word, uint32_t *step, bool *layer_given, struct error *err)
{
    char name[64];
    size_t length = strcspn(word, "@");
    if (length >= sizeof(name)) {
        length = sizeof(name) - 1;
    }
    memcpy(name, word, length);
    name[length] = '\0';
    enum stage stage = stage_by_name(name);
    if (stage == STAGE_COUNT) {
        char suggestion[SUGGEST_SIZE];
        return error_set(err, STATUS_USAGE, NULL, "stage", ERROR_NO_OFFSET,
                         "\"%s\", expected a stage like layer_out@3 (info plan lists them)%s", name,
                         stage_suggest(name, suggestion));
    }
    const char *at = strchr(word, '@');
    int64_t layer = LAYER_NONE;
    if (at != NULL && !stage_in_layer(stage)) {
        return error_set(err, STATUS_USAGE, NULL, "layer", ERROR_NO_OFFSET, "\"%s\", but %s is outside the layers",
                         at + 1, name);
    }
    if (at != NULL) {
        TRY(word_number(at + 1, "layer", 0, (int64_t)repl->plan->n_layers - 1, &layer, err));
    } else if (stage_in_layer(stage)) {
        layer = current_layer(repl);
    }
    int32_t found = plan_find(repl->plan, (int32_t)layer, stage);
    if (found < 0) {
        return error_set(err, STATUS_USAGE, NULL, "stage", ERROR_NO_OFFSET,
                         "\"%s\", which no step of this model makes (info plan lists the stages)", name);
    }
    *step = (uint32_t)found;
    if (layer_given != NULL) {
        *layer_given = at != NULL;
    }
    return STATUS_OK;
}

enum status word_place(struct repl *repl, const char *word, uint32_t *step, struct error *err)
{
    char stage_at_layer[96];
    size_t digits = strspn(word, "0123456789");
    if (digits > 0 && word[digits] == '\0') { /* a layer: its last step */
        int64_t layer = 0;
        TRY(word_number(word, "layer", 0, (int64_t)repl->plan->n_layers - 1, &layer, err));
        *step = plan_layer_end(repl->plan, (uint32_t)layer) - 1;
        return STATUS_OK;
    }
    if (digits == 0 || word[digits] != '.') {
        return word_step(repl, word, step, NULL, err);
    }
    if (strlen(word) >= sizeof(stage_at_layer)) {
        return error_set(err, STATUS_USAGE, NULL, "place", ERROR_NO_OFFSET, "\"%.40s…\", expected LAYER.STAGE", word);
    }
    strcpy(stage_at_layer, word + digits + 1);
    strcat(stage_at_layer, "@");
    strncat(stage_at_layer, word, digits);
    return word_step(repl, stage_at_layer, step, NULL, err);
}
