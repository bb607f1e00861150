#include "workbench/session/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "model/stop.h"

#define PRESSES_TO_EXIT 3

static volatile sig_atomic_t presses;

static void on_interrupt(int number)
{
    (void)number;
    stop_ask();
    if (++presses >= PRESSES_TO_EXIT) {
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
