/* What `info` says of a model, besides the text for people. */
#ifndef LOCKSTEP_WORKBENCH_CLI_INFO_H
#define LOCKSTEP_WORKBENCH_CLI_INFO_H

#include "model/model.h"
#include "model/plan.h"

/* "lockstep-info", version 1. path "-": standard output. */
enum status info_write_json(const struct model *model, const struct plan *plan, const char *path, struct error *err);

#endif
