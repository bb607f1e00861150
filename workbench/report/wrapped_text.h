/* Text of any length, broken between words to fit a terminal. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_WRAPPED_TEXT_H
#define LOCKSTEP_WORKBENCH_REPORT_WRAPPED_TEXT_H

#include <stdio.h>

/* Where a text stands on its lines. Columns count from 0. */
struct text_layout {
    unsigned column; /* where printing stands now */
    unsigned indent; /* where each further line begins */
    unsigned width;  /* no line is longer, unless one word is */
};

/* Prints the text and a newline. */
void text_print_wrapped(const char *text, struct text_layout layout, FILE *out);

#endif
