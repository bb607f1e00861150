/* All that goes to standard output passes here. Control characters of names and texts from files are escaped. On a
 * terminal, or where a width is set, lines are broken between words; on a terminal they are coloured, and many lines go
 * through the pager. What else a pipe or a file gets is what was printed, to the byte. */
#ifndef LOCKSTEP_WORKBENCH_TEXT_OUTPUT_H
#define LOCKSTEP_WORKBENCH_TEXT_OUTPUT_H

#include <stdio.h>

/* From now on stdout is such a stream. */
void output_open(void);

/* The stream that stdout was before, for readline. */
FILE *output_terminal(void);

/* Keeps what is printed until output_release, which shows it: through the pager, if it is more than the terminal holds.
 * Where there is no pager nothing is kept. */
void output_hold(void);
void output_release(void);

/* Prints "lockstep: TEXT" on standard error, broken between words on a terminal. */
void output_error(const char *text);

/* Prints a text's lines: control characters escaped, broken at a width (0: not), coloured or not. */
void output_write_lines(const char *text, size_t length, unsigned width, int colour, FILE *out);

#endif
