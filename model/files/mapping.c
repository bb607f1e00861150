#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/files/loader.h"

static enum status open_failed(const char *path, int code, struct error *err)
{
    /* A path that is wrong is bad input; a failing disk is an I/O error. */
    bool named_wrongly = code == ENOENT || code == ENOTDIR || code == EACCES || code == ELOOP || code == ENAMETOOLONG;
    return error_set(err, named_wrongly ? STATUS_BAD_INPUT : STATUS_IO, path, NULL, ERROR_NO_OFFSET,
                     "cannot be opened (%s), expected a readable file", strerror(code));
}

enum status mapping_open(struct mapping *mapping, const char *path, struct error *err)
{
    memset(mapping, 0, sizeof(*mapping));
    mapping->path = path;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a pipe must not block; it is refused below */
    if (fd < 0) {
        return open_failed(path, errno, err);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        int code = errno;
        close(fd);
        return open_failed(path, code, err);
    }
    if (!S_ISREG(info.st_mode) || info.st_size == 0) {
        close(fd);
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "%s, expected a file with content",
                         S_ISREG(info.st_mode) ? "empty" : "not a regular file");
    }
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int code = errno;
    close(fd);
    if (bytes == MAP_FAILED) {
        return open_failed(path, code, err);
    }
    mapping->bytes = bytes;
    mapping->size = (uint64_t)info.st_size;
    return STATUS_OK;
}

void mapping_close(struct mapping *mapping)
{
    if (mapping->bytes) {
        munmap((void *)mapping->bytes, mapping->size);
    }
    memset(mapping, 0, sizeof(*mapping));
}
