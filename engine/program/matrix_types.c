/* The types of cooperative matrices: glslang 12 cannot write one into the declaration of another, so cooperative.glsl
 * writes its width in bits, and here it becomes the float type of that width, declared ahead of all other types. */
#include <stdlib.h>
#include <string.h>

#include "engine/program/program.h"

#define HEADER_WORDS 5
#define BOUND 3 /* the header's word: every id is less */

enum {
    OP_TYPE_VOID = 19,
    OP_TYPE_FLOAT = 22,    /* id, width */
    OP_TYPE_FORWARD = 39,  /* the last of the types' opcodes */
    OP_TYPE_MATRIX = 4456, /* OpTypeCooperativeMatrixKHR: id, component, scope, rows, columns, use */
    MATRIX_COMPONENT = 2,
};

/* The float types of 16 and of 32 bits. */
struct floats {
    uint32_t id[2]; /* 0: not declared */
    bool needed[2];
};

static int index_of(uint32_t width)
{
    return width == 16 ? 0 : width == 32 ? 1 : -1;
}

static uint32_t opcode_of(const uint32_t *instruction)
{
    return instruction[0] & 0xffff;
}

/* Words of the instruction at `at`; 0 if it is none. */
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

/* Appends the float types that matrices need. */
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

/* from with its matrices' components resolved; to has room for two more types. Returns the words written. */
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
            continue; /* stands above */
        }
        memcpy(to + n_to, from + at, n * sizeof(*to));
        if (opcode == OP_TYPE_MATRIX) {
            to[n_to + MATRIX_COMPONENT] = floats->id[i];
        }
        n_to += n;
    }
    return n_to;
}

enum status shader_resolve_matrices(const char *shader, uint32_t **words, size_t *n_bytes, struct error *err)
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
