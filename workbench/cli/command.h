/* The command line: one row a command. Usage, help and argument errors come from the table. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMAND_H
#define LOCKSTEP_WORKBENCH_CLI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "model/error.h"

/* What the options of a command line said; NULL or 0 where one was not given. */
struct arguments {
    const char *positional[2]; /* MODEL, TRACE.h5 … */
    uint32_t n_positional;
    const char *golden, *trace, *json, *device, *prompt, *ids, *decode_ids, *output, *stages, *script, *config, *preset;
    const char *on; /* "engine", "reference" or "engine,reference" */
    const char *faults[16];
    uint32_t n_faults;
    const char *capture, *weights;
    const char *dtype, *temperature, *top_k, *top_p, *seed;
    int64_t n, n_prompt; /* -1: not given */
    bool check, drift, ops, kernels, verbose, attn_probs;
};

/* Finds the command that argv[1] names and runs it. Returns the exit status. */
enum status command_line_run(int argc, char **argv, struct error *err);

/* Each is one command; what it prints goes to standard output, an error into *err. Returns the exit status. */
enum status command_diff(const struct arguments *arguments, struct error *err);
enum status command_audit(const struct arguments *arguments, struct error *err);
enum status command_compare(const struct arguments *arguments, struct error *err);
enum status command_trace(const struct arguments *arguments, struct error *err);
enum status command_run(const struct arguments *arguments, struct error *err);
enum status command_debug(const struct arguments *arguments, struct error *err);
enum status command_golden(const struct arguments *arguments, struct error *err);
enum status command_faults(const struct arguments *arguments, struct error *err);
enum status command_bench(const struct arguments *arguments, struct error *err);
enum status command_info(const struct arguments *arguments, struct error *err);
enum status command_devices(const struct arguments *arguments, struct error *err);

/* Token ids of --prompt or --ids; *ids is malloc'ed, NULL after an error. Needs an open model for --prompt. */
struct model;
enum status arguments_tokens(const struct arguments *arguments, const struct model *model, int32_t **ids,
                             uint32_t *n_ids, struct error *err);

/* Parses "1,2,3". *ids is malloc'ed, NULL after an error. */
enum status parse_ids(const char *text, int32_t **ids, uint32_t *n_ids, struct error *err);

#endif
