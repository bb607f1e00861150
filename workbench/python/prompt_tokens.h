/* The token ids of a prompt, which a user gives as text or as ids. (Here because text is tokenised in Python.) */
#ifndef LOCKSTEP_WORKBENCH_PYTHON_PROMPT_TOKENS_H
#define LOCKSTEP_WORKBENCH_PYTHON_PROMPT_TOKENS_H

#include "model/model.h"

/* What the user gave: one of the three; the others are NULL. */
struct prompt {
    const char *text; /* --prompt */
    const char *ids;  /* --ids: "1,2,3" */
    const char *chat; /* --chat: a JSON file of messages */
};

/* Tokenises prompt->text with the model's own tokenizer, or parses prompt->ids, or applies the model's chat template to
 * prompt->chat. *ids is malloc'ed; NULL after an error. STATUS_USAGE: not one of the three is given, there is no text,
 * it is not UTF-8, or the ids cannot be parsed. STATUS_BAD_INPUT: an id is outside the vocabulary; the messages cannot
 * be read. Otherwise fails as python_tokenize. */
enum status prompt_tokens(const struct prompt *prompt, const struct model *model, int32_t **ids, uint32_t *n_ids,
                          struct error *err);

/* Parses "1,2,3". *ids is malloc'ed; NULL after an error (STATUS_USAGE). */
enum status token_ids_parse(const char *text, int32_t **ids, uint32_t *n_ids, struct error *err);

#endif
