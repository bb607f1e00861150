/* The prompt inside the test's own process, with both sides on. A test types lines and inspects the state they leave.
 */
#ifndef LOCKSTEP_TESTS_SUPPORT_PROMPT_H
#define LOCKSTEP_TESTS_SUPPORT_PROMPT_H

#include "workbench/debugger/repl.h"

struct prompt {
    struct session session;
    struct repl repl;
};

/* Opens a model. Returns 0; or prints why it does not open, returns 1 (as a set-up does) and leaves nothing to close.
 */
int prompt_open(struct prompt *prompt, const char *model);
void prompt_close(struct prompt *prompt);

/* Types a line, which must succeed. */
void prompt_type(struct prompt *prompt, const char *line);

/* All values of all stages of all sides, to compare with; the caller frees them. *n receives their number. Every row
 * must be recorded, except sample_token's, which not every position has. */
float *prompt_rows(const struct prompt *prompt, uint32_t *n);

/* Defines set_up and tear_down for each test of a file; *state is the prompt on this model. */
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
