/* What the report of diff or audit says of its run, beyond the traces. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMANDS_DESCRIBE_RUN_H
#define LOCKSTEP_WORKBENCH_CLI_COMMANDS_DESCRIBE_RUN_H

#include "model/backend.h"
#include "workbench/cli/command.h"
#include "workbench/session/comparison.h"

/* Fills comparison->run of a comparison that was judged: the device, the text of the token where it diverges, and the
 * command that opens the prompt there. engine NULL: none ran. It stays open until the report is written. */
void describe_run(struct comparison *comparison, const struct arguments *arguments, const struct backend *engine);

#endif
