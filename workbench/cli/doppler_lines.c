#include "workbench/cli/doppler_lines.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The words after the program's name. */
struct line {
    int n;
    char **words;
};

static bool has_word(const struct line *line, const char *word)
{
    for (int i = 0; i < line->n; i++) {
        if (strcmp(line->words[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* What follows an option; NULL: it is not given. */
static const char *value_of(const struct line *line, const char *option)
{
    for (int i = 0; i + 1 < line->n; i++) {
        if (strcmp(line->words[i], option) == 0) {
            return line->words[i + 1];
        }
    }
    return NULL;
}

/* Adds " --option VALUE", in quotes where a shell needs them, with runs of blanks as one. */
static void add_option(char *text, size_t size, const char *option, const char *value)
{
    if (value == NULL) {
        return;
    }
    bool plain = value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.=/_-")] == '\0';
    const char *quote = plain ? "" : "'";
    size_t used = strlen(text);
    used += (size_t)snprintf(text + used, size - used, " %s %s", option, quote);
    for (const char *at = value; *at != '\0' && used + 2 < size; at++) {
        bool blank = isspace((unsigned char)*at);
        if (!blank || !isspace((unsigned char)at[1])) {
            text[used++] = blank ? ' ' : *at;
        }
    }
    snprintf(text + used, size - used, "%s", quote);
}

/* The lines made for grep come from run; a prompt, TEXT, has to be said. */
static void tell_run(const struct line *line, char *text, size_t size)
{
    const char *model = value_of(line, "-m"), *config = value_of(line, "--config"), *trace = value_of(line, "--trace");
    snprintf(text, size, "lockstep run %s --prompt TEXT", model != NULL ? model : "MODEL");
    if (config == NULL && trace == NULL) {
        add_option(text, size, "--config", "debug");
    }
    add_option(text, size, "--config", config);
    add_option(text, size, "--trace", trace);
    add_option(text, size, "--trace-layers", value_of(line, "--trace-layers"));
}

static bool wants_lines(const struct line *line)
{
    const char *config = value_of(line, "--config");
    return has_word(line, "--debug") || has_word(line, "--verbose") || (config != NULL && strcmp(config, "bench") != 0);
}

/* bench inference …, test inference … */
static void tell_inference(const struct line *line, char *text, size_t size)
{
    if (wants_lines(line)) {
        tell_run(line, text, size);
    } else {
        const char *model = value_of(line, "-m");
        snprintf(text, size, "lockstep bench %s", model != NULL ? model : "MODEL");
    }
}

/* test kernels, test correctness [--filter q4k]: each kernel is checked against the reference, then timed. */
static void tell_kernels(const struct line *line, char *text, size_t size)
{
    const char *filter = value_of(line, "--filter");
    bool q4k = filter != NULL && strcasecmp(filter, "q4k") == 0;
    snprintf(text, size, "lockstep bench --kernels%s%s", filter != NULL ? " " : "",
             q4k              ? "Q4_K"
             : filter != NULL ? filter
                              : "");
}

/* What else is to know of options that lockstep has no need of. */
static const char *remark(const struct line *line)
{
    if (has_word(line, "--skip-load")) {
        return " (weights are mapped, so nothing is loaded twice; at the prompt, restart runs again on the open model)";
    }
    if (has_word(line, "--profile-dir")) {
        return " (there is no browser, and no cache to keep: weights are mapped)";
    }
    return has_word(line, "--headed") ? " (there is no browser)" : "";
}

/* Whether `debug` has what it opens: a word that is no option and no option's value, or a session. */
static bool has_model(const struct line *line)
{
    int i = 1;
    while (i < line->n && line->words[i][0] == '-') {
        i += strcmp(line->words[i], "--interactive") == 0 ? 1 : 2;
    }
    return i < line->n || has_word(line, "--resume");
}

static bool tell(const struct line *line, char *text, size_t size)
{
    const char *first = line->words[0], *second = line->n > 1 ? line->words[1] : "";
    bool test = strcmp(first, "test") == 0, debug = strcmp(first, "debug") == 0;
    bool theirs = has_word(line, "-m") || has_word(line, "--skip-load");
    bool without = second[0] == '\0' || strcmp(second, "--config") == 0 || strcmp(second, "--trace") == 0;
    bool inference = strcmp(second, "inference") == 0 && access(second, F_OK) != 0;
    if (inference && (test || strcmp(first, "bench") == 0)) {
        tell_inference(line, text, size);
    } else if (test && (strcmp(second, "kernels") == 0 || strcmp(second, "correctness") == 0)) {
        tell_kernels(line, text, size);
    } else if (strcmp(first, "convert") == 0) {
        snprintf(text, size, "lockstep run MODEL --prompt TEXT --weights f16");
    } else if (debug && (theirs || (without && !has_model(line)))) {
        tell_run(line, text, size);
    } else {
        return false;
    }
    return true;
}

bool doppler_line(int argc, char **argv, struct error *err)
{
    const struct line line = {argc - 1, argv + 1};
    char text[800];
    if (argc < 2 || !tell(&line, text, sizeof(text))) {
        return false;
    }
    bool no_model = strcmp(argv[1], "debug") == 0 && !has_word(&line, "-m");
    error_set(err, STATUS_USAGE, NULL, argv[1], ERROR_NO_OFFSET, "%s: %s%s",
              no_model ? "MODEL is missing; debug MODEL opens a prompt, and lines for grep come from"
                       : "a command line of doppler; in its place",
              text, remark(&line));
    return true;
}
