#include "tests/support/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/error.h"

void scratch_make(char path[256])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 256, "%s/lockstep-test-XXXXXX", base ? base : "/tmp");
    ASSERT(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    (void)info, (void)flag, (void)walk;
    return remove(path);
}

void scratch_remove(const char *path)
{
    int failed = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ASSERT(!failed);
}

const char *scratch_path(char path[512], const char *folder, const char *name)
{
    int length = snprintf(path, 512, "%s/%s", folder, name);
    ASSERT(length < 512);
    return path;
}

void scratch_write(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    ASSERT(file);
    ASSERT(fwrite(bytes, 1, size, file) == size);
    ASSERT(fclose(file) == 0);
}

size_t scratch_read(const char *path, void *bytes, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    ASSERT(file);
    size_t n = fread(bytes, 1, capacity, file);
    ASSERT(n < capacity && !ferror(file));
    ASSERT(fclose(file) == 0);
    ((char *)bytes)[n] = '\0';
    return n;
}

void scratch_copy(const char *from, const char *to)
{
    char piece[65536];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    ASSERT(in && out);
    for (size_t n; (n = fread(piece, 1, sizeof(piece), in)) > 0;) {
        ASSERT(fwrite(piece, 1, n, out) == n);
    }
    ASSERT(!ferror(in));
    ASSERT(fclose(in) == 0 && fclose(out) == 0);
}

void scratch_patch(const char *path, size_t offset, uint8_t byte)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ASSERT(fd >= 0);
    ASSERT(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    ASSERT(close(fd) == 0);
}

void buffer_add(struct buffer *buffer, const void *bytes, size_t size)
{
    if (buffer->size + size > buffer->capacity) {
        buffer->capacity = 2 * (buffer->size + size);
        buffer->bytes = xrealloc(buffer->bytes, buffer->capacity);
    }
    if (size) {
        memcpy(buffer->bytes + buffer->size, bytes, size);
    }
    buffer->size += size;
}

void buffer_u32(struct buffer *buffer, uint32_t value)
{
    buffer_add(buffer, &value, sizeof(value));
}

void buffer_u64(struct buffer *buffer, uint64_t value)
{
    buffer_add(buffer, &value, sizeof(value));
}

void buffer_zeros(struct buffer *buffer, size_t size)
{
    static const uint8_t zeros[64];
    for (; size > sizeof(zeros); size -= sizeof(zeros)) {
        buffer_add(buffer, zeros, sizeof(zeros));
    }
    buffer_add(buffer, zeros, size);
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->bytes);
    memset(buffer, 0, sizeof(*buffer));
}

float scratch_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}
