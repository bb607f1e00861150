/* Runs the program for its report: checks its exit status and parses the JSON. */
#ifndef LOCKSTEP_TESTS_SUPPORT_REPORT_H
#define LOCKSTEP_TESTS_SUPPORT_REPORT_H

#include <jansson.h>

#include "tests/support/program.h"

/* Runs the program with these words. If its exit status is another, everything it printed is shown. */
#define RUN(outcome, status, ...) \
    run_expecting(outcome, LOCKSTEP_PROGRAM, status, (const char *const[]){__VA_ARGS__, NULL})
void run_expecting(struct outcome *outcome, const char *program, int status, const char *const words[]);

/* Parses the JSON of a run with `--json -`, which must be alone on standard output. */
json_t *parse_report(const struct outcome *outcome);

/* Return a member: its text ("" if it is none), or its integer, which must exist. */
const char *text_at(const json_t *object, const char *key);
json_int_t integer_at(const json_t *object, const char *key);

/* Returns "cpu" or "gpu", the kind of device that the program takes: the two decode with different kernels. */
const char *device_kind(const char *program);

#endif
