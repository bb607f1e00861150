/* An operating error: what went wrong, where, and what was expected instead.
 *
 * Functions that can fail return an enum status and fill a struct error, which prints as one line:
 *
 *     lockstep: FILE: FIELD @OFFSET: what was found, what was expected
 *
 * A programmer's mistake is an assertion, on in every build. A divergence is a value, never an error. */
#ifndef LOCKSTEP_MODEL_ERROR_H
#define LOCKSTEP_MODEL_ERROR_H

#include <stddef.h>
#include <stdint.h>

/* The values are the program's exit statuses. */
enum status {
    STATUS_OK = 0,
    STATUS_DIVERGED = 1,  /* parity was expected and not found */
    STATUS_USAGE = 2,     /* wrong command line or prompt input */
    STATUS_BAD_INPUT = 3, /* a file, its JSON or its shapes are wrong */
    STATUS_ABSENT = 4,    /* a device or a Python package is missing */
    STATUS_IO = 5,        /* reading or writing failed (disk full) */
    STATUS_DEVICE = 6,    /* the GPU was lost, timed out or did not do its work */
    STATUS_UNDECIDED = 7, /* nothing diverged, but too little could be judged for a verdict */
    STATUS_INTERRUPTED = 130
};

struct error {
    enum status status;
    char text[1024]; /* one line, without the leading "lockstep: "; error_quote adds lines below it */
};

#define ERROR_NO_OFFSET (-1)

/* Fills *err (may be NULL) and returns status. file and field may be NULL. offset is a byte offset into file, or
 * ERROR_NO_OFFSET. Newlines and control characters in the text become '?'. */
enum status error_set(struct error *err, enum status status, const char *file, const char *field, int64_t offset,
                      const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Adds a line of source text below an error, and below that a caret at a column. *err may be NULL. Control characters
 * become blanks. */
void error_quote(struct error *err, const char *line, size_t length, size_t column);

/* An assertion for our own mistakes, never for input. It stays on in every build. */
#define ASSERT(condition) ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void assert_failed(const char *condition, const char *file, int line);

/* malloc, calloc, realloc and strdup that never return NULL: when memory is exhausted they end the program with one
 * line. xstrdup(NULL) is NULL. */
void *xmalloc(uint64_t size);
void *xcalloc(uint64_t count, uint64_t size);
void *xrealloc(void *old, uint64_t size);
char *xstrdup(const char *text);

/* If the call fails, returns its status from the calling function. Only for functions with nothing to clean up. */
#define TRY(call)                        \
    do {                                 \
        enum status try_status = (call); \
        if (try_status != STATUS_OK)     \
            return try_status;           \
    } while (0)

#endif
