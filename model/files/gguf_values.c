#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/files/gguf.h"

static int compare_key(const void *key, const void *value)
{
    return strcmp(key, ((const struct gguf_value *)value)->key);
}

const char *gguf_arch_key(const struct gguf *gguf, const char *key)
{
    const struct family *family = gguf->model->config.family;
    return arena_printf(&gguf->model->files->arena, "%s.%s", family->gguf_architecture, key);
}

const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key)
{
    if (gguf->n_values == 0) {
        return NULL;
    }
    struct gguf_value *value = bsearch(key, gguf->values, gguf->n_values, sizeof(*gguf->values), compare_key);
    if (value) {
        value->used = true;
    }
    return value;
}

bool gguf_is_integer(const struct gguf_value *value)
{
    return value->type != GGUF_F32 && value->type != GGUF_F64 && value->type != GGUF_STRING;
}

int64_t gguf_integer_at(const struct gguf_value *value, uint64_t index)
{
    static const uint8_t sizes[GGUF_TYPE_COUNT] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4,
        [GGUF_I32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8,
    };
    ASSERT(gguf_is_integer(value) && index < value->n);
    const uint8_t *bytes = value->bytes + index * sizes[value->type];
    uint64_t bits = 0;
    memcpy(&bits, bytes, sizes[value->type]);
    switch (value->type) {
    case GGUF_I8:
        return (int8_t)bits;
    case GGUF_I16:
        return (int16_t)bits;
    case GGUF_I32:
        return (int32_t)bits;
    case GGUF_U64:
        return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    default:
        return (int64_t)bits;
    }
}

static double float_value(const struct gguf_value *value)
{
    float single;
    double number;
    if (value->type == GGUF_F64) {
        memcpy(&number, value->bytes, sizeof(number));
        return number;
    }
    memcpy(&single, value->bytes, sizeof(single));
    return (double)single;
}

enum status gguf_refuse(const struct gguf *gguf, const char *key, const struct gguf_value *value, const char *expected)
{
    static const char *const types[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    char found[160] = "missing";
    if (value && value->is_array) {
        snprintf(found, sizeof(found), "an array of %llu %s", (unsigned long long)value->n, types[value->type]);
    } else if (value && value->type == GGUF_STRING) {
        uint64_t length;
        memcpy(&length, value->bytes, sizeof(length));
        snprintf(found, sizeof(found), "\"%.*s\"", length < 80 ? (int)length : 80, (const char *)value->bytes + 8);
    } else if (value && gguf_is_integer(value)) {
        snprintf(found, sizeof(found), "%s %lld", types[value->type], (long long)gguf_integer_at(value, 0));
    } else if (value) {
        snprintf(found, sizeof(found), "%s %g", types[value->type], float_value(value));
    }
    return error_set(gguf->err, STATUS_BAD_INPUT, gguf->file->path, key,
                     value ? (int64_t)value->offset : ERROR_NO_OFFSET, "%s, expected %s", found, expected);
}

enum status gguf_count(const struct gguf *gguf, const char *key, bool required, uint64_t most, uint32_t *out)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (!value && !required) {
        return STATUS_OK;
    }
    bool is_count = value && !value->is_array && gguf_is_integer(value) && value->type != GGUF_BOOL;
    int64_t found = is_count ? gguf_integer_at(value, 0) : 0;
    if (found < 1 || (uint64_t)found > most) {
        char expected[64];
        snprintf(expected, sizeof(expected), "an integer from 1 to %llu", (unsigned long long)most);
        return gguf_refuse(gguf, key, value, expected);
    }
    *out = (uint32_t)found;
    return STATUS_OK;
}

enum status gguf_float(const struct gguf *gguf, const char *key, bool required, float *out)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (!value && !required) {
        return STATUS_OK;
    }
    bool is_float = value && !value->is_array && (value->type == GGUF_F32 || value->type == GGUF_F64);
    float found = is_float ? (float)float_value(value) : 0;
    if (!(found > 0) || isinf(found)) {
        return gguf_refuse(gguf, key, value, "a finite float greater than 0");
    }
    *out = found;
    return STATUS_OK;
}

enum status gguf_bool(const struct gguf *gguf, const char *key, bool *out)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (!value) {
        return STATUS_OK;
    }
    if (value->is_array || value->type != GGUF_BOOL) {
        return gguf_refuse(gguf, key, value, "a bool");
    }
    *out = value->bytes[0] != 0;
    return STATUS_OK;
}

enum status gguf_token(const struct gguf *gguf, const char *key, int32_t *out)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (!value) {
        return STATUS_OK;
    }
    if (value->is_array || !gguf_is_integer(value) || gguf_integer_at(value, 0) > INT32_MAX) {
        return gguf_refuse(gguf, key, value, "a token id");
    }
    int64_t id = gguf_integer_at(value, 0);
    *out = id < 0 ? -1 : (int32_t)id;
    return STATUS_OK;
}

enum status gguf_string(const struct gguf *gguf, const char *key, bool required, const char **out)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (!value && !required) {
        return STATUS_OK;
    }
    if (!value || value->is_array || value->type != GGUF_STRING) {
        return gguf_refuse(gguf, key, value, "a string");
    }
    uint64_t length;
    memcpy(&length, value->bytes, sizeof(length));
    if (length && memchr(value->bytes + 8, 0, length)) {
        return gguf_refuse(gguf, key, value, "a string without NUL");
    }
    *out = arena_strndup(&gguf->model->files->arena, (const char *)value->bytes + 8, length);
    return STATUS_OK;
}

enum status gguf_strings(const struct gguf *gguf, const char *key, const struct text **out, uint64_t *n)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    *out = NULL;
    *n = 0;
    if (!value) {
        return STATUS_OK;
    }
    if (!value->is_array || value->type != GGUF_STRING) {
        return gguf_refuse(gguf, key, value, "an array of strings");
    }
    struct text *texts = arena_alloc(&gguf->model->files->arena, value->n * sizeof(*texts));
    const uint8_t *at = value->bytes; /* lengths were checked against the file when the value was parsed */
    for (uint64_t i = 0; i < value->n; i++) {
        memcpy(&texts[i].length, at, 8);
        texts[i].bytes = (const char *)at + 8;
        at += 8 + texts[i].length;
    }
    *out = texts;
    *n = value->n;
    return STATUS_OK;
}
