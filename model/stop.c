#include "model/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t asked;

void stop_ask(void)
{
    asked = 1;
}

void stop_clear(void)
{
    asked = 0;
}

bool stop_asked(void)
{
    return asked != 0;
}

enum status stop_check(struct error *err)
{
    return stop_asked() ? error_set(err, STATUS_INTERRUPTED, NULL, NULL, ERROR_NO_OFFSET, "interrupted") : STATUS_OK;
}
