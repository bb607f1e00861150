#include "workbench/trace/safe_replace.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void replacement_end(struct replacement *replacement)
{
    free(replacement->target);
    free(replacement->temporary);
    *replacement = (struct replacement){.fd = -1};
}

/* Resolves symbolic links: a link stays a link, and the file that it points to is replaced. */
static char *final_target(const char *path)
{
    char *target = realpath(path, NULL);
    return target != NULL ? target : xstrdup(path);
}

enum status replacement_begin(struct replacement *replacement, const char *path, struct error *err)
{
    *replacement = (struct replacement){.fd = -1};
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "is not a regular file, and is not replaced");
    }
    char *target = final_target(path);
    size_t size = strlen(target) + 64;
    char *temporary = xmalloc(size);
    int fd = -1;
    for (unsigned attempt = 0; fd < 0 && attempt < 100; attempt++) {
        snprintf(temporary, size, "%s.%ld-%u.tmp", target, (long)getpid(), attempt);
        fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) {
            break;
        }
    }
    *replacement = (struct replacement){.target = target, .temporary = temporary, .fd = fd};
    if (fd >= 0) {
        return STATUS_OK;
    }
    int code = errno;
    replacement_end(replacement);
    return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be written: %s", strerror(code));
}

/* Flushes the folder, so that the rename itself reaches the disk. Failure is ignored: some file systems refuse, and the
 * file is complete without it. */
static void sync_folder_of(const char *target)
{
    char *copy = xstrdup(target);
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        (void)fsync(folder);
        close(folder);
    }
    free(copy);
}

enum status replacement_commit(struct replacement *replacement, struct error *err)
{
    enum status status = STATUS_OK;
    int fd = replacement->fd;
    bool flushed = fsync(fd) == 0;
    int code = errno;
    replacement->fd = -1;
    if (close(fd) != 0 && flushed) {
        flushed = false;
        code = errno;
    }
    if (!flushed) {
        status =
            error_set(err, STATUS_IO, replacement->target, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(code));
    } else if (rename(replacement->temporary, replacement->target) != 0) {
        status = error_set(err, STATUS_IO, replacement->target, NULL, ERROR_NO_OFFSET, "cannot be replaced: %s",
                           strerror(errno));
    }
    if (status != STATUS_OK) {
        replacement_abort(replacement);
        return status;
    }
    sync_folder_of(replacement->target);
    replacement_end(replacement);
    return STATUS_OK;
}

void replacement_abort(struct replacement *replacement)
{
    if (replacement->fd >= 0) {
        close(replacement->fd);
    }
    if (replacement->temporary != NULL) {
        unlink(replacement->temporary);
    }
    replacement_end(replacement);
}

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
