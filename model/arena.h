/* An arena: memory that is freed all at once, such as a model's names and tables or a plan's steps. */
#ifndef LOCKSTEP_MODEL_ARENA_H
#define LOCKSTEP_MODEL_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_block *blocks; /* newest first; {0} is an empty arena */
};

/* Returns zeroed memory, aligned to 16 bytes. It lives until arena_free. Never NULL. */
void *arena_alloc(struct arena *arena, size_t size);

/* Returns a NUL-terminated copy of `length` bytes of text. */
char *arena_strndup(struct arena *arena, const char *text, size_t length);

char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

void arena_free(struct arena *arena);

#endif
