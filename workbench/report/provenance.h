/* Provenance: of which run a report is. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_PROVENANCE_H
#define LOCKSTEP_WORKBENCH_REPORT_PROVENANCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define REPORT_MOST_BLIND 16

/* What a report cannot learn from the traces. */
struct report_run {
    const char *device, *driver; /* borrowed; NULL: no engine ran */
    char *token_text;            /* text of the first divergence's token; NULL: not known */
    char *kernel;                /* of the engine, that made its rows (session/step_kernel.h); NULL: not known */
    /* After parity: known bugs that these tokens cannot show (diagnose.h), borrowed. */
    const char *blind[REPORT_MOST_BLIND];
    uint32_t n_blind;
    char *debug_command; /* shell command that opens the prompt on the same run; NULL: none */
};
void report_run_free(struct report_run *run);

/* The program's command line, for the reports of this process. Kept, not copied. */
void provenance_set_command(int argc, char **argv);

/* The command line's first word, as it was typed; "lockstep" if none was set. */
const char *provenance_program(void);

struct report;

/* Of this process alone: lockstep's version and commit, the command line, date, host and operating system. */
json_t *provenance_run(void);

/* The member "provenance". */
json_t *provenance_json(const struct report *report);

/* All of it, one line each. */
void provenance_print(const struct report *report, FILE *out);

/* Model, golden or trace, device, arithmetic, number of tokens and version. brief: the model, device, tokens and
 * version alone. Returns text. */
#define PROVENANCE_SIZE 512 /* bytes */
const char *provenance_text(const struct report *report, bool brief, char text[PROVENANCE_SIZE]);

#endif
