/* Runs the prompt inside a test's process, with engine and reference: lines are typed, and the state that they leave
 * can be inspected. */
#ifndef LOCKSTEP_TESTS_SUPPORT_PROMPT_H
#define LOCKSTEP_TESTS_SUPPORT_PROMPT_H

#include "workbench/debugger/repl.h"

struct prompt {
    struct session session;
    struct repl repl;
};

/* Opens a model. If that fails, prints why and returns 1 with nothing left to close, as cmocka's set-up functions do.
 */
int prompt_open(struct prompt *prompt, const char *model);
void prompt_close(struct prompt *prompt);

/* Types a line, which must succeed. */
void prompt_type(struct prompt *prompt, const char *line);

/* Returns all recorded rows of all sides that run, to compare with; all must be recorded except the chosen token's. *n:
 * number of values. The caller frees them. */
float *prompt_rows(const struct prompt *prompt, uint32_t *n);

/* Defines set_up and tear_down for each test of a file; *state is a prompt on this model. */
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
