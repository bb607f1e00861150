/* What several commands make of their options: which sides run, which tokens, how the next token is chosen. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMANDS_OPTION_VALUES_H
#define LOCKSTEP_WORKBENCH_CLI_COMMANDS_OPTION_VALUES_H

#include "workbench/cli/command.h"
#include "workbench/probes/probe_config.h"
#include "workbench/report/report.h"
#include "workbench/session/session.h"

/* Reads --on for a command that runs one side. on NULL: the engine. */
enum status parse_on_one(const char *on, enum source *source, struct error *err);

/* Tokens of a prompt, or to decode. ids is malloc'ed; NULL: none are given. */
struct token_list {
    int32_t *ids;
    uint32_t n;
};

/* What a session is opened for. */
struct session_wish {
    bool engine, reference; /* the sides that run */
    bool no_capture;        /* as session_options.no_capture */
    uint32_t n_more;        /* positions after the prompt */
};

/* Turns --prompt or --ids into tokens, then opens a session with room for them and wish->n_more positions. The caller
 * frees prompt->ids. After an error nothing is left open, and prompt->ids is NULL. */
enum status open_with_tokens(const struct arguments *arguments, const struct session_wish *wish,
                             struct session *session, struct token_list *prompt, struct error *err);

/* Reads --kernel. STATUS_USAGE where it is given and no engine runs. */
enum status parse_kernels(const struct arguments *arguments, bool engine, struct kernel_choices *kernels,
                          struct error *err);

/* Refuses a --kernel that no batch of these tokens follows. */
enum status check_kernels(const struct session *session, uint32_t n_prompt, uint32_t n_decoded, struct error *err);

/* The same for a trace's tokens. */
enum status check_kernels_for(const struct session *session, const struct trace *trace, struct error *err);

/* Reads -n or --decode-ids: decoded->n tokens to decode, and which (ids NULL: they are chosen). */
enum status parse_decoded(const struct arguments *arguments, struct token_list *decoded, struct error *err);

/* Reads --temperature, --top-k, --top-p and --seed. With none of them decoding is greedy; without --temperature, but
 * with another, the temperature is 1. */
enum status parse_sampling(const struct arguments *arguments, struct sampling *sampling, struct error *err);

/* --preset, --config, --trace-layers, and these trace categories; NULL: none. */
struct probe_options parse_probe_options(const struct arguments *arguments, const char *trace);

/* Reads --table, --ledger and --all: what the report prints after the answer. */
struct report_parts parse_parts(const struct arguments *arguments);

/* Returns STATUS_BAD_INPUT at the first id that is not in the model's vocabulary. */
enum status check_ids(const struct model *model, const struct token_list *tokens, struct error *err);

#endif
