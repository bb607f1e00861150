/* A flag that asks running work to stop. Ctrl-C sets it (workbench/session/interrupt.h). Loops that may take seconds
 * check it: an op of the reference over all rows of a vocabulary, a wait for a submit. They leave incomplete results;
 * their callers check the flag too and use none of them. */
#ifndef LOCKSTEP_MODEL_STOP_H
#define LOCKSTEP_MODEL_STOP_H

#include <stdbool.h>

#include "model/error.h"

void stop_ask(void);   /* may be called from a signal handler */
void stop_clear(void); /* before the next work begins */
bool stop_asked(void); /* true until stop_clear */

/* STATUS_INTERRUPTED with a filled error if the flag is set, else STATUS_OK. */
enum status stop_check(struct error *err);

#endif
