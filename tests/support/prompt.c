#include "tests/support/prompt.h"

#include <stdio.h>
#include <string.h>

#include "model/stop.h"

int prompt_open(struct prompt *prompt, const char *model)
{
    struct error err = {STATUS_OK, ""};
    struct session_options options = {.engine = true, .reference = true, .max_positions = 1024};
    stop_clear();
    if (session_open(&prompt->session, model, &options, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    repl_open(&prompt->repl, &prompt->session, NULL, NULL);
    return 0;
}

void prompt_close(struct prompt *prompt)
{
    stop_clear();
    repl_close(&prompt->repl);
    session_close(&prompt->session);
}

void prompt_type(struct prompt *prompt, const char *line)
{
    struct error err = {STATUS_OK, ""};
    enum status status = repl_run_line(&prompt->repl, line, &err);
    if (status != STATUS_OK) {
        fprintf(stderr, "%s: %s\n", line, err.text);
    }
    ASSERT(status == STATUS_OK);
}

float *prompt_rows(const struct prompt *prompt, uint32_t *n)
{
    float *all = NULL;
    *n = 0;
    for (uint32_t k = 0; k < prompt->repl.n_sides; k++) {
        const struct trace *trace = prompt->repl.sides[k].trace;
        for (uint32_t i = 0; i < trace->n_stages; i++) {
            const struct trace_stage *stage = &trace->stages[i];
            uint32_t size = trace->n_positions * stage->width;
            ASSERT(stage->n_recorded == trace->n_positions || stage->stage == STAGE_sample_token);
            all = xrealloc(all, ((uint64_t)*n + size) * sizeof(float));
            memcpy(all + *n, stage->rows, size * sizeof(float));
            *n += size;
        }
    }
    return all;
}
