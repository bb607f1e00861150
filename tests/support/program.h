/* Runs the built program: to its end, with its output kept, or on a pseudo-terminal as a person would. */
#ifndef LOCKSTEP_TESTS_SUPPORT_PROGRAM_H
#define LOCKSTEP_TESTS_SUPPORT_PROGRAM_H

#include <sys/types.h>

/* What a finished program left; outcome_free releases it. */
struct outcome {
    int status; /* exit status; -1: ended by a signal */
    char *out;  /* standard output */
    char *err;  /* standard error */
};

/* Runs a program with this standard input. arguments: ends with NULL; without the program's name. */
void program_run(struct outcome *outcome, const char *program, const char *input, const char *const arguments[]);
void outcome_free(struct outcome *outcome);

/* The same with no input. Sends Ctrl-C (SIGINT) after this many seconds; returns the seconds from then to the end. */
double program_interrupt(struct outcome *outcome, const char *program, double after, const char *const arguments[]);

/* Seconds of a monotonic clock. */
double now(void);

/* `all` must (or must not) hold the text; otherwise prints all of it and fails. */
void expect_text(const char *all, const char *text);
void expect_no_text(const char *all, const char *text);

/* Standard error must be one line that begins with "lockstep: " and holds the text. */
void expect_one_line(const char *err, const char *text);

/* A program on a terminal of its own. */
struct terminal {
    pid_t child;
    int master;
    char *text;       /* all output so far */
    size_t n, looked; /* bytes of it; bytes of it that earlier expectations used up */
};

/* Starts a program on a terminal. state: a folder for the prompt's history (XDG_STATE_HOME). */
void terminal_start(struct terminal *terminal, const char *program, const char *state, const char *const arguments[]);

/* Types keys; "\x03" is Ctrl-C. */
void terminal_type(struct terminal *terminal, const char *keys);

/* Waits until the text shows after the output that earlier expectations used up. Fails after 60 seconds. */
void terminal_expect(struct terminal *terminal, const char *text);

/* The same for two texts. Returns 0 if a shows first, 1 if b does. */
int terminal_expect_either(struct terminal *terminal, const char *a, const char *b);

/* Waits for the program's end. Returns its exit status, or -1 if a signal ended it. */
int terminal_end(struct terminal *terminal);

#endif
