/* Running the built program: to its end with its output caught, or on a pseudo-terminal as a person would. */
#ifndef LOCKSTEP_TESTS_SUPPORT_PROGRAM_H
#define LOCKSTEP_TESTS_SUPPORT_PROGRAM_H

#include <sys/types.h>

/* What a finished program left. */
struct outcome {
    int status; /* exit status; -1: ended by a signal */
    char *out;  /* standard output */
    char *err;  /* standard error */
};

/* Runs a program with these arguments (NULL-terminated, the program's name not among them) and this standard
 * input. */
void program_run(struct outcome *outcome, const char *program, const char *input, const char *const arguments[]);
void outcome_free(struct outcome *outcome);

/* The same with no input; Ctrl-C (SIGINT) comes after this long. Returns the seconds from there to its end. */
double program_interrupt(struct outcome *outcome, const char *program, double after, const char *const arguments[]);

/* Seconds of a clock that only goes on. */
double now(void);

/* The text must (or must not) stand there; prints all of it if not so. */
void expect_text(const char *all, const char *text);
void expect_no_text(const char *all, const char *text);

/* Standard error must be this one line: it begins with "lockstep: ", holds the text, and ends there. */
void expect_one_line(const char *err, const char *text);

/* A program on a terminal of its own. */
struct terminal {
    pid_t child;
    int master;
    char *text;       /* all that it showed so far */
    size_t n, looked; /* bytes of it; those that an expectation has used up */
};

/* state: a folder for the history, as XDG_STATE_HOME. Where there is no pseudo-terminal the test that calls it is
 * skipped. */
void terminal_start(struct terminal *terminal, const char *program, const char *state, const char *const arguments[]);

/* Types. */
void terminal_type(struct terminal *terminal, const char *keys);

/* Waits until the text shows, after what earlier expectations used up. Fails the test after 60 seconds. */
void terminal_expect(struct terminal *terminal, const char *text);

/* The same for whichever of two texts shows first: 0 or 1. */
int terminal_expect_either(struct terminal *terminal, const char *a, const char *b);

/* Waits for the end; returns the exit status, or -1 if a signal ended it. */
int terminal_end(struct terminal *terminal);

#endif
