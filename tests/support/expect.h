/* What tests of the readers ask again and again: that a model opens, or that it is refused in one line that says where.
 */
#ifndef LOCKSTEP_TESTS_SUPPORT_EXPECT_H
#define LOCKSTEP_TESTS_SUPPORT_EXPECT_H

#include "model/model.h"

/* Opens a model that must open. what: printed if it does not. */
void expect_opens(struct model *model, const char *path, const char *what);

/* The model must be refused as bad input, and every one of the three texts (NULL: any) must stand in the line. */
void expect_refused(const char *path, const char *what, const char *file, const char *field, const char *text);

/* Opens what may be broken in any way: it opens and gives a plan, or it is refused in one line. Returns whether it
 * opened. */
bool expect_no_crash(const char *path);

/* Whether one of the model's notes holds the text. */
bool has_note(const struct model *model, const char *text);

#endif
