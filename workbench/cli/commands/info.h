/* What `info` says of a model as JSON, and names that JSON and text share. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMANDS_INFO_H
#define LOCKSTEP_WORKBENCH_CLI_COMMANDS_INFO_H

#include "model/model.h"
#include "model/plan.h"

/* "lockstep-info", version 1. path "-": standard output. */
enum status info_write_json(const struct model *model, const struct plan *plan, const char *path, struct error *err);

#endif
