#include "workbench/trace/version.h"

#include <stdio.h>

static const char *the_commit = "unknown";

const char *version_number(void)
{
    return LOCKSTEP_VERSION; /* CMakeLists.txt defines it for this file */
}

const char *version_commit(void)
{
    return the_commit;
}

void version_set_commit(const char *commit)
{
    the_commit = commit;
}

enum status version_print(const char *value, struct error *err)
{
    (void)value;
    (void)err;
    printf("lockstep %s, commit %s\n", version_number(), version_commit());
    return STATUS_OK;
}
