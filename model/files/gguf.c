#include "model/files/gguf.h"

#include <stdlib.h>
#include <string.h>

#define MIN_VALUE_BYTES (8 + 1 + 4 + 1)          /* key length, a one-letter key, type, one byte */
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8) /* name length, name, n_dims, one dim, type, offset */
#define MAX_KEY 65535                            /* the format's own limit */
#define MAX_NAME 1024

/* A position in the file. take() checks the rest of the file; nothing is read without it. */
struct cursor {
    const struct mapping *file;
    uint64_t at;
    struct error *err;
};

static const uint8_t sizes[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

/* Takes `count` items of `size` bytes. NULL: the file ends before; the error names field. */
static const uint8_t *take(struct cursor *in, uint64_t count, uint64_t size, const char *field)
{
    uint64_t left = in->file->size - in->at;
    if (count > left / size) {
        error_set(in->err, STATUS_BAD_INPUT, in->file->path, field, (int64_t)in->at,
                  "the file ends after %llu more bytes, expected %llu x %llu", (unsigned long long)left,
                  (unsigned long long)count, (unsigned long long)size);
        return NULL;
    }
    const uint8_t *bytes = in->file->bytes + in->at;
    in->at += count * size;
    return bytes;
}

static bool take_u32(struct cursor *in, uint32_t *value, const char *field)
{
    const uint8_t *bytes = take(in, 1, 4, field);
    if (bytes) {
        memcpy(value, bytes, 4);
    }
    return bytes;
}

static bool take_u64(struct cursor *in, uint64_t *value, const char *field)
{
    const uint8_t *bytes = take(in, 1, 8, field);
    if (bytes) {
        memcpy(value, bytes, 8);
    }
    return bytes;
}

/* Takes the name of a key or a tensor: 1 to `most` bytes without NUL. NULL: the error is set. */
static const char *take_name(struct cursor *in, struct arena *arena, uint64_t most, const char *field)
{
    uint64_t at = in->at, length;
    if (!take_u64(in, &length, field)) {
        return NULL;
    }
    if (length == 0 || length > most) {
        error_set(in->err, STATUS_BAD_INPUT, in->file->path, field, (int64_t)at,
                  "a name of %llu bytes, expected 1 to %llu", (unsigned long long)length, (unsigned long long)most);
        return NULL;
    }
    const uint8_t *bytes = take(in, length, 1, field);
    if (!bytes) {
        return NULL;
    }
    if (memchr(bytes, 0, length)) {
        error_set(in->err, STATUS_BAD_INPUT, in->file->path, field, (int64_t)at, "a NUL in the name, expected none");
        return NULL;
    }
    return arena_strndup(arena, (const char *)bytes, length);
}

/* Moves past the elements of a value. */
static bool take_elements(struct cursor *in, struct gguf_value *value)
{
    value->offset = in->at;
    value->bytes = in->file->bytes + in->at;
    if (value->type != GGUF_STRING) {
        const uint8_t *bytes = take(in, value->n, sizes[value->type], value->key);
        for (uint64_t i = 0; bytes && value->type == GGUF_BOOL && i < value->n; i++) {
            if (bytes[i] > 1) {
                error_set(in->err, STATUS_BAD_INPUT, in->file->path, value->key, (int64_t)(value->offset + i),
                          "%u in a bool, expected 0 or 1", bytes[i]);
                return false;
            }
        }
        return bytes;
    }
    for (uint64_t i = 0; i < value->n; i++) {
        uint64_t length;
        if (!take_u64(in, &length, value->key) || !take(in, length, 1, value->key)) {
            return false;
        }
    }
    return true;
}

static bool take_type(struct cursor *in, struct gguf_value *value)
{
    uint64_t at = in->at;
    uint32_t type;
    if (!take_u32(in, &type, value->key)) {
        return false;
    }
    if (type >= GGUF_TYPE_COUNT || (type == GGUF_ARRAY && value->is_array)) {
        error_set(in->err, STATUS_BAD_INPUT, in->file->path, value->key, (int64_t)at,
                  "value type %u%s, expected a type below %d, and no arrays of arrays", type,
                  type == GGUF_ARRAY ? " (array) inside an array" : "", GGUF_TYPE_COUNT);
        return false;
    }
    value->type = (enum gguf_type)type;
    return true;
}

static bool take_value(struct cursor *in, struct arena *arena, struct gguf_value *value)
{
    value->key = take_name(in, arena, MAX_KEY, "metadata key");
    value->n = 1;
    if (!value->key || !take_type(in, value)) {
        return false;
    }
    if (value->type == GGUF_ARRAY) {
        value->is_array = true;
        if (!take_type(in, value) || !take_u64(in, &value->n, value->key)) {
            return false;
        }
    }
    return take_elements(in, value);
}

static int compare_values(const void *a, const void *b)
{
    return strcmp(((const struct gguf_value *)a)->key, ((const struct gguf_value *)b)->key);
}

static bool take_values(struct cursor *in, struct gguf *gguf, uint64_t n)
{
    struct arena *arena = &gguf->model->files->arena;
    gguf->values = arena_alloc(arena, n * sizeof(*gguf->values));
    gguf->n_values = n;
    for (uint64_t i = 0; i < n; i++) {
        if (!take_value(in, arena, &gguf->values[i])) {
            return false;
        }
    }
    if (n) {
        qsort(gguf->values, n, sizeof(*gguf->values), compare_values);
    }
    for (uint64_t i = 1; i < n; i++) {
        if (compare_values(&gguf->values[i - 1], &gguf->values[i]) == 0) {
            error_set(in->err, STATUS_BAD_INPUT, in->file->path, gguf->values[i].key, (int64_t)gguf->values[i].offset,
                      "the key is there twice, expected it once");
            return false;
        }
    }
    return true;
}

/* Names of ggml's types that lockstep cannot read, for messages. Source: ggml.h, enum ggml_type. */
static const char *unreadable_name(uint32_t type)
{
    static const char *const names[] = {
        [9] = "Q8_1",    [10] = "Q2_K",    [11] = "Q3_K",  [15] = "Q8_K",  [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [21] = "IQ3_S", [22] = "IQ2_S",
        [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",   [26] = "I32",   [27] = "I64",
        [28] = "F64",    [29] = "IQ1_M",   [34] = "TQ1_0", [35] = "TQ2_0",
    };
    return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "unknown";
}

static bool take_dtype(struct cursor *in, struct tensor *tensor)
{
    uint64_t at = in->at;
    uint32_t type;
    char names[256];
    if (!take_u32(in, &type, tensor->name)) {
        return false;
    }
    for (tensor->dtype = 0; tensor->dtype < DTYPE_COUNT; tensor->dtype++) {
        if (dtype_info(tensor->dtype)->gguf_type == type) {
            return true;
        }
    }
    error_set(in->err, STATUS_BAD_INPUT, in->file->path, tensor->name, (int64_t)at, "tensor type %u (%s), expected %s",
              type, unreadable_name(type), dtype_names(0, names));
    return false;
}

/* offset_at: where the file holds the tensor's offset. tensor->offset is still relative to the data section. */
static bool take_tensor(struct cursor *in, struct arena *arena, struct tensor *tensor, uint64_t *offset_at)
{
    tensor->file = in->file->path;
    tensor->name = tensor->stored_name = take_name(in, arena, MAX_NAME, "tensor name");
    uint64_t at = in->at;
    if (!tensor->name || !take_u32(in, &tensor->n_dims, tensor->name)) {
        return false;
    }
    if (tensor->n_dims == 0 || tensor->n_dims > TENSOR_MAX_DIMS) {
        error_set(in->err, STATUS_BAD_INPUT, in->file->path, tensor->name, (int64_t)at, "%u dims, expected 1 to %d",
                  tensor->n_dims, TENSOR_MAX_DIMS);
        return false;
    }
    at = in->at;
    for (uint32_t i = tensor->n_dims; i-- > 0;) { /* the file has the innermost dim first */
        if (!take_u64(in, &tensor->shape[i], tensor->name)) {
            return false;
        }
    }
    if (!take_dtype(in, tensor) || loader_size_tensor(tensor, at, in->err) != STATUS_OK) {
        return false;
    }
    *offset_at = in->at;
    return take_u64(in, &tensor->offset, tensor->name);
}

static enum status check_overlaps(const struct tensor *tensors, uint64_t n, const struct mapping *file,
                                  struct error *err)
{
    enum status status = STATUS_OK;
    struct byte_range *ranges = xcalloc(n, sizeof(*ranges));
    for (uint64_t i = 0; i < n; i++) {
        ranges[i] = (struct byte_range){tensors[i].offset, tensors[i].offset + tensors[i].n_bytes, tensors[i].name};
    }
    byte_ranges_sort(ranges, n);
    for (uint64_t i = 1; i < n && status == STATUS_OK; i++) {
        if (ranges[i - 1].end > ranges[i].begin) {
            status = error_set(err, STATUS_BAD_INPUT, file->path, ranges[i].name, (int64_t)ranges[i].begin,
                               "its bytes overlap those of %s, expected them after %llu", ranges[i - 1].name,
                               (unsigned long long)ranges[i - 1].end);
        }
    }
    free(ranges);
    return status;
}

/* Turns an offset in the data section into one in the file. */
static enum status place_tensor(struct tensor *tensor, uint64_t offset_at, uint64_t data, uint64_t alignment,
                                const struct mapping *file, struct error *err)
{
    if (tensor->offset % alignment != 0) {
        return error_set(err, STATUS_BAD_INPUT, file->path, tensor->name, (int64_t)offset_at,
                         "offset %llu, expected a multiple of general.alignment (%llu)",
                         (unsigned long long)tensor->offset, (unsigned long long)alignment);
    }
    uint64_t size = file->size > data ? file->size - data : 0;
    if (tensor->offset > size || tensor->n_bytes > size - tensor->offset) {
        return error_set(
            err, STATUS_BAD_INPUT, file->path, tensor->name, (int64_t)offset_at,
            "offset %llu + %llu bytes after the data's begin at %llu, expected an end within the file's %llu "
            "bytes",
            (unsigned long long)tensor->offset, (unsigned long long)tensor->n_bytes, (unsigned long long)data,
            (unsigned long long)file->size);
    }
    tensor->offset += data;
    tensor->bytes = file->bytes + tensor->offset;
    return STATUS_OK;
}

static enum status read_alignment(const struct gguf *gguf, uint32_t *alignment)
{
    *alignment = 32;
    TRY(gguf_count(gguf, "general.alignment", false, 1u << 30, alignment));
    if ((*alignment < 8 || (*alignment & (*alignment - 1)) != 0)) {
        return gguf_refuse(gguf, "general.alignment", gguf_find(gguf, "general.alignment"),
                           "a power of two of at least 8");
    }
    return STATUS_OK;
}

static enum status take_tensors(struct cursor *in, struct gguf *gguf, uint64_t n)
{
    struct model_files *files = gguf->model->files;
    struct tensor *tensors = xcalloc(n, sizeof(*tensors));
    uint64_t *offset_at = xcalloc(n, sizeof(*offset_at));
    uint32_t alignment;
    enum status status = read_alignment(gguf, &alignment);
    for (uint64_t i = 0; i < n && status == STATUS_OK; i++) {
        if (!take_tensor(in, &files->arena, &tensors[i], &offset_at[i])) {
            status = STATUS_BAD_INPUT;
        }
    }
    uint64_t data = (in->at + alignment - 1) / alignment * alignment;
    for (uint64_t i = 0; i < n && status == STATUS_OK; i++) {
        status = place_tensor(&tensors[i], offset_at[i], data, alignment, in->file, in->err);
    }
    if (status == STATUS_OK) {
        status = check_overlaps(tensors, n, in->file, in->err);
    }
    for (uint64_t i = 0; i < n && status == STATUS_OK; i++) {
        loader_add_tensor(gguf->model, &tensors[i]);
    }
    free(offset_at);
    free(tensors);
    return status;
}

/* Takes a count of the header. It must be possible in a file of this size. */
static bool take_count(struct cursor *in, uint64_t *count, uint64_t min_bytes, const char *field)
{
    uint64_t at = in->at;
    if (!take_u64(in, count, field)) {
        return false;
    }
    if (*count > in->file->size / min_bytes || *count > UINT32_MAX) {
        error_set(in->err, STATUS_BAD_INPUT, in->file->path, field, (int64_t)at,
                  "%llu, expected at most %llu in a file of %llu bytes", (unsigned long long)*count,
                  (unsigned long long)(in->file->size / min_bytes), (unsigned long long)in->file->size);
        return false;
    }
    return true;
}

enum status gguf_parse(struct gguf *gguf, struct model *model, const struct mapping *file, struct error *err)
{
    *gguf = (struct gguf){.model = model, .file = file, .err = err};
    struct cursor in = {file, 0, err};
    const uint8_t *magic = take(&in, 4, 1, "magic");
    if (!magic) {
        return STATUS_BAD_INPUT;
    }
    if (memcmp(magic, "GGUF", 4) != 0) {
        return error_set(err, STATUS_BAD_INPUT, file->path, "magic", 0, "not a GGUF file, expected the letters GGUF");
    }
    uint32_t version;
    uint64_t n_tensors, n_values;
    if (!take_u32(&in, &version, "version")) {
        return STATUS_BAD_INPUT;
    }
    if (version != 3) {
        return error_set(err, STATUS_BAD_INPUT, file->path, "version", 4, "%u%s, expected 3",
                         version & 0xffff ? version : version >> 24, version & 0xffff ? "" : " (big-endian)");
    }
    if (!take_count(&in, &n_tensors, MIN_TENSOR_BYTES, "tensor_count") ||
        !take_count(&in, &n_values, MIN_VALUE_BYTES, "metadata_kv_count") || !take_values(&in, gguf, n_values)) {
        return STATUS_BAD_INPUT;
    }
    return take_tensors(&in, gguf, n_tensors);
}
