#include "workbench/session/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "model/stop.h"

#define PATIENCE 3 /* presses */

static volatile sig_atomic_t presses;

static void on_interrupt(int number)
{
    (void)number;
    stop_ask();
    if (++presses >= PATIENCE) {
        _exit(STATUS_INTERRUPTED);
    }
}

void interrupt_install(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool interrupt_seen(void)
{
    return stop_asked();
}

void interrupt_clear(void)
{
    presses = 0;
    stop_clear();
}
