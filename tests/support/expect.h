/* Checks for tests of the readers: a model opens, or is refused in one line that says where. */
#ifndef LOCKSTEP_TESTS_SUPPORT_EXPECT_H
#define LOCKSTEP_TESTS_SUPPORT_EXPECT_H

#include "model/model.h"

/* Opens a model; the test fails if it does not open. what: printed then. */
void expect_opens(struct model *model, const char *path, const char *what);

/* The model must be refused as bad input, in one line that contains all three texts (NULL: any). */
void expect_refused(const char *path, const char *what, const char *file, const char *field, const char *text);

/* Opens a file that may be broken in any way: it must open and give a plan, or be refused in one line. Returns whether
 * it opened. */
bool expect_no_crash(const char *path);

/* Whether one of the model's notes contains the text. */
bool has_note(const struct model *model, const char *text);

#endif
