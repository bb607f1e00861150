/* Cases in processes of our own. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <omp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/stop.h"
#include "workbench/batch/run_case.h"
#include "workbench/batch/runners.h"
#include "workbench/python/python.h"
#include "workbench/session/progress.h"
#include "workbench/trace/pipe_bytes.h"

#define NONE UINT32_MAX
#define FIXED_BYTES (300ull << 20) /* of a process, whatever its model: the driver, Python, a trace */
#define TIMES_FILE 3               /* weights in the file, on the device, and what judges them */

/* The cases of one model, which one process runs. */
struct group {
    const char *model;
    uint64_t n_bytes; /* that a process needs for it */
    uint32_t n, next; /* cases, and the next to run */
    uint32_t *cases;
};

struct process {
    pid_t pid; /* 0: not running */
    int to, from;
    struct group *group; /* NULL: none */
    uint32_t running;    /* index of a case, or NONE */
    double start;
};

struct processes {
    const struct case_list *list;
    uint32_t n_groups, next_group;
    struct group *groups;
    uint32_t n;
    struct process *all;
    uint64_t n_free; /* bytes of memory that no group has */
};

/* The bytes of a model's files; 0 if there are none. */
static uint64_t model_bytes(const char *path)
{
    struct stat info;
    char file[2 * PATH_MAX];
    uint64_t n = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        n += stat(file, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
    }
    closedir(folder);
    return n;
}

/* The memory that can be had, as the kernel sees it. */
static uint64_t available_bytes(void)
{
    unsigned long long kibibytes = 0;
    char line[256];
    FILE *in = fopen("/proc/meminfo", "r");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL && kibibytes == 0) {
        (void)sscanf(line, "MemAvailable: %llu", &kibibytes);
    }
    if (in != NULL) {
        fclose(in);
    }
    return kibibytes > 0 ? kibibytes << 10 : UINT64_MAX;
}

static void make_groups(struct processes *processes)
{
    const struct case_list *list = processes->list;
    processes->groups = xcalloc(list->n_todo, sizeof(*processes->groups));
    for (uint32_t i = 0; i < list->n_todo; i++) {
        const char *model = list->batch->cases[list->todo[i]].model;
        struct group *group = processes->groups, *end = group + processes->n_groups;
        while (group < end && strcmp(group->model, model) != 0) {
            group++;
        }
        if (group == end) {
            processes->n_groups++;
            group->model = model;
            group->n_bytes = FIXED_BYTES + TIMES_FILE * model_bytes(model);
            group->cases = xcalloc(list->n_todo, sizeof(*group->cases));
        }
        group->cases[group->n++] = list->todo[i];
    }
}

/* The process itself: runs the cases whose indices it is sent, and sends their results, until there are no more. */
_Noreturn static void serve(const struct case_list *list, int to, int from)
{
    struct open_model open = {0};
    uint32_t index;
    bool goes_on = true;
    progress_silence();
    while (goes_on && pipe_receive(to, &index, sizeof(index))) {
        json_t *result = case_run(&open, &list->batch->cases[index]);
        char *text = json_dumps(result, JSON_COMPACT);
        ASSERT(text != NULL);
        uint64_t length = strlen(text);
        goes_on = pipe_send(from, &length, sizeof(length)) && pipe_send(from, text, length);
        free(text);
        json_decref(result);
    }
    open_model_close(&open);
    _exit(0);
}

static void close_pipes(const struct processes *processes)
{
    for (uint32_t i = 0; i < processes->n; i++) {
        if (processes->all[i].pid != 0) {
            close(processes->all[i].to);
            close(processes->all[i].from);
        }
    }
}

