/* The prompt inside a test's own process, both sides on: lines are typed, and what they left can be looked into. */
#ifndef LOCKSTEP_TESTS_SUPPORT_PROMPT_H
#define LOCKSTEP_TESTS_SUPPORT_PROMPT_H

#include "workbench/debugger/repl.h"

struct prompt {
    struct session session;
    struct repl repl;
};

/* The model must open. Where it does not, prints why, returns 1 and leaves nothing to close, as a set-up has it. */
int prompt_open(struct prompt *prompt, const char *model);
void prompt_close(struct prompt *prompt);

/* Types a line, which must do well. */
void prompt_type(struct prompt *prompt, const char *line);

/* All rows of all sides that run, which must all be recorded (but the chosen token's, which not every position has), to
 * compare with. *n: how many values; the caller frees them. */
float *prompt_rows(const struct prompt *prompt, uint32_t *n);

/* For a test file: set_up and tear_down, for each test; *state is the prompt on this model. */
#define PROMPT_FIXTURE(model)                   \
    static struct prompt the_prompt;            \
    static int set_up(void **state)             \
    {                                           \
        *state = &the_prompt;                   \
        return prompt_open(&the_prompt, model); \
    }                                           \
    static int tear_down(void **state)          \
    {                                           \
        prompt_close(*state);                   \
        return 0;                               \
    }

#endif
