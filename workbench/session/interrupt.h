/* Ctrl-C sets the flag of model/stop.h. Long work checks it between two pieces, so a command ends in order
 * (STATUS_INTERRUPTED) and leaves nothing half-done. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_INTERRUPT_H
#define LOCKSTEP_WORKBENCH_SESSION_INTERRUPT_H

#include <stdbool.h>

/* From now on Ctrl-C (SIGINT) sets the flag. The third press since the last interrupt_clear ends the program at once.
 */
void interrupt_install(void);

/* Whether the flag was set since the last clear. */
bool interrupt_seen(void);

/* Clears the flag and the count of presses. */
void interrupt_clear(void);

#endif
