#include "workbench/trace/pipe_bytes.h"

#include <errno.h>
#include <unistd.h>

bool pipe_send(int fd, const void *bytes, uint64_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = write(fd, at, size > 1 << 20 ? 1 << 20 : size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += n;
        size -= (uint64_t)n;
    }
    return true;
}

bool pipe_receive(int fd, void *bytes, uint64_t size)
{
    char *at = bytes;
    while (size > 0) {
        ssize_t n = read(fd, at, size > 1 << 20 ? 1 << 20 : size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += n;
        size -= (uint64_t)n;
    }
    return true;
}
