#include "workbench/trace/text_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workbench/trace/safe_replace.h"

static enum status write_stream(const char *text, FILE *out, const char *path, struct error *err)
{
    errno = 0;
    if (fputs(text, out) != EOF && fflush(out) == 0) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(errno ? errno : EIO));
}

/* A pipe or a device (/dev/stderr) cannot be replaced; it is written to. */
static enum status write_special(const char *text, const char *path, struct error *err)
{
    FILE *out = fopen(path, "w");
    if (!out) {
        return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be written: %s", strerror(errno));
    }
    enum status status = write_stream(text, out, path, err);
    if (fclose(out) != 0 && status == STATUS_OK) {
        status = error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(errno));
    }
    return status;
}

static enum status write_replacing(const char *text, const char *path, struct error *err)
{
    struct replacement replacement;
    TRY(replacement_begin(&replacement, path, err));
    size_t length = strlen(text);
    ssize_t written = 1;
    errno = 0;
    for (size_t at = 0; at < length && written > 0; at += (size_t)written) {
        written = write(replacement.fd, text + at, length - at);
    }
    if (written > 0) {
        return replacement_commit(&replacement, err);
    }
    enum status status =
        error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(errno ? errno : EIO));
    replacement_abort(&replacement);
    return status;
}

enum status text_file_write(const char *text, const char *path, struct error *err)
{
    struct stat info;
    if (strcmp(path, "-") == 0) {
        return write_stream(text, stdout, "standard output", err);
    }
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        return write_special(text, path, err);
    }
    return write_replacing(text, path, err);
}

enum status text_file_append(const char *text, const char *path, struct error *err)
{
    FILE *out = fopen(path, "a");
    if (out == NULL) {
        return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be written: %s", strerror(errno));
    }
    enum status status = write_stream(text, out, path, err);
    if (fclose(out) != 0 && status == STATUS_OK) {
        status = error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(errno));
    }
    return status;
}
