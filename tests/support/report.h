/* Runs the program for its report: checks the exit status and parses the JSON that it prints. */
#ifndef LOCKSTEP_TESTS_SUPPORT_REPORT_H
#define LOCKSTEP_TESTS_SUPPORT_REPORT_H

#include <jansson.h>

#include "tests/support/program.h"

/* Runs the program with these arguments. Its exit status must be this one; otherwise prints all its output and fails.
 */
#define RUN(outcome, status, ...) \
    run_expecting(outcome, LOCKSTEP_PROGRAM, status, (const char *const[]){__VA_ARGS__, NULL})
void run_expecting(struct outcome *outcome, const char *program, int status, const char *const words[]);

/* Parses the output of a run with `--json -`, which must be JSON alone. The caller releases it. */
json_t *parse_report(const struct outcome *outcome);

/* A member that is a text ("" if it is missing or not a text), or one that must be an integer. */
const char *text_at(const json_t *object, const char *key);
json_int_t integer_at(const json_t *object, const char *key);

/* "cpu" or "gpu": the type of the device that the program uses. Each type decodes by its own kernels. */
const char *device_kind(const char *program);

#endif
