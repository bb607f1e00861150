/* py, source, quit. */
#include <stdio.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/python/python.h"
#include "workbench/text/terminal.h"

/* Has a layer recomputed that was not read back. */
static enum status fetch_stage(void *context, int32_t layer, enum stage stage, struct error *err)
{
    struct repl *repl = context;
    int32_t step = plan_find(repl->plan, layer, stage);
    enum status status = step < 0 ? STATUS_OK : repl_ensure_captured(repl, (uint32_t)step, err);
    fflush(stdout); /* before what user code prints */
    return status;
}

enum status do_py(struct repl *repl, const struct words *words, struct error *err)
{
    const enum source sources[] = {SOURCE_ENGINE, SOURCE_TRACE, SOURCE_REFERENCE, SOURCE_GOLDEN};
    const struct python_fetch fetch = {fetch_stage, repl};
    repl->python_used = true;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        const struct repl_side *side = repl_side_of(repl, sources[i]);
        bool partly = sources[i] == SOURCE_ENGINE && repl->captured != NULL;
        TRY(python_set_trace(source_name(sources[i]), side != NULL ? side->trace : NULL, partly ? &fetch : NULL, err));
    }
    TRY(python_set_run(&repl->session->model, repl->tokens, repl->n_known, err));
    TRY(python_set_width(terminal_width(), err));
    transcript_capture_begin();
    enum status status = python_exec(words->word[0], err);
    transcript_capture_end();
    return status;
}

enum status do_source(struct repl *repl, const struct words *words, struct error *err)
{
    return repl_run_script(repl, words->word[0], err);
}

enum status do_quit(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    (void)err;
    repl->quit = true;
    return STATUS_OK;
}
