/* Which parts of a line are coloured. The rules look at the finished text, so that no command knows of colours, and
 * what a file or a pipe gets cannot hold any. */
#ifndef LOCKSTEP_WORKBENCH_TEXT_HIGHLIGHT_H
#define LOCKSTEP_WORKBENCH_TEXT_HIGHLIGHT_H

#include <stddef.h>

/* A coloured part of a line: bytes [first, last). style NULL: nothing is coloured. */
struct highlight {
    size_t first, last;
    const char *style; /* the escape sequence that begins it */
};
#define HIGHLIGHT_END "\033[0m"

struct highlight highlight_find(const char *line, size_t length);

#endif
