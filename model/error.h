/* An operating error: what went wrong, where, and what was expected instead.
 *
 * Functions that can fail return an enum status and fill a struct error, which prints as the one line
 *     lockstep: FILE: FIELD @OFFSET: what was found, what was expected
 * A programmer's mistake is an assertion (always on); a divergence is a value, never an error. */
#ifndef LOCKSTEP_MODEL_ERROR_H
#define LOCKSTEP_MODEL_ERROR_H

#include <stdint.h>

/* The values are the program's exit statuses. */
enum status {
    STATUS_OK = 0,
    STATUS_DIVERGED = 1,  /* parity was asked for and not found */
    STATUS_USAGE = 2,     /* wrong command line or prompt input */
    STATUS_BAD_INPUT = 3, /* a file, its JSON or its shapes are wrong */
    STATUS_ABSENT = 4,    /* a device or a Python package that is needed is not there */
    STATUS_IO = 5,        /* reading or writing failed (disk full) */
    STATUS_DEVICE = 6,    /* the GPU was lost, timed out, or did not do its work */
    STATUS_INTERRUPTED = 130
};

struct error {
    enum status status;
    char text[1024]; /* one line, without the leading "lockstep: " */
};

#define ERROR_NO_OFFSET (-1)

/* Fills *err (which may be NULL) and returns status. file and field may be NULL; offset is a byte
 * offset into file, or ERROR_NO_OFFSET. Newlines and control characters in the text become '?'. */
enum status error_set(struct error *err, enum status status, const char *file, const char *field, int64_t offset,
                      const char *format, ...) __attribute__((format(printf, 6, 7)));

/* An assertion that stays on in every build: our own mistakes, never the input's. */
#define ASSERT(condition) ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void assert_failed(const char *condition, const char *file, int line);

/* malloc, calloc, realloc and strdup (of NULL: NULL) that end the program with one line when memory is exhausted. */
void *xmalloc(uint64_t size);
void *xcalloc(uint64_t count, uint64_t size);
void *xrealloc(void *old, uint64_t size);
char *xstrdup(const char *text);

/* Returns the status of a call that failed; nothing is cleaned up first. */
#define TRY(call)                        \
    do {                                 \
        enum status try_status = (call); \
        if (try_status != STATUS_OK)     \
            return try_status;           \
    } while (0)

#endif
