/* A folder for a test's files, and bytes to put into them. */
#ifndef LOCKSTEP_TESTS_SUPPORT_SCRATCH_H
#define LOCKSTEP_TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/* Makes a new folder under $TMPDIR or /tmp; path receives its name. */
void scratch_make(char path[256]);

/* Removes the folder and the files and folders in it. */
void scratch_remove(const char *path);

/* Defines `folder`, and tear_down, which removes it. The file's own set_up makes it. */
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

/* Defines `path` as well, a file name in the folder; the file does not exist yet. */
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

/* Makes "folder/name". Returns path. */
const char *scratch_path(char path[512], const char *folder, const char *name);

/* Writes a file, replacing an earlier one. */
void scratch_write(const char *path, const void *bytes, size_t size);

/* Reads a file, which must be shorter than capacity, and appends a zero byte. Returns its size. */
size_t scratch_read(const char *path, void *bytes, size_t capacity);

/* Copies a file, replacing an earlier one. */
void scratch_copy(const char *from, const char *to);

/* Changes one byte of a file in place. */
void scratch_patch(const char *path, size_t offset, uint8_t byte);

/* A growing array of bytes. {0} is empty. */
struct buffer {
    uint8_t *bytes;
    size_t size, capacity;
};

void buffer_add(struct buffer *buffer, const void *bytes, size_t size);
void buffer_u32(struct buffer *buffer, uint32_t value);
void buffer_u64(struct buffer *buffer, uint64_t value);
void buffer_zeros(struct buffer *buffer, size_t size);
void buffer_free(struct buffer *buffer);

/* Returns the next number of a fixed sequence, in [-1, 1). */
float scratch_random(uint32_t *state);

#endif
