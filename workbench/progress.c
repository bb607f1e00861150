#include "workbench/progress.h"

#include <stdio.h>
#include <unistd.h>

void progress_show(void *context, uint32_t done, uint32_t total)
{
    if (!isatty(STDERR_FILENO))
        return;
    if (done < total)
        fprintf(stderr, "\r%s %u/%u\033[K", (const char *)context, done, total);
    else
        fprintf(stderr, "\r\033[K");
    fflush(stderr);
}
