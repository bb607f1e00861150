#include "model/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Appends formatted text at *length; what does not fit is cut. */
static void append(struct error *err, size_t *length, const char *format, va_list args)
{
    size_t room = sizeof(err->text) - *length;
    int n = vsnprintf(err->text + *length, room, format, args);
    if (n > 0) {
        *length = (size_t)n < room ? *length + (size_t)n : sizeof(err->text) - 1;
    }
}

__attribute__((format(printf, 3, 4))) static void appendf(struct error *err, size_t *length, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(err, length, format, args);
    va_end(args);
}

enum status error_set(struct error *err, enum status status, const char *file, const char *field, int64_t offset,
                      const char *format, ...)
{
    if (!err) {
        return status;
    }
    size_t length = 0;
    err->status = status;
    err->text[0] = '\0';
    if (file) {
        appendf(err, &length, "%s: ", file);
    }
    if (field) {
        appendf(err, &length, "%s", field);
    }
    if (offset != ERROR_NO_OFFSET) {
        appendf(err, &length, "%s@%lld", field ? " " : "", (long long)offset);
    }
    if (field || offset != ERROR_NO_OFFSET) {
        appendf(err, &length, ": ");
    }
    va_list args;
    va_start(args, format);
    append(err, &length, format, args);
    va_end(args);
    /* A hostile file may put control characters into its names; the text stays one line. */
    for (char *c = err->text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    return status;
}

void error_quote(struct error *err, const char *line, size_t length, size_t column)
{
    if (!err) {
        return;
    }
    size_t used = strlen(err->text);
    appendf(err, &used, "\n  ");
    for (size_t i = 0; i < length && used + 1 < sizeof(err->text); i++) {
        err->text[used++] = (unsigned char)line[i] < 0x20 || line[i] == 0x7f ? ' ' : line[i];
    }
    err->text[used] = '\0';
    appendf(err, &used, "\n  %*s^", (int)column, "");
}

void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "lockstep: %s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}

static _Noreturn void out_of_memory(uint64_t size)
{
    fprintf(stderr, "lockstep: out of memory: %llu bytes were needed\n", (unsigned long long)size);
    exit(STATUS_IO);
}

void *xmalloc(uint64_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory) {
        out_of_memory(size);
    }
    return memory;
}

void *xcalloc(uint64_t count, uint64_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory) {
        out_of_memory(count * size);
    }
    return memory;
}

void *xrealloc(void *old, uint64_t size)
{
    void *memory = realloc(old, size ? size : 1);
    if (!memory) {
        out_of_memory(size);
    }
    return memory;
}

char *xstrdup(const char *text)
{
    return text ? strcpy(xmalloc(strlen(text) + 1), text) : NULL;
}
