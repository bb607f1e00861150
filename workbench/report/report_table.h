/* The table of the report: a line a stage, and for each source its worst ratio. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_REPORT_TABLE_H
#define LOCKSTEP_WORKBENCH_REPORT_REPORT_TABLE_H

#include "workbench/report/report.h"

/* Prints the table. With a golden it also has the worst relative rms difference of each source from it. */
void report_table_print(const struct report *report, FILE *out);

#endif
