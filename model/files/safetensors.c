/* Reads one safetensors file: 8 bytes with the length of the header, a JSON header, and the tensors' bytes, which the
 * header must describe without gaps or overlaps. Source: huggingface/safetensors, safetensors/src/tensor.rs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/files/loader.h"

#define MAX_HEADER 100000000u /* limit of the format */

struct reader {
    struct model *model;
    const struct mapping *file;
    uint64_t data; /* offset of the data section in the file */
    struct error *err;
};

static uint64_t load_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* U8 holds the blocks and scales of MXFP4, two tensors (experts.c). */
static bool find_dtype(const char *name, uint32_t *dtype)
{
    if (name && strcmp(name, dtype_info(DTYPE_U8)->name) == 0) {
        *dtype = DTYPE_U8;
        return true;
    }
    return name && dtype_by_name(name, IN_SAFETENSORS, dtype);
}

static enum status refuse(const struct reader *in, const char *tensor, const char *key, const json_t *value,
                          const char *expected)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    char name[256];
    snprintf(name, sizeof(name), "%s%s%s", tensor, key ? "." : "", key ? key : "");
    enum status status = error_set(in->err, STATUS_BAD_INPUT, in->file->path, name, ERROR_NO_OFFSET,
                                   "%.80s, expected %s", text ? text : "missing", expected);
    free(text);
    return status;
}

static enum status read_shape(const struct reader *in, const json_t *shape, struct tensor *tensor)
{
    if (!json_is_array(shape) || json_array_size(shape) == 0 || json_array_size(shape) > TENSOR_MAX_DIMS) {
        return refuse(in, tensor->name, "shape", shape, "an array of 1 to 4 dims");
    }
    tensor->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 1) {
            return refuse(in, tensor->name, "shape", shape, "dims of at least 1");
        }
        tensor->shape[i] = (uint64_t)json_integer_value(dim);
    }
    return loader_size_tensor(tensor, 8, in->err);
}

static enum status read_offsets(const struct reader *in, const json_t *offsets, const struct tensor *tensor,
                                struct byte_range *range)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)) {
        return refuse(in, tensor->name, "data_offsets", offsets, "[begin, end] with 0 <= begin <= end");
    }
    range->begin = (uint64_t)json_integer_value(begin);
    range->end = (uint64_t)json_integer_value(end);
    range->name = tensor->name;
    char text[96];
    if (range->end - range->begin != tensor->n_bytes) {
        return error_set(in->err, STATUS_BAD_INPUT, in->file->path, tensor->name, (int64_t)(in->data + range->begin),
                         "data_offsets span %llu bytes, expected %llu for %s of %s",
                         (unsigned long long)(range->end - range->begin), (unsigned long long)tensor->n_bytes,
                         shape_text(tensor, text), dtype_info(tensor->dtype)->name);
    }
    if (range->end > in->file->size - in->data) {
        return error_set(in->err, STATUS_BAD_INPUT, in->file->path, tensor->name, (int64_t)(in->data + range->begin),
                         "its bytes end at %llu, expected at most the file's size, %llu",
                         (unsigned long long)(in->data + range->end), (unsigned long long)in->file->size);
    }
    return STATUS_OK;
}

static enum status read_tensor(const struct reader *in, const char *name, const json_t *entry, struct byte_range *range)
{
    struct tensor tensor = {.file = in->file->path};
    tensor.stored_name = tensor.name = arena_strndup(&in->model->files->arena, name, strlen(name));
    if (!json_is_object(entry)) {
        return refuse(in, name, NULL, entry, "an object");
    }
    const json_t *dtype = json_object_get(entry, "dtype");
    if (!find_dtype(json_string_value(dtype), &tensor.dtype)) {
        char names[256];
        return refuse(in, name, "dtype", dtype, dtype_names(IN_SAFETENSORS, names));
    }
    TRY(read_shape(in, json_object_get(entry, "shape"), &tensor));
    TRY(read_offsets(in, json_object_get(entry, "data_offsets"), &tensor, range));
    tensor.offset = in->data + range->begin;
    tensor.bytes = in->file->bytes + tensor.offset;
    loader_add_tensor(in->model, &tensor);
    return STATUS_OK;
}

/* The ranges of the tensors must tile the data section. */
static enum status check_ranges(const struct reader *in, struct byte_range *ranges, size_t n)
{
    uint64_t at = 0;
    byte_ranges_sort(ranges, n);
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].begin != at) {
            return error_set(in->err, STATUS_BAD_INPUT, in->file->path, ranges[i].name,
                             (int64_t)(in->data + ranges[i].begin), "its bytes %s %s, expected them to begin at %llu",
                             ranges[i].begin < at ? "overlap those of" : "leave a gap after",
                             i ? ranges[i - 1].name : "the header", (unsigned long long)(in->data + at));
        }
        at = ranges[i].end;
    }
    if (at != in->file->size - in->data) {
        return error_set(in->err, STATUS_BAD_INPUT, in->file->path, "data_offsets", (int64_t)(in->data + at),
                         "%llu bytes after the last tensor, expected the file to end there",
                         (unsigned long long)(in->file->size - in->data - at));
    }
    return STATUS_OK;
}

static enum status read_tensors(const struct reader *in, json_t *header)
{
    size_t n = 0;
    struct byte_range *ranges = xcalloc(json_object_size(header), sizeof(*ranges));
    enum status status = STATUS_OK;
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        status = read_tensor(in, name, entry, &ranges[n++]);
        if (status != STATUS_OK) {
            break;
        }
    }
    if (status == STATUS_OK) {
        status = check_ranges(in, ranges, n);
    }
    free(ranges);
    return status;
}

enum status safetensors_read(struct model *model, const struct mapping *file, struct error *err)
{
    if (file->size < 8) {
        return error_set(err, STATUS_BAD_INPUT, file->path, "header length", 0,
                         "a file of %llu bytes, expected at least 8", (unsigned long long)file->size);
    }
    uint64_t length = load_u64(file->bytes);
    if (length > MAX_HEADER || length > file->size - 8) {
        return error_set(err, STATUS_BAD_INPUT, file->path, "header length", 0, "%llu, expected at most %llu",
                         (unsigned long long)length,
                         (unsigned long long)(file->size - 8 < MAX_HEADER ? file->size - 8 : MAX_HEADER));
    }
    json_error_t at;
    json_t *header = json_loadb((const char *)file->bytes + 8, length, JSON_REJECT_DUPLICATES, &at);
    if (!header) {
        return error_set(err, STATUS_BAD_INPUT, file->path, "header", 8 + (int64_t)at.position,
                         "%s, expected a JSON object", at.text);
    }
    struct reader in = {model, file, 8 + length, err};
    enum status status = json_is_object(header)
                             ? read_tensors(&in, header)
                             : error_set(err, STATUS_BAD_INPUT, file->path, "header", 8, "not an object, expected one");
    json_decref(header);
    return status;
}
