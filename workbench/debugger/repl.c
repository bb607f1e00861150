/* Where command lines come from: a script, standard input, or readline on a terminal. */
#include "workbench/debugger/repl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/debugger/repl_readline.h"
#include "workbench/session/interrupt.h"
#include "workbench/session/progress.h"

#define PROMPT "dbg> "
#define MAX_DEPTH 8 /* of scripts that run scripts */

/* Runs one line that a person or a pipe gave: an error is one line, and the session goes on. */
static void run_line(struct repl *repl, const char *line)
{
    struct error err = {STATUS_OK, ""};
    interrupt_clear();
    enum status status = repl_line(repl, line, &err);
    progress_wipe();
    fflush(stdout);
    if (status != STATUS_OK) {
        fprintf(stderr, "lockstep: %s\n", err.text);
    }
}

static void strip_newline(char *line)
{
    line[strcspn(line, "\r\n")] = '\0';
}

enum status repl_script(struct repl *repl, const char *path, struct error *err)
{
    if (repl->depth == MAX_DEPTH) {
        return error_set(err, STATUS_USAGE, path, NULL, ERROR_NO_OFFSET, "scripts run scripts more than %d deep",
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
        status = repl_line(repl, line, &inner);
        fflush(stdout);
        if (status != STATUS_OK) {
            char field[32];
            snprintf(field, sizeof(field), "line %u", number);
            error_set(err, status, path, field, ERROR_NO_OFFSET, "%s", inner.text);
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

/* Lines from a pipe or a file, echoed with the prompt, so that a log reads like a session. */
static void loop_plainly(struct repl *repl)
{
    char *line = NULL;
    size_t size = 0;
    while (!repl->quit && getline(&line, &size, stdin) >= 0) {
        strip_newline(line);
        printf(PROMPT "%s\n", line);
        run_line(repl, line);
    }
    free(line);
}

static void loop_with_readline(struct repl *repl)
{
    readline_begin();
    char *line;
    while (!repl->quit && (line = readline_read(PROMPT)) != NULL) {
        run_line(repl, line);
        free(line);
    }
    readline_end();
}

void repl_loop(struct repl *repl)
{
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        loop_with_readline(repl);
    } else {
        loop_plainly(repl);
    }
}
