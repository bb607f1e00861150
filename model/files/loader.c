#include "model/files/loader.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void loader_note(struct model *model, const char *format, ...)
{
    struct model_files *files = model->files;
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ASSERT(n >= 0);
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    if (model->n_notes == files->notes_capacity) {
        files->notes_capacity = files->notes_capacity ? 2 * files->notes_capacity : 8;
        files->notes = xrealloc(files->notes, files->notes_capacity * sizeof(files->notes[0]));
        model->notes = files->notes;
    }
    files->notes[model->n_notes++] = arena_strndup(&files->arena, text, strlen(text));
}

void loader_add_tensor(struct model *model, const struct tensor *tensor)
{
    struct model_files *files = model->files;
    if (model->n_tensors == files->tensors_capacity) {
        files->tensors_capacity = files->tensors_capacity ? 2 * files->tensors_capacity : 256;
        files->tensors = xrealloc(files->tensors, (uint64_t)files->tensors_capacity * sizeof(files->tensors[0]));
        model->tensors = files->tensors;
    }
    struct tensor *added = &files->tensors[model->n_tensors++];
    *added = *tensor;
    if ((uintptr_t)tensor->bytes % 4 != 0) {
        uint8_t *copy = arena_alloc(&files->arena, tensor->n_bytes);
        memcpy(copy, tensor->bytes, tensor->n_bytes);
        added->bytes = copy;
    }
}

bool loader_plain_name(const char *name)
{
    return name && *name && *name != '.' && !strchr(name, '/');
}

enum status loader_json(const char *path, json_t **root, struct error *err)
{
    struct mapping file;
    json_error_t at;
    *root = NULL;
    enum status status = mapping_open(&file, path, err);
    if (status != STATUS_OK) {
        return status;
    }
    *root = json_loadb((const char *)file.bytes, file.size, JSON_REJECT_DUPLICATES, &at);
    if (!*root) {
        status = error_set(err, STATUS_BAD_INPUT, path, "JSON", at.position, "%s, expected a JSON object", at.text);
    }
    mapping_close(&file);
    return status;
}

enum status loader_size_tensor(struct tensor *tensor, uint64_t where_shape, struct error *err)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    uint64_t elems = 1;
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        if (tensor->shape[i] == 0) {
            return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)where_shape,
                             "dim %u is 0, expected at least 1", i);
        }
        if (__builtin_mul_overflow(elems, tensor->shape[i], &elems)) {
            return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)where_shape,
                             "the shape's product overflows 64 bits");
        }
    }
    if (tensor->n_dims == 0 || tensor_row_elems(tensor) % info->block_elems != 0) {
        return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)where_shape,
                         "a row of %llu elements, expected a multiple of %s's block of %u",
                         tensor->n_dims ? (unsigned long long)tensor_row_elems(tensor) : 0ULL, info->name,
                         info->block_elems);
    }
    if (__builtin_mul_overflow(elems / info->block_elems, (uint64_t)info->block_bytes, &tensor->n_bytes)) {
        return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)where_shape,
                         "its size in bytes overflows 64 bits");
    }
    return STATUS_OK;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct byte_range *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

void byte_ranges_sort(struct byte_range *ranges, uint64_t n)
{
    if (n) {
        qsort(ranges, n, sizeof(*ranges), compare_ranges);
    }
}

const char *shape_text(const struct tensor *tensor, char text[96])
{
    int length = sprintf(text, "[");
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        length += sprintf(text + length, "%s%llu", i ? ", " : "", (unsigned long long)tensor->shape[i]);
    }
    sprintf(text + length, "]");
    return text;
}
