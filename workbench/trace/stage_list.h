/* A list of stages as a user writes it: "layer_out,ffn_down". */
#ifndef LOCKSTEP_WORKBENCH_TRACE_STAGE_LIST_H
#define LOCKSTEP_WORKBENCH_TRACE_STAGE_LIST_H

#include <stdbool.h>

#include "model/error.h"
#include "model/stages.h"
#include "workbench/text/suggest.h"

/* Sets stages[STAGE_COUNT]: true for each stage named in list, false for all others. STATUS_USAGE: a name is unknown;
 * the error has its byte offset in list. */
enum status stage_list_parse(const char *list, bool *stages, struct error *err);

/* Writes which stage may be meant by an unknown name, or nothing. Returns text. */
const char *stage_suggest(const char *word, char text[SUGGEST_SIZE]);

#endif
