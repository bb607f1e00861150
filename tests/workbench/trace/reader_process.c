/* The process that reads a trace: it ends with the one that asked, holds none of its output, and needs none. */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/program.h"
#include "workbench/trace/trace.h"

/* 16 MB: far more than a pipe holds, so that the reader waits while nobody takes what it sends. */
#define LARGE "golden/smollm2-color-of-the-sky.h5"
#define PATIENCE 20.0 /* seconds */

/* A process that reads the large trace again and again; output: the pipe that its standard output and error go to. */
static pid_t start_reading(const int output[2])
{
    pid_t asking = fork();
    assert_true(asking >= 0);
    if (asking == 0) {
        dup2(output[1], STDOUT_FILENO);
        dup2(output[1], STDERR_FILENO);
        close(output[0]);
        close(output[1]);
        for (;;) {
            struct trace trace;
            if (trace_read(&trace, LARGE, NULL) != STATUS_OK) {
                _exit(1);
            }
            trace_free(&trace);
        }
    }
    return asking;
}

/* The only child of a process; 0: it has none. */
static pid_t child_of(pid_t parent)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    if (fscanf(file, "%d", &child) != 1) {
        child = 0;
    }
    fclose(file);
    return child;
}

/* The letter of a process's state: 'S' it waits, 'R' it runs, 'Z' it ended. */
static char state_of(pid_t process)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)process);
    FILE *file = fopen(path, "r");
    if (!file) {
        return 'Z';
    }
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end ? name_end[2] : 'Z';
}

/* Waits until the state is (or is not) this one. */
static char wait_while(pid_t process, char state, bool is)
{
    char found;
    for (double end = now() + PATIENCE; ((found = state_of(process)) == state) == is && now() < end;) {
        usleep(1000);
    }
    return found;
}

/* Stops the asking process where its reader waits for it to take more. Returns the reader. */
static pid_t stop_while_read(pid_t asking)
{
    for (double end = now() + PATIENCE; now() < end;) {
        pid_t reader = child_of(asking);
        if (reader == 0) {
            continue;
        }
        usleep(20000); /* into the middle of what it sends, where the machine is not busy: else once more */
        kill(asking, SIGSTOP);
        assert_int_equal(wait_while(asking, 'T', false), 'T');
        if (child_of(asking) == reader) {
            (void)wait_while(reader, 'R', true);
            usleep(20000);
            if (state_of(reader) == 'S') {
                return reader;
            }
        }
        kill(asking, SIGCONT);
    }
    fail_msg("no reader that waits");
    return 0;
}

/* Whether the process has a descriptor that leads to the same as `fd` does here. */
static bool holds(pid_t process, int fd)
{
    char folder[64], path[512], ours[256] = "", theirs[256];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    assert_true(readlink(path, ours, sizeof(ours) - 1) > 0);
    snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)process);
    DIR *open_files = opendir(folder);
    assert_non_null(open_files);
    bool found = false;
    for (const struct dirent *entry; (entry = readdir(open_files)) != NULL;) {
        memset(theirs, 0, sizeof(theirs));
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        found = (readlink(path, theirs, sizeof(theirs) - 1) > 0 && strcmp(ours, theirs) == 0) || found;
    }
    closedir(open_files);
    return found;
}

/* It kept the reading end of its own pipe, so that its writes waited for ever; and the caller's output was open as long
 * as it lived. */
static void the_reader_ends_with_its_parent(void **state)
{
    (void)state;
    int output[2];
    char byte;
    assert_int_equal(pipe(output), 0);
    pid_t asking = start_reading(output);
    pid_t reader = stop_while_read(asking);
    assert_true(holds(asking, output[1])); /* the twin: who has it is found out */
    bool held = holds(reader, output[1]);
    close(output[1]);
    kill(asking, SIGKILL);
    assert_int_equal(waitpid(asking, NULL, 0), asking);
    struct pollfd poll_output = {output[0], POLLIN, 0};
    bool closed = poll(&poll_output, 1, (int)(1000 * PATIENCE)) == 1 && read(output[0], &byte, 1) == 0;
    bool ended = wait_while(reader, 'Z', false) == 'Z';
    if (!ended) {
        kill(reader, SIGKILL);
    }
    close(output[0]);
    assert_false(held);
    assert_true(closed);
    assert_true(ended);
}

/* A process whose standard files are closed from this one on. */
static void expect_read_without(int first)
{
    pid_t asking = fork();
    assert_true(asking >= 0);
    if (asking == 0) {
        struct trace trace;
        for (int standard = first; standard <= STDERR_FILENO; standard++) {
            close(standard);
        }
        enum status status = trace_read(&trace, "golden/tiny-llama.h5", NULL);
        _exit(status == STATUS_OK && trace.n_stages > 0 ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(asking, &how, 0), asking);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

/* Without standard output and error their numbers are free, and the pipe's ends get them. */
static void a_program_without_output_reads(void **state)
{
    (void)state;
    for (int first = STDIN_FILENO; first <= STDERR_FILENO; first++) {
        expect_read_without(first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_ends_with_its_parent),
        cmocka_unit_test(a_program_without_output_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
