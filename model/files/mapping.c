#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "model/files/loader.h"

static enum status open_failed(const char *path, int code, struct error *err)
{
    /* A path that is wrong is bad input; a failing disk is an I/O error. */
    bool named_wrongly = code == ENOENT || code == ENOTDIR || code == EACCES || code == ELOOP || code == ENAMETOOLONG;
    return error_set(err, named_wrongly ? STATUS_BAD_INPUT : STATUS_IO, path, NULL, ERROR_NO_OFFSET,
                     "cannot be opened (%s), expected a readable file", strerror(code));
}

#define SAMPLED_PAGES 64

/* The part of a mapped file that the system already holds in memory, of a sample of its pages. */
static double cached_part(const uint8_t *bytes, uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), n_pages = (size + page - 1) / page;
    uint64_t n = n_pages < SAMPLED_PAGES ? n_pages : SAMPLED_PAGES, n_cached = 0;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char there = 0;
        uintptr_t at = (uintptr_t)bytes + i * n_pages / n * page;
        n_cached += mincore((void *)at, page, &there) == 0 && (there & 1) != 0;
    }
    return (double)n_cached / (double)n;
}

static double milliseconds(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

enum status mapping_open(struct mapping *mapping, const char *path, struct error *err)
{
    memset(mapping, 0, sizeof(*mapping));
    double start = milliseconds();
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
    mapping->cached = cached_part(mapping->bytes, mapping->size);
    mapping->ms = milliseconds() - start;
    return STATUS_OK;
}

void mapping_close(struct mapping *mapping)
{
    if (mapping->bytes) {
        munmap((void *)mapping->bytes, mapping->size);
    }
    memset(mapping, 0, sizeof(*mapping));
}
