/* Checks for tests of model files: a model opens, or it is refused in one line that says where. */
#ifndef LOCKSTEP_TESTS_SUPPORT_EXPECT_H
#define LOCKSTEP_TESTS_SUPPORT_EXPECT_H

#include "model/model.h"

/* Opens a model, which must succeed. what: printed if it does not. */
void expect_opens(struct model *model, const char *path, const char *what);

/* The model must be refused as bad input, and the line must hold each of the three texts that is not NULL. */
void expect_refused(const char *path, const char *what, const char *file, const char *field, const char *text);

/* Opens a file that may be broken in any way: it must open and give a plan, or be refused in one line. Returns whether
 * it opened. */
bool expect_no_crash(const char *path);

/* Whether one of the model's notes holds the text. */
bool has_note(const struct model *model, const char *text);

#endif
