/* Ctrl-C: a flag that long work looks at between two pieces, so that a command ends in order (STATUS_INTERRUPTED) and
 * nothing half-done is left. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_INTERRUPT_H
#define LOCKSTEP_WORKBENCH_SESSION_INTERRUPT_H

#include <stdbool.h>

/* From here on Ctrl-C sets the flag; pressed three times without anybody looking, it ends the program at once. */
void interrupt_install(void);

/* Whether it was pressed since the last clear. */
bool interrupt_seen(void);

void interrupt_clear(void);

#endif
