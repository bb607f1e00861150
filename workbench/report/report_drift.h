/* The report's part on a golden of other weights: whose they are, and by layer what they change (drift) beside what the
 * engine changes on its own. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_REPORT_DRIFT_H
#define LOCKSTEP_WORKBENCH_REPORT_REPORT_DRIFT_H

#include <jansson.h>

#include "workbench/report/report.h"

/* Prints whose the weights are and the drift by layer; nothing if they are MODEL's. */
void report_drift_print(const struct report *report, FILE *out);

/* Puts "golden_weights", and where these are others "golden_accused", "drift" and "next_token"; nothing if there is no
 * golden. */
void report_drift_put(const struct report *report, json_t *object);

#endif