static enum status start_process(struct processes *processes, struct process *process, struct error *err)
{
    int to[2], from[2];
    if (pipe(to) != 0) {
        return error_set(err, STATUS_IO, NULL, NULL, ERROR_NO_OFFSET, "no pipe can be made: %s", strerror(errno));
    }
    if (pipe(from) != 0) {
        close(to[0]);
        close(to[1]);
        return error_set(err, STATUS_IO, NULL, NULL, ERROR_NO_OFFSET, "no pipe can be made: %s", strerror(errno));
    }
    pid_t parent = getpid(), pid = python_fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(to[1]);
        close(from[0]);
        close_pipes(processes);
        if (getppid() != parent) {
            _exit(1); /* it died before we asked to die with it */
        }
        int cores = omp_get_num_procs() / (int)processes->n;
        omp_set_num_threads(cores > 0 ? cores : 1);
        serve(processes->list, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    if (pid < 0) {
        close(to[1]);
        close(from[0]);
        return error_set(err, STATUS_IO, NULL, NULL, ERROR_NO_OFFSET, "no process can be made: %s", strerror(errno));
    }
    *process = (struct process){.pid = pid, .to = to[1], .from = from[0], .group = process->group, .running = NONE};
    return STATUS_OK;
}

/* Ends a process. Returns how it ended. */
static int end_process(struct process *process)
{
    int how = 0;
    close(process->to);
    close(process->from);
    while (waitpid(process->pid, &how, 0) < 0 && errno == EINTR) {
    }
    process->pid = 0;
    return how;
}

/* Whether a process that has no case left may take a group: there is one, and the memory is there, or nobody runs. */
static bool may_take(const struct processes *processes)
{
    bool nobody = true;
    for (uint32_t i = 0; i < processes->n; i++) {
        nobody &= processes->all[i].group == NULL;
    }
    return processes->next_group < processes->n_groups &&
           (nobody || processes->groups[processes->next_group].n_bytes <= processes->n_free);
}

static void give_back(struct processes *processes, struct process *process)
{
    if (process->group != NULL) {
        processes->n_free += process->group->n_bytes;
        process->group = NULL;
    }
}

static void take_group(struct processes *processes, struct process *process)
{
    process->group = &processes->groups[processes->next_group++];
    processes->n_free -= process->group->n_bytes < processes->n_free ? process->group->n_bytes : processes->n_free;
}

/* Gives an idle process its next case; if there is none for it, it ends. */
static enum status feed(struct processes *processes, struct process *process, struct error *err)
{
    if (process->group != NULL && process->group->next == process->group->n) {
        give_back(processes, process);
    }
    if (process->group == NULL && may_take(processes)) {
        take_group(processes, process);
    }
    if (process->group == NULL) {
        if (process->pid != 0) {
            end_process(process);
        }
        return STATUS_OK;
    }
    if (process->pid == 0) {
        TRY(start_process(processes, process, err));
    }
    process->running = process->group->cases[process->group->next++];
    process->start = seconds_now();
    (void)pipe_send(process->to, &process->running, sizeof(process->running)); /* a dead one shows when it is read */
    return STATUS_OK;
}

/* The result of the running case; NULL: the process died. */
static json_t *receive_result(const struct process *process)
{
    uint64_t length;
    if (!pipe_receive(process->from, &length, sizeof(length))) {
        return NULL;
    }
    char *text = xmalloc(length + 1);
    json_t *result = pipe_receive(process->from, text, length) ? json_loadb(text, length, 0, NULL) : NULL;
    free(text);
    return result;
}

/* Says what killed the process of a case. */
static json_t *died(const struct processes *processes, struct process *process)
{
    char why[160];
    double seconds = seconds_now() - process->start;
    int how = end_process(process);
    if (WIFSIGNALED(how)) {
        snprintf(why, sizeof(why), "its process was ended by signal %d (%s)%s", WTERMSIG(how), strsignal(WTERMSIG(how)),
                 WTERMSIG(how) == SIGKILL ? ", as where memory runs out; --jobs 1 needs the least" : "");
    } else {
        snprintf(why, sizeof(why), "its process ended with status %d before the case did", WEXITSTATUS(how));
    }
    return case_failed(&processes->list->batch->cases[process->running], why, STATUS_DEVICE, seconds);
}

static enum status take_result(struct processes *processes, struct process *process, struct error *err)
{
    uint32_t index = process->running;
    json_t *result = receive_result(process);
    if (result == NULL) {
        result = died(processes, process);
    }
    process->running = NONE;
    processes->list->done(processes->list->context, index, result);
    return feed(processes, process, err);
}

/* Waits for results until all are there. */
static enum status collect(struct processes *processes, struct error *err)
{
    struct pollfd *fds = xcalloc(processes->n, sizeof(*fds));
    enum status status = STATUS_OK;
    uint32_t n_running = 1;
    while (status == STATUS_OK && n_running > 0) {
        n_running = 0;
        for (uint32_t i = 0; i < processes->n && status == STATUS_OK; i++) {
            struct process *process = &processes->all[i];
            if (process->running == NONE) {
                status = feed(processes, process, err); /* memory may be free by now */
            }
            fds[i] = (struct pollfd){.fd = process->running != NONE ? process->from : -1, .events = POLLIN};
            n_running += process->running != NONE;
        }
        if (status != STATUS_OK || n_running == 0) {
            break;
        }
        int n = poll(fds, processes->n, -1);
        status = stop_check(err);
        for (uint32_t i = 0; n > 0 && i < processes->n && status == STATUS_OK; i++) {
            if (fds[i].revents != 0) {
                status = take_result(processes, &processes->all[i], err);
            }
        }
    }
    free(fds);
    return status;
}

enum status processes_run(const struct case_list *list, struct error *err)
{
    struct processes processes = {.list = list, .n_free = available_bytes()};
    make_groups(&processes);
    uint32_t most = list->options->n_processes > 0 ? list->options->n_processes : (uint32_t)omp_get_num_procs();
    processes.n = processes.n_groups < most ? processes.n_groups : most;
    processes.all = xcalloc(processes.n, sizeof(*processes.all));
    for (uint32_t i = 0; i < processes.n; i++) {
        processes.all[i].running = NONE;
    }
    enum status status = collect(&processes, err);
    for (uint32_t i = 0; i < processes.n; i++) {
        if (processes.all[i].pid != 0) {
            kill(processes.all[i].pid, SIGKILL);
            end_process(&processes.all[i]);
        }
    }
    for (uint32_t i = 0; i < processes.n_groups; i++) {
        free(processes.groups[i].cases);
    }
    free(processes.groups);
    free(processes.all);
    return status;
}
