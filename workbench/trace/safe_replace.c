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
