#include "workbench/session/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static bool shown, silent;

static bool can_show(void)
{
    return !silent && isatty(STDERR_FILENO);
}

void progress_silence(void)
{
    silent = true;
}

void progress_show(void *context, uint32_t done, uint32_t total)
{
    if (done >= total) {
        progress_wipe();
        return;
    }
    if (!can_show()) {
        return;
    }
    fprintf(stderr, "\r%s %u/%u\033[K", (const char *)context, done, total);
    fflush(stderr);
    shown = true;
}

void progress_note(const char *verb, const char *what)
{
    if (!can_show()) {
        return;
    }
    fprintf(stderr, "\r%s %.60s …\033[K", verb, what);
    fflush(stderr);
    shown = true;
}

void progress_wipe(void)
{
    if (!shown) {
        return;
    }
    fprintf(stderr, "\r\033[K");
    fflush(stderr);
    shown = false;
}
