/* Memory that is freed all at once: a model's names and tables, a plan's steps. */
#ifndef LOCKSTEP_MODEL_ARENA_H
#define LOCKSTEP_MODEL_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_block *blocks; /* newest first; a zeroed arena is an empty one */
};

/* Zeroed memory, aligned to 16 bytes, that lives as long as the arena. Never NULL. */
void *arena_alloc(struct arena *arena, size_t size);

/* A NUL-terminated copy of length bytes of text. */
char *arena_strndup(struct arena *arena, const char *text, size_t length);

char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

void arena_free(struct arena *arena);

#endif
