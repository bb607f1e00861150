/* Reads command lines: from a script, from standard input, or from a terminal through readline. */
#include "workbench/debugger/repl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/debugger/line_editor.h"
#include "workbench/session/interrupt.h"
#include "workbench/session/progress.h"
#include "workbench/text/output.h"

#define PROMPT "dbg> "
#define MAX_DEPTH 8 /* of nested scripts */

/* Runs a line, and prints its error in one line. */
static enum status run_line(struct repl *repl, const char *line)
{
    struct error err = {STATUS_OK, ""};
    interrupt_clear();
    enum status status = repl_run_line(repl, line, &err);
    progress_wipe();
    output_release();
    if (status != STATUS_OK) {
        output_error(err.text);
    }
    return status;
}

static void strip_newline(char *line)
{
    line[strcspn(line, "\r\n")] = '\0';
}

enum status repl_run_script(struct repl *repl, const char *path, struct error *err)
{
    if (repl->depth == MAX_DEPTH) {
        return error_set(err, STATUS_USAGE, path, NULL, ERROR_NO_OFFSET, "scripts are nested more than %d deep",
                         MAX_DEPTH);
    }
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "cannot be read: %s", strerror(errno));
    }
    repl->depth++;
    char *line = NULL;
    size_t size = 0;
    enum status status = STATUS_OK;
    for (unsigned number = 1; status == STATUS_OK && !repl->quit && getline(&line, &size, file) >= 0; number++) {
        strip_newline(line);
        printf(PROMPT "%s\n", line);
        struct error inner = {STATUS_OK, ""};
        status = repl_run_line(repl, line, &inner);
        fflush(stdout);
        if (status != STATUS_OK) {
            char field[32];
            snprintf(field, sizeof(field), "line %u", number);
            size_t first = strcspn(inner.text, "\n"), used;
            error_set(err, status, path, field, ERROR_NO_OFFSET, "%.*s", (int)first, inner.text);
            used = strlen(err->text);
            snprintf(err->text + used, sizeof(err->text) - used, "%s", inner.text + first); /* lines below it */
        }
    }
    if (status == STATUS_OK && ferror(file)) {
        status = error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be read: %s", strerror(errno));
    }
    free(line);
    fclose(file);
    repl->depth--;
    return status;
}

/* Reads lines from a pipe or a file and echoes them, so that the output reads like a session. The first that fails ends
 * it, unless `set errors continue` was given: a script must not go on from where it was not meant to be. Then the
 * status is that of the first assert that failed. */
static enum status loop_over_stdin(struct repl *repl)
{
    char *line = NULL;
    size_t size = 0;
    enum status status = STATUS_OK;
    while (!repl->quit && status == STATUS_OK && getline(&line, &size, stdin) >= 0) {
        strip_newline(line);
        printf(PROMPT "%s\n", line);
        status = run_line(repl, line);
        status = repl->settings.errors_continue ? STATUS_OK : status;
    }
    free(line);
    return status == STATUS_OK ? repl->failed_assert : status;
}

static void loop_on_terminal(struct repl *repl)
{
    repl->on_terminal = true;
    line_editor_begin(repl->plan);
    char *line;
    while (!repl->quit && (line = line_editor_read(PROMPT)) != NULL) {
        bool again = line[strspn(line, " \t")] == '\0' && repl->last_line != NULL;
        char *repeated = again ? xstrdup(repl->last_line) : NULL; /* running it replaces it */
        repl->repeating = again;
        transcript_typed(PROMPT, again ? repeated : line);
        (void)run_line(repl, again ? repeated : line); /* the session goes on */
        free(repeated);
        line_editor_set_plan(repl->plan); /* `resume` brings another */
        free(line);
    }
    line_editor_end();
}

enum status repl_loop(struct repl *repl)
{
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        loop_on_terminal(repl);
        return STATUS_OK;
    }
    return loop_over_stdin(repl);
}
