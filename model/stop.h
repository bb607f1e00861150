/* Whether the work that goes on is still wanted. Ctrl-C says no (workbench/session/interrupt.h), and loops that may
 * take seconds look here between two rows: an op of the reference over all rows of a vocabulary, a submit that is
 * waited for. What they leave is incomplete; whoever started them looks here too and uses none of it. */
#ifndef LOCKSTEP_MODEL_STOP_H
#define LOCKSTEP_MODEL_STOP_H

#include <stdbool.h>

#include "model/error.h"

void stop_ask(void);   /* may be called from a signal's handler */
void stop_clear(void); /* before the next piece of work */
bool stop_asked(void); /* stays true until stop_clear */

/* STATUS_INTERRUPTED, with a filled error, if it was asked for. */
enum status stop_check(struct error *err);

#endif
