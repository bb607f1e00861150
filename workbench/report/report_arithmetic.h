/* The report's part on arithmetic: what was inferred of each source. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_REPORT_ARITHMETIC_H
#define LOCKSTEP_WORKBENCH_REPORT_REPORT_ARITHMETIC_H

#include <jansson.h>

#include "workbench/report/report.h"

/* Prints one line for each inferred class of steps; nothing if nothing was inferred. */
void report_arithmetic_print(const struct report *report, FILE *out);

/* The number of lines that report_arithmetic_print prints, each maybe over several. */
uint32_t report_arithmetic_count(const struct report *report);

/* What was inferred, in few words: "Q4_1 x in q8_1; attention q, k, v, p in f16". Returns text. */
const char *report_arithmetic_text(const struct report *report, char *text, size_t size);

/* "float32"; or that it is another, declared by a file or inferred. */
const char *report_arithmetic_word(const struct report *report);

/* Makes the member "sources": verdict, arithmetic and number of judged rows of each source. */
json_t *report_sources(const struct report *report);

#endif
