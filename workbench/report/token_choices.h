/* Whether two traces of the same tokens choose the same next tokens. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_TOKEN_CHOICES_H
#define LOCKSTEP_WORKBENCH_REPORT_TOKEN_CHOICES_H

#include "workbench/trace/trace.h"

struct token_choices {
    const struct trace *trace, *golden; /* borrowed; of the same tokens */
    bool lacks;                         /* the trace lacks stages, so that not every op could be judged */
};

#define TOKEN_CHOICES_MOST 2
#define TOKEN_CHOICES_LENGTH 512 /* bytes of a text, its end included */

/* Describes the positions at which the likeliest next token differs: how close the two tokens are, how far the traces
 * differ there, and what to try. texts[i] is malloc'ed; the caller frees it. Returns the number of texts; 0 if the
 * traces agree, or one of them holds no logits. */
uint32_t token_choices_notes(const struct token_choices *choices, char *texts[TOKEN_CHOICES_MOST]);

#endif
