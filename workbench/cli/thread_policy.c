/* OpenMP's threads spin while they wait. On a machine with other work they spin in the time that the thread they wait
 * for needs: small runs took 35 times as long. So they shall sleep (OMP_WAIT_POLICY=passive), and their number is
 * limited, for libgomp ends the program where it cannot start as many as OMP_NUM_THREADS says.
 *
 * libgomp reads the environment before main begins. So main changes it and executes the program once more: 20 ms. What
 * the user set about waiting stays; then nothing is executed, which is also the way to debug from the very first
 * instruction. */
#include "workbench/cli/thread_policy.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Threads that may always be asked for; more only where there are as many cores. */
#define FEWEST_AT_MOST 64

static long most_threads(void)
{
    cpu_set_t cores; /* that this process may run on; more than 1024 do not fit, and the call fails */
    int n = sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n > FEWEST_AT_MOST ? n : FEWEST_AT_MOST;
}

/* Whether the environment had to be changed. */
static bool limit_threads(void)
{
    const char *wanted = getenv("OMP_NUM_THREADS");
    long most = most_threads();
    if (!wanted || strtol(wanted, NULL, 10) <= most) {
        return false;
    }
    char text[24];
    snprintf(text, sizeof(text), "%ld", most);
    return setenv("OMP_NUM_THREADS", text, 1) == 0;
}

/* Whether the environment had to be changed. GOMP_SPINCOUNT is libgomp's, KMP_BLOCKTIME libomp's word for the same. */
static bool choose_waiting(void)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || getenv("KMP_BLOCKTIME")) {
        return false;
    }
    return setenv("OMP_WAIT_POLICY", "passive", 1) == 0;
}

void thread_policy_choose(char **argv)
{
    bool fewer = limit_threads(), waiting = choose_waiting();
    if (!fewer && !waiting) {
        return;
    }
    /* By its own path, so that the process keeps its name. Not where the dynamic linker was started with the program as
     * an argument: there /proc/self/exe is the linker, and the kernel loaded no interpreter at AT_BASE. */
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length > 0 && getauxval(AT_BASE) != 0) {
        path[length] = '\0';
        (void)execv(path, argv);
    }
}
