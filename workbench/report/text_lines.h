/* Labelled lines of a report, as wide as running text (text/terminal.h), collected before they are printed, so that
 * they can be counted. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_TEXT_LINES_H
#define LOCKSTEP_WORKBENCH_REPORT_TEXT_LINES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "model/error.h"

#define LINES_INDENT 12 /* columns before a text; its label stands in them */
#define LINES_MOST 64   /* texts */

struct text_lines {
    uint32_t n, n_lines;
    struct labelled {
        const char *label; /* "": none, NULL: the text stands at column 0 */
        char *text;
        bool verbatim; /* printed as it is, without label and indent */
    } entries[LINES_MOST];
};

/* Adds a text, which is broken between words where it needs several lines. */
void lines_add(struct text_lines *lines, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds a command for a shell. It can be pasted as it is printed: a backslash ends each line but the last. */
void lines_add_command(struct text_lines *lines, const char *label, const char *command);

/* How many lines a text takes. */
uint32_t lines_needed(const char *label, const char *text);

/* Moves the entries of `more` to the end; `more` becomes empty. */
void lines_append(struct text_lines *lines, struct text_lines *more);

void lines_print(const struct text_lines *lines, FILE *out);
void lines_free(struct text_lines *lines);

#endif
