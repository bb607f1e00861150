/* One line on standard error that shows how far long work is. It is shown only on a terminal. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_PROGRESS_H
#define LOCKSTEP_WORKBENCH_SESSION_PROGRESS_H

#include <stdint.h>

/* Shows "WHAT 3/16"; wipes the line when done == total. A progress_function (audit.h); context is WHAT, a const char *.
 */
void progress_show(void *context, uint32_t done, uint32_t total);

/* Shows "VERB WHAT …", for work that cannot tell how far it is. */
void progress_note(const char *verb, const char *what);

/* From now on nothing is shown: a process among several. */
void progress_silence(void);

/* Wipes the line; called before anything else is written to the terminal. */
void progress_wipe(void);

#endif
