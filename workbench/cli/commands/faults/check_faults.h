/* lockstep faults --check. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMANDS_CHECK_FAULTS_H
#define LOCKSTEP_WORKBENCH_CLI_COMMANDS_CHECK_FAULTS_H

#include <jansson.h>

#include "model/error.h"
#include "model/plan.h"
#include "workbench/trace/trace.h"

struct arguments;

/* quiet: standard output is for the JSON. */
enum status check_faults(const struct arguments *arguments, bool quiet, struct error *err);

/* check_kinds.c: plants every bug of a kind in a healthy trace. Adds an entry to the array for each that fits the
 * model. Returns how many are not called what they are. */
uint32_t check_kinds(json_t *entries, const char *model, const struct plan *plan, const struct trace *healthy);

/* Prints what came of it: a line for each bug, with the solvers that explain it and on how many models. */
void print_kinds(const json_t *entries);

/* {"layer", "stage"} of a step; -1: null. */
json_t *place_of(const struct plan *plan, int64_t step);

#endif
