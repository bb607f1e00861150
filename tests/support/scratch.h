/* A temporary folder for a test's files, and bytes to put into them. */
#ifndef LOCKSTEP_TESTS_SUPPORT_SCRATCH_H
#define LOCKSTEP_TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/* Makes a new folder in $TMPDIR or /tmp; path receives its path. */
void scratch_make(char path[256]);

/* Removes the folder and everything in it. */
void scratch_remove(const char *path);

/* Defines `folder` and tear_down, which removes it. The test file's own set_up makes it. */
#define SCRATCH_FOLDER                 \
    static char folder[256];           \
    static int tear_down(void **state) \
    {                                  \
        (void)state;                   \
        scratch_remove(folder);        \
        return 0;                      \
    }

/* The same with set_up, for each test or for all of them. */
#define SCRATCH_FIXTURE             \
    SCRATCH_FOLDER                  \
    static int set_up(void **state) \
    {                               \
        (void)state;                \
        scratch_make(folder);       \
        return 0;                   \
    }

/* The same and `path`, of a file of that name in the folder, which does not exist yet. */
#define SCRATCH_FILE_FIXTURE(name)        \
    SCRATCH_FOLDER                        \
    static char path[512];                \
    static int set_up(void **state)       \
    {                                     \
        (void)state;                      \
        scratch_make(folder);             \
        scratch_path(path, folder, name); \
        return 0;                         \
    }

/* Writes "folder/name" to path; returns path. */
const char *scratch_path(char path[512], const char *folder, const char *name);

/* Writes a whole file, replacing an earlier one. */
void scratch_write(const char *path, const void *bytes, size_t size);

/* Reads a whole file, which must be shorter than capacity bytes, and ends it with a zero byte. Returns its size. */
size_t scratch_read(const char *path, void *bytes, size_t capacity);

/* Copies a file's bytes, replacing an earlier one. */
void scratch_copy(const char *from, const char *to);

/* Changes one byte of a file in place. */
void scratch_patch(const char *path, size_t offset, uint8_t byte);

/* Bytes that grow. A zeroed buffer is empty; buffer_free releases it. */
struct buffer {
    uint8_t *bytes;
    size_t size, capacity;
};

void buffer_add(struct buffer *buffer, const void *bytes, size_t size);
void buffer_u32(struct buffer *buffer, uint32_t value);
void buffer_u64(struct buffer *buffer, uint64_t value);
void buffer_zeros(struct buffer *buffer, size_t size);
void buffer_free(struct buffer *buffer);

/* The next number of a fixed pseudo-random sequence, in [-1, 1). *state: the seed, stepped on. */
float scratch_random(uint32_t *state);

#endif
