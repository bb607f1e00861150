/* One line on standard error that tells how far long work is, shown only where somebody can see it: on a terminal. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_PROGRESS_H
#define LOCKSTEP_WORKBENCH_SESSION_PROGRESS_H

#include <stdint.h>

/* A progress_function (audit.h); context: what is being done, a const char *. At done == total the line is wiped. */
void progress_show(void *context, uint32_t done, uint32_t total);

/* Work that cannot tell how far it is. */
void progress_note(const char *verb, const char *what);

/* Before something else is written to the terminal. */
void progress_wipe(void);

#endif
