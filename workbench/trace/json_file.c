#include "workbench/trace/json_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static enum status write_stream(const json_t *document, size_t flags, FILE *out, const char *path, struct error *err)
{
    errno = 0;
    if (json_dumpf(document, out, flags) == 0 && fputc('\n', out) != EOF && fflush(out) == 0)
        return STATUS_OK;
    return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(errno ? errno : EIO));
}

/* A pipe or a device (/dev/stderr) cannot be replaced; it is written to. */
static enum status write_special(const json_t *document, size_t flags, const char *path, struct error *err)
{
    FILE *out = fopen(path, "w");
    if (!out)
        return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be written: %s", strerror(errno));
    enum status status = write_stream(document, flags, out, path, err);
    if (fclose(out) != 0 && !status)
        status = error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(errno));
    return status;
}

static enum status write_replacing(const json_t *document, size_t flags, const char *path, struct error *err)
{
    struct replacement replacement;
    enum status status = replacement_begin(&replacement, path, err);
    if (status)
        return status;
    if (json_dumpfd(document, replacement.fd, flags) == 0 && write(replacement.fd, "\n", 1) == 1)
        return replacement_commit(&replacement, err);
    status =
        error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "writing failed: %s", strerror(errno ? errno : EIO));
    replacement_abort(&replacement);
    return status;
}

static enum status write_document(json_t *document, size_t flags, const char *path, struct error *err)
{
    struct stat info;
    enum status status;
    ASSERT(document);
    if (strcmp(path, "-") == 0)
        status = write_stream(document, flags, stdout, "standard output", err);
    else if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        status = write_special(document, flags, path, err);
    else
        status = write_replacing(document, flags, path, err);
    json_decref(document);
    return status;
}

enum status json_write_file(json_t *document, const char *path, struct error *err)
{
    return write_document(document, JSON_INDENT(1), path, err);
}

enum status json_write_floats(json_t *document, const char *path, struct error *err)
{
    return write_document(document, JSON_INDENT(1) | JSON_REAL_PRECISION(9), path, err);
}
