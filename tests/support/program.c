#include "tests/support/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/error.h"

#define PATIENCE_SECONDS 60

#define MAX_ARGUMENTS 32

static void execute(const char *program, const char *const arguments[])
{
    char *argv[MAX_ARGUMENTS + 2] = {(char *)(uintptr_t)program};
    for (size_t i = 0; arguments[i] != NULL && i < MAX_ARGUMENTS; i++) {
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    }
    execv(program, argv);
    _exit(127);
}

static char *read_whole(FILE *file)
{
    long size = 0;
    ASSERT(fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0);
    rewind(file);
    char *text = xcalloc((uint64_t)size + 1, 1);
    ASSERT(fread(text, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    return text;
}

static int exit_status(pid_t child)
{
    int status;
    ASSERT(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

double now(void)
{
    struct timespec time;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Runs a program to its end. after >= 0: sends SIGINT after that many seconds. Returns the seconds from then to its
 * end. */
static double run(struct outcome *outcome, const char *program, const char *input, double after,
                  const char *const arguments[])
{
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    ASSERT(in != NULL && out != NULL && err != NULL);
    ASSERT(fputs(input, in) >= 0 && fflush(in) == 0);
    rewind(in);
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        dup2(fileno(in), STDIN_FILENO);
        dup2(fileno(out), STDOUT_FILENO);
        dup2(fileno(err), STDERR_FILENO);
        execute(program, arguments);
    }
    if (after >= 0) {
        usleep((useconds_t)(after * 1e6));
        kill(child, SIGINT);
    }
    double start = now();
    outcome->status = exit_status(child);
    double end = now();
    fclose(in);
    outcome->out = read_whole(out);
    outcome->err = read_whole(err);
    return end - start;
}

void program_run(struct outcome *outcome, const char *program, const char *input, const char *const arguments[])
{
    (void)run(outcome, program, input, -1, arguments);
}

void program_converse(struct outcome *outcome, const char *program, const char *lines, const char *const arguments[])
{
    static const char set[] = "set errors continue\n";
    char *input = xmalloc(strlen(lines) + sizeof(set));
    strcat(strcpy(input, set), lines);
    program_run(outcome, program, input, arguments);
    free(input);
}

double program_interrupt(struct outcome *outcome, const char *program, double after, const char *const arguments[])
{
    return run(outcome, program, "", after, arguments);
}

void outcome_free(struct outcome *outcome)
{
    free(outcome->out);
    free(outcome->err);
}

void expect_text(const char *all, const char *text)
{
    if (strstr(all, text) == NULL) {
        fprintf(stderr, "expected \"%s\" in:\n%s\n", text, all);
        ASSERT(!"a text that is not there");
    }
}

void expect_no_text(const char *all, const char *text)
{
    if (strstr(all, text) != NULL) {
        fprintf(stderr, "did not expect \"%s\" in:\n%s\n", text, all);
        ASSERT(!"a text that should not be there");
    }
}

void expect_one_line(const char *err, const char *text)
{
    expect_text(err, text);
    const char *end = strchr(err, '\n');
    if (strncmp(err, "lockstep: ", 10) != 0 || end == NULL || end[1] != '\0') {
        fprintf(stderr, "expected one line, got:\n%s\n", err);
        ASSERT(!"an error that is not one line");
    }
}

void terminal_start(struct terminal *terminal, const char *program, const char *state, const char *const arguments[])
{
    /* A wide terminal folds no line; a dumb one gets no escape sequences between letters. */
    struct winsize size = {.ws_row = 50, .ws_col = 400};
    *terminal = (struct terminal){0};
    terminal->child = forkpty(&terminal->master, NULL, NULL, &size);
    if (terminal->child < 0) { /* some containers have no /dev/pts */
        print_message("no pseudo-terminal: not shown\n");
        skip();
    }
    if (terminal->child == 0) {
        setenv("XDG_STATE_HOME", state, 1);
        setenv("INPUTRC", "/dev/null", 1);
        setenv("TERM", "dumb", 1);
        execute(program, arguments);
    }
}

void terminal_type(struct terminal *terminal, const char *keys)
{
    ASSERT(write(terminal->master, keys, strlen(keys)) == (ssize_t)strlen(keys));
}

/* Takes the program's output, waiting at most this many milliseconds. false: the program has ended. */
static bool take_output(struct terminal *terminal, int milliseconds)
{
    struct pollfd poll_master = {terminal->master, POLLIN, 0};
    if (poll(&poll_master, 1, milliseconds) <= 0) {
        return true;
    }
    char piece[4096];
    ssize_t n = read(terminal->master, piece, sizeof(piece));
    if (n <= 0) {
        return false; /* EIO: the other end is closed */
    }
    terminal->text = xrealloc(terminal->text, terminal->n + (size_t)n + 1);
    memcpy(terminal->text + terminal->n, piece, (size_t)n);
    terminal->n += (size_t)n;
    terminal->text[terminal->n] = '\0';
    return true;
}

/* Waits for the text that shows first; b may be NULL. */
static int expect_first(struct terminal *terminal, const char *a, const char *b)
{
    time_t end = time(NULL) + PATIENCE_SECONDS;
    for (bool alive = true;; alive = take_output(terminal, 200)) {
        const char *from = terminal->n > 0 ? terminal->text + terminal->looked : "";
        const char *first = strstr(from, a), *other = b != NULL ? strstr(from, b) : NULL;
        bool is_other = other != NULL && (first == NULL || other < first);
        const char *found = is_other ? other : first;
        if (found != NULL) {
            terminal->looked = (size_t)(found - terminal->text) + strlen(is_other ? b : a);
            return is_other;
        }
        if (!alive || time(NULL) > end) {
            fprintf(stderr, "expected \"%s\" on the terminal, after %zu bytes of:\n%s\n", a, terminal->looked,
                    terminal->n > 0 ? terminal->text : "");
            kill(terminal->child, SIGKILL);
            ASSERT(!"a text that the terminal does not show");
        }
    }
}

void terminal_expect(struct terminal *terminal, const char *text)
{
    (void)expect_first(terminal, text, NULL);
}

int terminal_expect_either(struct terminal *terminal, const char *a, const char *b)
{
    return expect_first(terminal, a, b);
}

int terminal_end(struct terminal *terminal)
{
    time_t end = time(NULL) + PATIENCE_SECONDS;
    while (take_output(terminal, 200)) {
        if (time(NULL) > end) {
            kill(terminal->child, SIGKILL);
            break;
        }
    }
    int status = exit_status(terminal->child);
    close(terminal->master);
    free(terminal->text);
    return status;
}
