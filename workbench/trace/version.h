/* Which lockstep this is. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_VERSION_H
#define LOCKSTEP_WORKBENCH_TRACE_VERSION_H

#include "model/error.h"

/* "0.1.0" */
const char *version_number(void);

/* What git describe said when the program was linked, "8ff8a51e0c2d" or "8ff8a51e0c2d-dirty" (files were changed);
 * "unknown" outside git, and in programs that do not set it. */
const char *version_commit(void);

/* commit: is kept, not copied. Only main.c knows it: whatever includes it is compiled anew at each commit. */
void version_set_commit(const char *commit);

/* Prints both in one line, "lockstep 0.1.0, commit 8ff8a51e0c2d". value, err: as every program option has them; unused.
 */
enum status version_print(const char *value, struct error *err);

#endif
