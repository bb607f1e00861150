/* lockstep import SOURCE -o T.h5: turns another program's dump into a trace, and tells what it made of it. */
#include <stdio.h>

#include "workbench/cli/command.h"
#include "workbench/python/import.h"

static void print_import(const struct arguments *arguments, const struct trace *trace)
{
    uint32_t n_prefill = 0;
    while (n_prefill < trace->n_positions && trace->phase[n_prefill] == PHASE_PREFILL) {
        n_prefill++;
    }
    printf("%s: %u stages of %u positions (%u prefill, %u decode), by %s\n", arguments->output, trace->n_stages,
           trace->n_positions, n_prefill, trace->n_positions - n_prefill, trace->producer);
    for (uint32_t i = 0; i < trace->n_notes; i++) {
        printf("  %s\n", trace->notes[i]);
    }
}

enum status command_import(const struct arguments *arguments, struct error *err)
{
    struct trace trace;
    const struct import_options options = {.model = arguments->model, .map = arguments->map, .list_all = true};
    if (arguments->output == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "-o", ERROR_NO_OFFSET, "not given, expected the file to write");
    }
    TRY(import_read(&trace, arguments->positional[0], &options, err));
    enum status status = trace_write(&trace, arguments->output, err);
    if (status == STATUS_OK) {
        print_import(arguments, &trace);
    }
    trace_free(&trace);
    return status;
}
