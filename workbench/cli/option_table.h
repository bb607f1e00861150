/* The options of all commands: one row each. Parser, help, man page and completion are made from these rows. */
#ifndef LOCKSTEP_WORKBENCH_CLI_OPTION_TABLE_H
#define LOCKSTEP_WORKBENCH_CLI_OPTION_TABLE_H

#include <stddef.h>

enum option_kind {
    OPTION_FLAG,  /* bool; no value follows */
    OPTION_TEXT,  /* const char *; may be given once */
    OPTION_COUNT, /* int64_t, from 0 to 1000000; the last one given counts */
    OPTION_LIST,  /* struct text_list; may be given several times */
};

struct option {
    const char *name;      /* as it is typed: "--golden" */
    enum option_kind kind; /* also the type of its field */
    size_t offset;         /* of its field in struct arguments */
    size_t second;         /* of the field for a second value, where a command takes two; 0: it may be given once */
    const char *value;     /* what help calls its value: "G.h5"; NULL for a flag */
    const char *help;      /* one sentence */
};

/* The option whose name is these `length` bytes, exactly; NULL: there is none. */
const struct option *option_find(const char *name, size_t length);

#endif
