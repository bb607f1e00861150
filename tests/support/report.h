/* Running the program for its report: the exit status it must have, and the JSON that it prints. */
#ifndef LOCKSTEP_TESTS_SUPPORT_REPORT_H
#define LOCKSTEP_TESTS_SUPPORT_REPORT_H

#include <jansson.h>

#include "tests/support/program.h"

/* Runs the program with these words; its exit status must be this one, or all that it printed is shown. */
#define RUN(outcome, status, ...) \
    run_expecting(outcome, LOCKSTEP_PROGRAM, status, (const char *const[]){__VA_ARGS__, NULL})
void run_expecting(struct outcome *outcome, const char *program, int status, const char *const words[]);

/* The JSON that a run with `--json -` printed, alone on standard output. */
json_t *parse_report(const struct outcome *outcome);

/* A member that is a text ("" if it is none), or an integer, which it must be. */
const char *text_at(const json_t *object, const char *key);
json_int_t integer_at(const json_t *object, const char *key);

/* "cpu" or "gpu": what the device is that the program takes. They decode by other kernels. */
const char *device_kind(const char *program);

#endif
