/* A list of stages as a user writes it: "layer_out,ffn_down". */
#ifndef LOCKSTEP_WORKBENCH_TRACE_STAGE_LIST_H
#define LOCKSTEP_WORKBENCH_TRACE_STAGE_LIST_H

#include <stdbool.h>

#include "model/error.h"
#include "model/stages.h"

/* Sets stages[STAGE_COUNT] to true for every stage named in list. An unknown name is STATUS_USAGE. */
enum status stage_list_parse(const char *list, bool *stages, struct error *err);

#endif
