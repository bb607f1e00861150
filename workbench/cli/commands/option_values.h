/* What several commands make of their options: which sides run, which stages are wanted, and a session that is large
 * enough for the tokens asked for. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMANDS_OPTION_VALUES_H
#define LOCKSTEP_WORKBENCH_CLI_COMMANDS_OPTION_VALUES_H

#include "workbench/cli/command.h"
#include "workbench/session/session.h"

/* Reads --on: "engine", "reference" or "engine,reference". on NULL: the default stays as it is. */
enum status parse_on(const char *on, bool *engine, bool *reference, struct error *err);

/* The same for a command that runs one side; the engine if on is NULL. */
enum status parse_on_one(const char *on, enum source *source, struct error *err);

/* Turns --prompt or --ids into tokens (malloc'ed), then opens a session with room for them and n_more positions.
 * no_capture: as session_options.no_capture. */
enum status open_with_tokens(const struct arguments *arguments, bool engine, bool reference, bool no_capture,
                             uint32_t n_more, struct session *session, int32_t **ids, uint32_t *n_ids,
                             struct error *err);

/* Reads -n or --decode-ids: *n tokens to decode, *ids (malloc'ed) says which, or is NULL for a greedy choice. */
enum status parse_decoded(const struct arguments *arguments, int32_t **ids, uint32_t *n, struct error *err);

/* Reads --temperature, --top-k, --top-p and --seed. None given: greedy. Temperature is 1 where only others are. */
enum status parse_sampling(const struct arguments *arguments, struct sampling *sampling, struct error *err);

/* STATUS_BAD_INPUT at the first id that is not in the model's vocabulary. */
enum status check_ids(const struct model *model, const int32_t *ids, uint32_t n_ids, struct error *err);

#endif
