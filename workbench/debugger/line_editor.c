#include "workbench/debugger/line_editor.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "model/error.h"
#include "workbench/debugger/completion.h"
#include "workbench/session/interrupt.h"
#include "workbench/text/output.h"

#define MAX_HISTORY 1000

/* What is being completed: readline's callbacks take no context. */
static struct candidates candidates;
static const struct plan *plan;

/* readline's generator: called with state 0, 1, … until it returns NULL. readline frees what it returns. */
static char *next_candidate(const char *text, int state)
{
    static uint32_t at;
    (void)text;
    at = state == 0 ? 0 : at;
    return at < candidates.n ? xstrdup(candidates.word[at++]) : NULL;
}

static char **complete(const char *text, int start, int end)
{
    (void)end;
    candidates_find(&candidates, plan, rl_line_buffer, (uint32_t)start, text);
    char **matches = NULL;
    if (!candidates.files) { /* else readline completes names of files by itself */
        rl_attempted_completion_over = 1;
        rl_completion_append_character = candidates.open_ended ? '\0' : ' ';
        matches = candidates.n > 0 ? rl_completion_matches(text, next_candidate) : NULL;
    }
    candidates_free(&candidates);
    return matches;
}

/* The history file's path; makes its folders if wanted. false: there is no home folder. */
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
        (void)mkdir(path, 0700); /* it may exist */
        *slash = '/';
    }
    return true;
}

/* Ctrl-C drops the line that is being typed and shows an empty one. A search in the history, or a question of the list
 * of completions, is left first: readline still works on the line there. */
static int drop_line(void)
{
    if (interrupt_seen() && RL_ISSTATE(RL_STATE_COMPLETING | RL_STATE_MOREINPUT)) {
        (void)rl_stuff_char('n'); /* no more */
    } else if (interrupt_seen() && RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH)) {
        (void)rl_stuff_char(CTRL('G')); /* readline's own key that ends a search; the line is dropped when it has */
    } else if (interrupt_seen()) {
        interrupt_clear();
        rl_replace_line("", 1);
        rl_crlf();
        rl_on_new_line();
        rl_redisplay();
    }
    return 0;
}

void line_editor_set_plan(const struct plan *of)
{
    plan = of;
}

void line_editor_begin(const struct plan *of)
{
    char path[PATH_MAX];
    plan = of;
    rl_readline_name = "lockstep";
    rl_outstream = output_terminal();
    rl_change_environment = 0; /* else it sets COLUMNS, which would outlive another size of the window */
    rl_attempted_completion_function = complete;
    rl_completer_word_break_characters = " \t";
    rl_event_hook = drop_line; /* rl_signal_event_hook would miss a signal between two reads */
    using_history();
    stifle_history(MAX_HISTORY);
    if (history_path(path, false)) {
        (void)read_history(path); /* at first there is none */
    }
}

char *line_editor_read(const char *prompt)
{
    char *line = readline(prompt);
    if (line != NULL && line[strspn(line, " \t")] != '\0') {
        add_history(line);
    }
    return line;
}

void line_editor_end(void)
{
    char path[PATH_MAX];
    if (history_path(path, true)) {
        (void)write_history(path);
    }
    clear_history();
}
