/* Reading a session that was saved: what the files of session_*.c share. Only those include it. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_SESSION_READING_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_SESSION_READING_H

#include <jansson.h>

#include "workbench/debugger/repl.h"

/* What every function here needs. */
struct session_reading {
    const char *path;
    json_t *root;
    struct error *err;
};

/* json_unpack_ex of an object, whose message becomes the error. */
#define UNPACK(in, object, ...)                                                            \
    do {                                                                                   \
        json_error_t unpack_error = {.text = "a part of it is missing"};                   \
        if ((object) == NULL || json_unpack_ex((object), &unpack_error, 0, __VA_ARGS__)) { \
            return session_malformed((in), unpack_error.text);                             \
        }                                                                                  \
    } while (0)

/* STATUS_BAD_INPUT: what the file says is no session. */
enum status session_malformed(const struct session_reading *in, const char *what);

/* Refuses a file that is not as it was. what: its part in the session. */
enum status session_check_digest(const struct session_reading *in, const char *what, const char *path, const char *was,
                                 const char *is);

/* The path of an object as it was given, where it still leads to the same file; else the one that holds in every
 * folder. */
enum status session_choose_path(const struct session_reading *in, json_t *object, const char **path);

/* Reads the trace of {"path", "whole_path", "sha256"}; *trace is malloc'ed, or NULL where there is none. */
enum status session_read_trace(const struct session_reading *in, const char *what, json_t *object,
                               struct trace **trace);
void session_free_trace(struct trace *trace); /* NULL: nothing */

/* The saved options. Texts are borrowed from the document. */
struct saved_options {
    int engine, reference, errors_continue, fuse, decode, width, max_positions;
    const char *device, *device_name, *weights, *shaders, *compiled;
    json_t *faults, *kernels;
    const char *fault_texts[REPL_MAX_FAULTS];
    uint32_t n_faults;
    struct kernel_choices choices;
};

enum status session_read_options(const struct session_reading *in, struct saved_options *options);

/* Gives an open prompt its settings, debug configuration, breakpoints and patches. (session_read.c) */
enum status session_read_settings(const struct session_reading *in, const struct saved_options *options,
                                  struct repl *repl);

/* Starts the run and brings it to its place. (session_read_run.c) */
enum status session_read_run(const struct session_reading *in, struct repl *repl);

#endif
