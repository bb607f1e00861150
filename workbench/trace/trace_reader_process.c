/* Reads a trace in a child process, which sends it through a pipe. HDF5 1.10 trusts the file: one changed byte in a
 * heap or a B-tree makes it crash or loop for ever, and nothing outside the library can prevent that. Here only the
 * child ends, and the caller gets an error of one line. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workbench/trace/pipe_bytes.h"
#include "workbench/trace/trace_hdf5.h"

/* What is sent of a stage before its rows. */
struct stage_head {
    int32_t layer;
    enum stage stage;
    uint32_t width;
    struct declaration declaration;
};

static bool send_text(int fd, const char *text)
{
    uint64_t size = strlen(text) + 1;
    return pipe_send(fd, &size, sizeof(size)) && pipe_send(fd, text, size);
}

static bool receive_text(int fd, char **text)
{
    uint64_t size;
    if (!pipe_receive(fd, &size, sizeof(size))) {
        return false;
    }
    *text = xcalloc(size + 1, 1);
    return pipe_receive(fd, *text, size);
}

/* Sends only the rows that are recorded, then frees the stage's, so that no trace is in memory twice. */
static bool send_stage(int fd, const struct trace *trace, struct trace_stage *stage)
{
    const struct stage_head head = {stage->layer, stage->stage, stage->width, stage_declaration(stage)};
    bool sent = pipe_send(fd, &head, sizeof(head)) && pipe_send(fd, stage->recorded, trace->n_positions);
    for (uint32_t p = 0; p < trace->n_positions && sent; p++) {
        const float *row = trace_row(stage, p);
        sent = row == NULL || pipe_send(fd, row, stage->width * sizeof(*row));
    }
    free(stage->rows);
    stage->rows = NULL;
    return sent;
}

static bool receive_stage(int fd, struct trace *trace)
{
    struct stage_head head;
    if (!pipe_receive(fd, &head, sizeof(head))) {
        return false;
    }
    struct trace_stage *stage = trace_add(trace, head.layer, head.stage, head.width);
    stage_declare(stage, &head.declaration);
    bool received = pipe_receive(fd, stage->recorded, trace->n_positions);
    for (uint32_t p = 0; p < trace->n_positions && received; p++) {
        if (!stage->recorded[p]) {
            continue;
        }
        received = pipe_receive(fd, stage->rows + (uint64_t)p * stage->width, stage->width * sizeof(float));
        stage->n_recorded++;
    }
    stage_set_rounded(stage, trace->n_positions, stage->arith.u_rounded);
    return received;
}

/* Sends the struct itself as bytes, then what its pointers point to. */
static bool send_trace(int fd, struct trace *trace)
{
    bool sent = pipe_send(fd, trace, sizeof(*trace)) && send_text(fd, trace->path) && send_text(fd, trace->producer) &&
                send_text(fd, trace->model_type) &&
                pipe_send(fd, trace->tokens, trace->n_positions * sizeof(*trace->tokens)) &&
                pipe_send(fd, trace->phase, trace->n_positions);
    for (uint32_t i = 0; i < trace->n_stages && sent; i++) {
        sent = send_stage(fd, trace, &trace->stages[i]);
    }
    return sent;
}

static bool receive_trace(int fd, struct trace *trace)
{
    struct trace sent;
    if (!pipe_receive(fd, &sent, sizeof(sent))) {
        return false;
    }
    *trace = sent;
    trace->path = trace->producer = trace->model_type = NULL;
    trace->n_stages = 0;
    trace->stages = NULL;
    trace->tokens = xcalloc(trace->n_positions, sizeof(*trace->tokens));
    trace->phase = xcalloc(trace->n_positions, sizeof(*trace->phase));
    bool received = receive_text(fd, &trace->path) && receive_text(fd, &trace->producer) &&
                    receive_text(fd, &trace->model_type) &&
                    pipe_receive(fd, trace->tokens, trace->n_positions * sizeof(*trace->tokens)) &&
                    pipe_receive(fd, trace->phase, trace->n_positions);
    for (uint32_t i = 0; i < sent.n_stages && received; i++) {
        received = receive_stage(fd, trace);
    }
    return received;
}

/* Undoes the program's signal handlers: a signal ends the child. */
static void reset_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGINT, SIGTERM, SIGPIPE, SIGXCPU};
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        signal(signals[i], SIG_DFL);
    }
}

/* Ends the child as soon as its parent ends, in whatever way. */
static void end_with(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1); /* the parent ended before the call */
    }
}

/* Closes the program's output in the child: whoever waits for its end must not wait for the child too. fd is the
 * child's end of the pipe; returns it under a number above the standard ones. */
static int leave_output(int fd)
{
    fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1); /* fd is 0, 1 or 2 if the program was started without these */
    int null = open("/dev/null", O_WRONLY);
    if (fd < 0 || null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0) {
        _exit(1);
    }
    return fd;
}

/* The child's work. It prints nothing, dumps no core, and has 10 s of CPU time and one more for each 8 MiB of file. */
static _Noreturn void read_in_child(const int ends[2], pid_t parent, const char *path)
{
    struct trace trace;
    struct error err = {0};
    struct stat info;
    rlim_t seconds = 10 + (stat(path, &info) == 0 ? (rlim_t)info.st_size >> 23 : 0);
    const struct rlimit no_core = {0, 0}, time_limit = {seconds, seconds};
    end_with(parent);
    close(ends[0]); /* otherwise a write would never fail after the parent closed its end */
    int fd = leave_output(ends[1]);
    reset_signals();
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &time_limit);
    err.status = trace_read_file(&trace, path, &err);
    bool sent = pipe_send(fd, &err, sizeof(err)) && (err.status != STATUS_OK || send_trace(fd, &trace));
    _exit(sent ? 0 : 1);
}

/* The error of a child that ended without a result. how: its status from waitpid. */
static enum status died(const char *path, int how, struct error *err)
{
    int with = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    if (with == SIGINT || with == SIGTERM) {
        return error_set(err, STATUS_INTERRUPTED, path, NULL, ERROR_NO_OFFSET, "reading was interrupted");
    }
    return error_set(err, STATUS_BAD_INPUT, path, "HDF5", ERROR_NO_OFFSET, "is damaged: the HDF5 library %s on it",
                     with == SIGXCPU ? "runs for ever" : "crashes");
}

enum status trace_read(struct trace *trace, const char *path, struct error *err)
{
    int ends[2], how = 0;
    struct error result;
    *trace = (struct trace){0};
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be read: %s", strerror(errno));
    }
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        read_in_child(ends, parent, path);
    }
    close(ends[1]);
    bool received = child > 0 && pipe_receive(ends[0], &result, sizeof(result)) &&
                    (result.status != STATUS_OK || receive_trace(ends[0], trace));
    close(ends[0]);
    if (child < 0) {
        return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be read: %s", strerror(errno));
    }
    pid_t ended;
    do {
        ended = waitpid(child, &how, 0);
    } while (ended < 0 && errno == EINTR);
    if (!received) {
        trace_free(trace);
        return died(path, how, err);
    }
    trace->from_file = true;
    if (result.status != STATUS_OK && err != NULL) {
        *err = result;
    }
    return result.status;
}
