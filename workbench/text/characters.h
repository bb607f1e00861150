/* Characters of UTF-8, as a terminal takes them. */
#ifndef LOCKSTEP_WORKBENCH_TEXT_CHARACTERS_H
#define LOCKSTEP_WORKBENCH_TEXT_CHARACTERS_H

#include <stddef.h>

/* Reads the character at the beginning of a text of n > 0 bytes. *length: its bytes. Returns its columns: 0 for one
 * that combines with the one before, 2 for a wide one; -1 for a control character or a byte that is no UTF-8, which
 * must not reach a terminal. */
int character_columns(const char *text, size_t n, size_t *length);

/* Columns of a text of n bytes. */
size_t characters_columns(const char *text, size_t n);

#endif
