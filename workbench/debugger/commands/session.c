/* save, resume, transcript: a session in a file. */
#include <stdio.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/full_comparison.h"
#include "workbench/debugger/saved_session.h"

enum status do_save(struct repl *repl, const struct words *words, struct error *err)
{
    TRY(saved_session_write(repl, words->word[0], err));
    printf("%s: this session; resume %s, or lockstep debug --resume %s, goes on with it\n", words->word[0],
           words->word[0], words->word[0]);
    return STATUS_OK;
}

enum status do_resume(struct repl *repl, const struct words *words, struct error *err)
{
    struct repl fresh;
    TRY(saved_session_open(&fresh, words->word[0], err));
    repl_replace(repl, &fresh);
    return do_where(repl, words, err);
}

enum status do_transcript(struct repl *repl, const struct words *words, struct error *err)
{
    (void)repl;
    if (words->n == 0) {
        printf("transcript: %s\n", transcript_path() != NULL ? transcript_path() : "none");
        return STATUS_OK;
    }
    if (strcmp(words->word[0], "off") == 0) {
        transcript_end();
        return STATUS_OK;
    }
    return transcript_begin(words->word[0], err);
}
