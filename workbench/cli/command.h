/* What a command line said, and the functions that are the commands. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMAND_H
#define LOCKSTEP_WORKBENCH_CLI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "model/error.h"

/* The values of an option that may be given several times, in order. */
#define TEXT_LIST_MOST 16
struct text_list {
    const char *text[TEXT_LIST_MOST];
    uint32_t n;
};

/* One field an option; option_table.c says which. */
struct arguments {
    const char *positional[2]; /* words that belong to no option: MODEL, TRACE.h5 … */
    uint32_t n_positional;
    /* Texts; NULL: not given. */
    const char *golden, *golden_model, *model, *map, *trace, *second_trace, *record, *json, *html, *md, *junit, *dask,
        *device, *prompt, *ids, *chat, *decode_ids, *output, *stages, *script, *preset, *trace_layers, *resume_file;
    const char *on, *capture, *weights, *dtype, *temperature, *top_k, *top_p, *seed;
    struct text_list faults, kernel_choices, configs;
    int64_t n, n_prompt, jobs; /* counts; -1: not given */
    bool check, drift, ops, kernels, verbose, attn_probs, table, ledger, growth, all, strict, resume, interactive,
        no_transformers;
};

/* Finds the command that argv[1] names, parses its arguments and runs it. Returns the exit status. */
enum status command_line_run(int argc, char **argv, struct error *err);

/* Each function is one command. It prints to standard output, and returns the exit status. */
enum status command_diff(const struct arguments *arguments, struct error *err);
enum status command_audit(const struct arguments *arguments, struct error *err);
enum status command_compare(const struct arguments *arguments, struct error *err);
enum status command_batch(const struct arguments *arguments, struct error *err);
enum status command_invariants(const struct arguments *arguments, struct error *err);
enum status command_trace(const struct arguments *arguments, struct error *err);
enum status command_run(const struct arguments *arguments, struct error *err);
enum status command_debug(const struct arguments *arguments, struct error *err);
enum status command_golden(const struct arguments *arguments, struct error *err);
enum status command_import(const struct arguments *arguments, struct error *err);
enum status command_faults(const struct arguments *arguments, struct error *err);
enum status command_bench(const struct arguments *arguments, struct error *err);
enum status command_info(const struct arguments *arguments, struct error *err);
enum status command_guide(const struct arguments *arguments, struct error *err);
enum status command_tokens(const struct arguments *arguments, struct error *err);
enum status command_devices(const struct arguments *arguments, struct error *err);

#endif
