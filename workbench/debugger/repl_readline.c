#include "workbench/debugger/repl_readline.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "workbench/debugger/repl_show.h"
#include "workbench/session/interrupt.h"

#define MAX_HISTORY 1000

/* readline's callbacks take no context: what is being completed. */
static const char **candidates;

/* readline's generator: called with state 0, 1, … until it returns NULL. */
static char *next_candidate(const char *text, int state)
{
    static size_t at;
    at = state == 0 ? 0 : at;
    while (candidates != NULL && candidates[at] != NULL) {
        const char *candidate = candidates[at++];
        if (strncmp(candidate, text, strlen(text)) == 0) {
            return xstrdup(candidate);
        }
    }
    return NULL;
}

/* The word before `start` of the line, into word[64]. */
static void word_before(const char *line, int start, char word[64])
{
    int end = start;
    while (end > 0 && line[end - 1] == ' ') {
        end--;
    }
    int begin = end;
    while (begin > 0 && line[begin - 1] != ' ') {
        begin--;
    }
    snprintf(word, 64, "%.*s", end - begin, line + begin);
}

static char **complete(const char *text, int start, int end)
{
    (void)end;
    char name[64], previous[64];
    const char *line = rl_line_buffer;
    int offset = (int)strspn(line, " ");
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(line + offset, " "), line + offset);
    word_before(line, start, previous);
    enum completion completion = COMPLETE_COMMANDS;
    if (start > offset) {
        const struct repl_command *command = repl_command_by_name(name);
        completion = command != NULL ? command->completion : COMPLETE_NOTHING;
    }
    if (completion == COMPLETE_FILES && strcmp(previous, "from") != 0) {
        return NULL; /* readline completes names of files by itself */
    }
    rl_attempted_completion_over = 1;
    if (completion == COMPLETE_STAGES && strcmp(previous, "from") != 0) {
        rl_completion_append_character = '\0'; /* @LAYER may follow */
    }
    candidates = repl_candidates(completion, previous);
    char **matches = candidates != NULL ? rl_completion_matches(text, next_candidate) : NULL;
    free(candidates);
    candidates = NULL;
    return matches;
}

/* The history file's path; makes its folders if asked to. false: no home. */
static bool history_path(char path[PATH_MAX], bool make_folders)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length;
    if (state != NULL && state[0] == '/') {
        length = snprintf(path, PATH_MAX, "%s/lockstep/history", state);
    } else if (home != NULL && home[0] == '/') {
        length = snprintf(path, PATH_MAX, "%s/.local/state/lockstep/history", home);
    } else {
        return false;
    }
    if (length >= PATH_MAX) {
        return false;
    }
    for (char *slash = strchr(path + 1, '/'); make_folders && slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700); /* it may be there */
        *slash = '/';
    }
    return true;
}

/* Ctrl-C at the prompt drops the line that is being typed, and shows a fresh one. */
static int drop_line(void)
{
    if (interrupt_seen()) {
        interrupt_clear();
        rl_replace_line("", 1);
        rl_crlf();
        rl_on_new_line();
        rl_redisplay();
    }
    return 0;
}

void readline_begin(void)
{
    char path[PATH_MAX];
    rl_readline_name = "lockstep";
    rl_attempted_completion_function = complete;
    rl_completer_word_break_characters = " \t";
    rl_event_hook = drop_line; /* not rl_signal_event_hook, which misses a signal that comes between two reads */
    using_history();
    stifle_history(MAX_HISTORY);
    if (history_path(path, false)) {
        (void)read_history(path); /* there is none at first */
    }
}

char *readline_read(const char *prompt)
{
    char *line = readline(prompt);
    if (line != NULL && line[strspn(line, " \t")] != '\0') {
        add_history(line);
    }
    return line;
}

void readline_end(void)
{
    char path[PATH_MAX];
    if (history_path(path, true)) {
        (void)write_history(path);
    }
    clear_history();
}
