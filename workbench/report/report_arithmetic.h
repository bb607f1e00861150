/* The report's part on arithmetic: what was inferred of each source. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_REPORT_ARITHMETIC_H
#define LOCKSTEP_WORKBENCH_REPORT_REPORT_ARITHMETIC_H

#include <jansson.h>

#include "workbench/report/report.h"

/* Prints one line for each inferred class of steps; nothing if nothing was inferred. */
void report_arithmetic_print(const struct report *report, FILE *out);

/* Makes the member "sources": verdict, arithmetic and number of judged rows of each source. */
json_t *report_sources(const struct report *report);

#endif
