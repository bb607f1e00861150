#include "workbench/cli/commands/describe_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "model/model.h"
#include "workbench/python/python.h"
#include "workbench/session/step_kernel.h"

/* Writes a word so that a shell reads it as it is. */
static void write_word(const char *word, FILE *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+=";
    for (const char *c = word; *c != '\0'; c++) {
        bool is_plain = strchr(plain, *c) != NULL || ((unsigned char)*c & 0x80) != 0;
        fprintf(out, is_plain ? "%c" : "\\%c", *c);
    }
}

static void write_option(const char *name, const char *value, FILE *out)
{
    if (value != NULL) {
        fprintf(out, " %s ", name);
        write_word(value, out);
    }
}

/* The command that opens the prompt. malloc'ed. */
static char *debug_command(const struct arguments *arguments, bool has_engine)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    const char *trace = arguments->n_positional > 1 ? arguments->positional[1] : arguments->trace;
    ASSERT(out != NULL);
    write_word(provenance_program(), out);
    fprintf(out, " debug ");
    write_word(arguments->positional[0], out);
    write_option("--trace", trace, out);
    write_option("--golden", arguments->golden, out);
    write_option("--on", has_engine ? arguments->on : NULL, out);
    write_option("--device", has_engine ? arguments->device : NULL, out);
    write_option("--weights", has_engine ? arguments->weights : NULL, out);
    for (uint32_t i = 0; i < arguments->faults.n; i++) {
        write_option("--fault", arguments->faults.text[i], out);
    }
    for (uint32_t i = 0; i < arguments->kernel_choices.n; i++) {
        write_option("--kernel", arguments->kernel_choices.text[i], out);
    }
    fclose(out);
    return text;
}

void describe_run(struct comparison *comparison, const struct arguments *arguments, const struct backend *engine)
{
    struct report_run *run = &comparison->run;
    step_kernel_describe(comparison, engine);
    if (comparison->verdict.n_introduced == 0) {
        return;
    }
    const struct introduced *first = verdict_first(&comparison->verdict);
    const struct finding *finding = audit_finding(&comparison->audit, first->step, first->trace);
    run->token_text =
        python_token_text(comparison->plan->model, comparison->list[first->trace]->tokens[finding->position]);
    run->debug_command = debug_command(arguments, engine != NULL);
}
