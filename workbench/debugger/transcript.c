/* A transcript: standard output and standard error, which go to a file as well, with what was typed. The streams stay
 * streams on the same descriptors, so that the program still knows whether they are a terminal. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/debugger/repl.h"
#include "workbench/session/progress.h"

#define HEAD "# lockstep transcript\n"

static struct {
    FILE *file; /* NULL: none is kept */
    char *path;
    FILE *out, *err; /* the streams before */
    FILE *captured;  /* what is written to descriptor 1 meanwhile; NULL: nothing is captured */
    int descriptor;  /* descriptor 1 as it was */
} transcript;

/* What is printed: to the stream as before, and to the file, but for lines that overwrite themselves. */
static ssize_t write_both(FILE *stream, const char *bytes, size_t n)
{
    size_t written = fwrite(bytes, 1, n, stream);
    fflush(stream);
    if (memchr(bytes, '\r', n) == NULL) {
        fwrite(bytes, 1, n, transcript.file);
        fflush(transcript.file);
    }
    return written < n ? -1 : (ssize_t)n;
}

static ssize_t write_out(void *cookie, const char *bytes, size_t n)
{
    (void)cookie;
    return write_both(transcript.out, bytes, n);
}

static ssize_t write_err(void *cookie, const char *bytes, size_t n)
{
    (void)cookie;
    return write_both(transcript.err, bytes, n);
}

/* A file may be added to if it is empty or a transcript. */
static enum status check_target(const char *path, struct error *err)
{
    FILE *file = fopen(path, "rb");
    char head[sizeof(HEAD)] = "";
    if (file == NULL) {
        return STATUS_OK;
    }
    size_t n = fread(head, 1, strlen(HEAD), file);
    fclose(file);
    return n == 0 || strcmp(head, HEAD) == 0
               ? STATUS_OK
               : error_set(err, STATUS_USAGE, path, NULL, ERROR_NO_OFFSET, "is no transcript, expected another file");
}

enum status transcript_begin(const char *path, struct error *err)
{
    TRY(check_target(path, err));
    FILE *file = fopen(path, "ab");
    FILE *out = file != NULL ? fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_out}) : NULL;
    FILE *error = out != NULL ? fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_err}) : NULL;
    if (error == NULL) {
        enum status status =
            error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be written: %s", strerror(errno));
        if (out != NULL) {
            fclose(out);
        }
        if (file != NULL) {
            fclose(file);
        }
        return status;
    }
    transcript_end();
    setvbuf(out, NULL, _IOLBF, BUFSIZ);
    setvbuf(error, NULL, _IONBF, 0);
    if (fseek(file, 0, SEEK_END) == 0 && ftell(file) == 0) {
        fputs(HEAD, file);
    }
    fflush(stdout);
    transcript.file = file;
    transcript.path = xstrdup(path);
    transcript.out = stdout;
    transcript.err = stderr;
    stdout = out;
    stderr = error;
    return STATUS_OK;
}

void transcript_end(void)
{
    if (transcript.file == NULL) {
        return;
    }
    FILE *out = stdout, *err = stderr;
    fflush(out);
    stdout = transcript.out;
    stderr = transcript.err;
    fclose(out);
    fclose(err);
    if (fclose(transcript.file) != 0) {
        fprintf(stderr, "lockstep: note: %s: the transcript could not be written whole\n", transcript.path);
    }
    free(transcript.path);
    transcript.file = NULL;
    transcript.path = NULL;
}

const char *transcript_path(void)
{
    return transcript.path;
}

void transcript_typed(const char *prompt, const char *line)
{
    if (transcript.file != NULL) {
        fprintf(transcript.file, "%s%s\n", prompt, line);
        fflush(transcript.file);
    }
}

void transcript_capture_begin(void)
{
    FILE *captured = transcript.file != NULL ? tmpfile() : NULL;
    if (captured == NULL) {
        return; /* the output is shown, and not kept */
    }
    fflush(stdout);
    transcript.descriptor = dup(STDOUT_FILENO);
    if (transcript.descriptor < 0 || dup2(fileno(captured), STDOUT_FILENO) < 0) {
        fclose(captured);
        return;
    }
    transcript.captured = captured;
}

void transcript_capture_end(void)
{
    char bytes[4096];
    if (transcript.captured == NULL) {
        return;
    }
    dup2(transcript.descriptor, STDOUT_FILENO);
    close(transcript.descriptor);
    rewind(transcript.captured);
    for (size_t n; (n = fread(bytes, 1, sizeof(bytes), transcript.captured)) > 0;) {
        fwrite(bytes, 1, n, stdout);
    }
    fclose(transcript.captured);
    transcript.captured = NULL;
    fflush(stdout);
}
