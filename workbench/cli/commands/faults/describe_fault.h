/* lockstep faults NAME: one known bug, or one kind of bugs. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMANDS_DESCRIBE_FAULT_H
#define LOCKSTEP_WORKBENCH_CLI_COMMANDS_DESCRIBE_FAULT_H

#include <stdbool.h>

#include "model/error.h"

struct arguments;

/* STATUS_USAGE: no fault, kind or planted bug of a kind has this name. */
enum status describe_fault(const struct arguments *arguments, bool quiet, struct error *err);

#endif
