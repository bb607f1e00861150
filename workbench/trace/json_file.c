#include "workbench/trace/json_file.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/trace/safe_replace.h"

json_t *json_number_or_text(double value)
{
    if (isnan(value)) {
        return json_string("NaN");
    }
    if (isinf(value)) {
        return json_string(value > 0 ? "Infinity" : "-Infinity");
    }
    return json_real(value);
}

json_t *json_text(const char *text)
{
    json_t *whole = json_string(text);
    if (whole != NULL) {
        return whole;
    }
    char *plain = xstrdup(text);
    for (char *at = plain; *at != '\0'; at++) {
        if ((unsigned char)*at >= 0x80) {
            *at = '?';
        }
    }
    whole = json_string(plain);
    free(plain);
    return whole;
}

void json_put(json_t *object, const char *key, json_t *value)
{
    int failed = json_object_set_new(object, key, value);
    ASSERT(!failed);
}

void json_push(json_t *array, json_t *value)
{
    int failed = json_array_append_new(array, value);
    ASSERT(!failed);
}

json_t *json_layer(int32_t layer)
{
    return layer < 0 ? json_null() : json_integer(layer);
}

/* A value as JSON on a stream. */
static void put_value(const json_t *value, size_t flags, FILE *out)
{
    int failed = json_dumpf(value, out, flags | JSON_ENCODE_ANY);
    ASSERT(!failed);
}

/* An object, each entry of an array in it on a line of its own. */
static void put_lines(json_t *object, FILE *out)
{
    const char *key, *comma = "";
    json_t *value, *entry;
    size_t i;
    fputs("{", out);
    json_object_foreach(object, key, value)
    {
        fprintf(out, "%s\n \"%s\": ", comma, key);
        comma = ",";
        if (!json_is_array(value)) {
            put_value(value, 0, out);
            continue;
        }
        json_array_foreach(value, i, entry)
        {
            fputs(i == 0 ? "[\n  " : ",\n  ", out);
            put_value(entry, JSON_REAL_PRECISION(6), out);
        }
        fputs(json_array_size(value) == 0 ? "[]" : "\n ]", out);
    }
    fputs("\n}", out);
}

/* Dumps the document, releases it and writes it to path. lines: as put_lines does. */
static enum status write_document(json_t *document, bool lines, size_t flags, const char *path, struct error *err)
{
    ASSERT(document);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    ASSERT(out);
    if (!lines) {
        put_value(document, flags, out);
    } else {
        put_lines(document, out);
    }
    fputc('\n', out);
    int failed = fclose(out);
    ASSERT(!failed && text);
    json_decref(document);
    enum status status = text_file_write(text, path, err);
    free(text);
    return status;
}

enum status json_write_file(json_t *document, const char *path, struct error *err)
{
    return write_document(document, false, JSON_INDENT(1), path, err);
}

enum status json_write_floats(json_t *document, const char *path, struct error *err)
{
    return write_document(document, false, JSON_INDENT(1) | JSON_REAL_PRECISION(9), path, err);
}

enum status json_write_lines(json_t *document, const char *path, struct error *err)
{
    return write_document(document, true, 0, path, err);
}
