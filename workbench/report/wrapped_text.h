/* Text of any length, broken between words to fit a terminal. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_WRAPPED_TEXT_H
#define LOCKSTEP_WORKBENCH_REPORT_WRAPPED_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* Where a text stands on its lines. Columns count from 0; a character of several bytes takes one. */
struct text_layout {
    unsigned column; /* where printing stands now */
    unsigned indent; /* where each further line begins */
    unsigned width;  /* no line is longer; a word that is, is broken */
};

/* Prints the text and a newline. */
void text_print_wrapped(const char *text, struct text_layout layout, FILE *out);

/* Columns of a text: its characters. */
size_t text_columns(const char *text);

/* Puts a text between quotes and escapes control characters. */
void quote_text(const char *text, char *quoted, size_t size);

#endif
