/* Reading what other programs dump: .npz, .safetensors, llama.cpp's names and so on become a trace (golden/importers/).
 * A SOURCE that is a trace already is read as it is. */
#ifndef LOCKSTEP_WORKBENCH_PYTHON_IMPORT_H
#define LOCKSTEP_WORKBENCH_PYTHON_IMPORT_H

#include "workbench/trace/trace.h"

struct import_options {
    const char *model; /* path of the MODEL that ran: widths, heads, the order of names; NULL: not known */
    bool list_all;     /* notes name every array that was not matched, one a line, not only the first */
    const char *map;   /* TOML file that corrects the table of names (golden/importers/mapping.py); NULL: none */
};

/* Reads a trace of any form. The importer writes a trace into a file without a name, which the ordinary reader reads;
 * nothing of it stays, however the program ends. trace->path is SOURCE, and trace->notes says what was put right and
 * what was not matched. STATUS_BAD_INPUT: one line that says what to do; STATUS_ABSENT: .venv lacks a package;
 * STATUS_IO; STATUS_INTERRUPTED: Ctrl-C. On failure the trace is zeroed. */
enum status import_read(struct trace *trace, const char *source, const struct import_options *options,
                        struct error *err);

#endif
