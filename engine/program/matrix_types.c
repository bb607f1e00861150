/* A cooperative matrix's type names its component's type by id. glslang 12 cannot write that id, so cooperative.glsl
 * writes the component's width in bits instead. Here the width is replaced by the id of the float type of that width.
 * The float types move ahead of all other types, because they must be declared before they are used. */
#include "engine/program/matrix_types.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_WORDS 5
#define BOUND 3 /* index of the header's word that is larger than every id */

enum {
    OP_TYPE_VOID = 19,
    OP_TYPE_FLOAT = 22,    /* id, width */
    OP_TYPE_FORWARD = 39,  /* the last opcode of a type */
    OP_TYPE_MATRIX = 4456, /* OpTypeCooperativeMatrixKHR: id, component, scope, rows, columns, use */
    MATRIX_COMPONENT = 2,
};

/* The float types of 16 bits [0] and of 32 bits [1]. */
struct floats {
    uint32_t id[2]; /* 0: not declared yet */
    bool needed[2]; /* by a matrix */
};

static int index_of(uint32_t width)
{
    return width == 16 ? 0 : width == 32 ? 1 : -1;
}

static uint32_t opcode_of(const uint32_t *instruction)
{
    return instruction[0] & 0xffff;
}

/* Length in words of the instruction at `at`; 0 if it is not valid. */
static size_t words_of(const uint32_t *words, size_t at, size_t n_words)
{
    size_t n = words[at] >> 16;
    uint32_t opcode = opcode_of(&words[at]);
    size_t least = opcode == OP_TYPE_MATRIX ? 7 : opcode == OP_TYPE_FLOAT ? 3 : 1;
    return n < least || n > n_words - at ? 0 : n;
}

static enum status refuse(const char *shader, const char *what, struct error *err)
{
    return error_set(err, STATUS_BAD_INPUT, shader, NULL, ERROR_NO_OFFSET, "SPIR-V is not sound: %s", what);
}

static enum status find_floats(const char *shader, const uint32_t *words, size_t n_words, struct floats *floats,
                               struct error *err)
{
    size_t n = 0;
    for (size_t at = HEADER_WORDS; at < n_words; at += n) {
        n = words_of(words, at, n_words);
        if (n == 0) {
            return refuse(shader, "an instruction ends behind the end", err);
        }
        bool matrix = opcode_of(&words[at]) == OP_TYPE_MATRIX;
        if (!matrix && opcode_of(&words[at]) != OP_TYPE_FLOAT) {
            continue;
        }
        int i = index_of(words[at + 2]);
        if (i < 0 && matrix) {
            return refuse(shader, "a matrix of neither 16 nor 32 bits", err);
        }
        if (i >= 0 && matrix) {
            floats->needed[i] = true;
        } else if (i >= 0) {
            floats->id[i] = words[at + 1];
        }
    }
    return STATUS_OK;
}

/* Writes the declarations of the float types that matrices need. Returns the words written. */
static size_t declare(uint32_t *to, struct floats *floats)
{
    size_t n = 0;
    for (uint32_t i = 0; i < 2; i++) {
        if (!floats->needed[i]) {
            continue;
        }
        to[n++] = 3u << 16 | OP_TYPE_FLOAT;
        to[n++] = floats->id[i];
        to[n++] = i ? 32 : 16;
    }
    return n;
}

static bool is_type(uint32_t opcode)
{
    return (opcode >= OP_TYPE_VOID && opcode <= OP_TYPE_FORWARD) || opcode == OP_TYPE_MATRIX;
}

/* Copies `from` to `to` with the components of matrices resolved. `to` has room for two more types. Returns the words
 * written. */
static size_t rewrite(const uint32_t *from, size_t n_words, struct floats *floats, uint32_t *to)
{
    bool declared = false;
    size_t n_to = HEADER_WORDS, n = 0;
    memcpy(to, from, HEADER_WORDS * sizeof(*to));
    for (uint32_t i = 0; i < 2; i++) {
        if (floats->needed[i] && floats->id[i] == 0) {
            floats->id[i] = to[BOUND]++;
        }
    }
    for (size_t at = HEADER_WORDS; at < n_words; at += n) {
        uint32_t opcode = opcode_of(&from[at]);
        n = words_of(from, at, n_words);
        if (!declared && is_type(opcode)) {
            n_to += declare(to + n_to, floats);
            declared = true;
        }
        int i = opcode == OP_TYPE_FLOAT || opcode == OP_TYPE_MATRIX ? index_of(from[at + 2]) : -1;
        if (opcode == OP_TYPE_FLOAT && i >= 0 && floats->needed[i]) {
            continue; /* was already declared above */
        }
        memcpy(to + n_to, from + at, n * sizeof(*to));
        if (opcode == OP_TYPE_MATRIX) {
            to[n_to + MATRIX_COMPONENT] = floats->id[i];
        }
        n_to += n;
    }
    return n_to;
}

enum status matrix_types_resolve(const char *shader, uint32_t **words, size_t *n_bytes, struct error *err)
{
    struct floats floats = {0};
    size_t n_words = *n_bytes / sizeof(**words);
    if (n_words < HEADER_WORDS) {
        return refuse(shader, "it is too short", err);
    }
    enum status status = find_floats(shader, *words, n_words, &floats, err);
    if (status != STATUS_OK || (!floats.needed[0] && !floats.needed[1])) {
        return status;
    }
    uint32_t *resolved = xmalloc(*n_bytes + 6 * sizeof(*resolved));
    *n_bytes = rewrite(*words, n_words, &floats, resolved) * sizeof(*resolved);
    free(*words);
    *words = resolved;
    return STATUS_OK;
}
