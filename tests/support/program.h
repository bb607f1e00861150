/* Runs the built program: to its end with its output caught, or on a pseudo-terminal as a person would. */
#ifndef LOCKSTEP_TESTS_SUPPORT_PROGRAM_H
#define LOCKSTEP_TESTS_SUPPORT_PROGRAM_H

#include <sys/types.h>

/* Result of a finished program. */
struct outcome {
    int status; /* exit status; -1: ended by a signal */
    char *out;  /* standard output */
    char *err;  /* standard error */
};

/* Runs a program with these arguments (NULL-terminated, without the program's name) and this standard input. */
void program_run(struct outcome *outcome, const char *program, const char *input, const char *const arguments[]);

/* The same with lines for the prompt, which goes on after those that fail, as on a terminal. */
void program_converse(struct outcome *outcome, const char *program, const char *lines, const char *const arguments[]);
void outcome_free(struct outcome *outcome);

/* The same without input; sends Ctrl-C (SIGINT) after some seconds. Returns the seconds from then to its end. */
double program_interrupt(struct outcome *outcome, const char *program, double after, const char *const arguments[]);

/* Seconds of a monotonic clock. */
double now(void);

/* Require that the text is (or is not) in `all`; print all of it otherwise. */
void expect_text(const char *all, const char *text);
void expect_no_text(const char *all, const char *text);

/* Requires that standard error is one line that begins with "lockstep: " and contains the text. */
void expect_one_line(const char *err, const char *text);

/* A program on its own terminal. */
struct terminal {
    pid_t child;
    int master;
    char *text;       /* everything it has shown */
    size_t n, looked; /* bytes of text; bytes that earlier expectations used up */
};

/* state: folder for the history (XDG_STATE_HOME). Where there is no pseudo-terminal the calling test is skipped. */
void terminal_start(struct terminal *terminal, const char *program, const char *state, const char *const arguments[]);

/* Types keys. */
void terminal_type(struct terminal *terminal, const char *keys);

/* Waits until the text shows, after the part that earlier expectations used up. Fails the test after 60 seconds. */
void terminal_expect(struct terminal *terminal, const char *text);

/* Waits for the first of two texts; returns 0 or 1. */
int terminal_expect_either(struct terminal *terminal, const char *a, const char *b);

/* Waits for the program's end. Returns its exit status; -1: a signal ended it. */
int terminal_end(struct terminal *terminal);

#endif
