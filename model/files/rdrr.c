#include "model/files/rdrr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SHARDS 100000

json_t *rdrr_member(const json_t *object, const char *path)
{
    char key[64];
    while (object && *path) {
        size_t length = strcspn(path, ".");
        ASSERT(length < sizeof(key));
        memcpy(key, path, length);
        key[length] = '\0';
        object = json_object_get(object, key);
        path += length + (path[length] == '.');
    }
    return json_is_null(object) ? NULL : (json_t *)object;
}

enum status rdrr_refuse(const struct rdrr *in, const char *prefix, const char *path, const json_t *value,
                        const char *expected)
{
    char name[256];
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix && *path ? "." : "", path);
    enum status status = error_set(in->err, STATUS_BAD_INPUT, in->file, name, ERROR_NO_OFFSET, "%.80s, expected %s",
                                   text ? text : "missing", expected);
    free(text);
    return status;
}

/* Returns an integer >= 0, or -1 for anything else. */
static int64_t whole_number(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

/* Opens a shard and checks it against its entry in the manifest. */
static enum status open_shard(const struct rdrr *in, const json_t *entry, uint32_t index)
{
    struct model_files *files = in->model->files;
    char prefix[32], hex[65];
    snprintf(prefix, sizeof(prefix), "shards.%u", index);
    const json_t *name = rdrr_member(entry, "filename"), *said = rdrr_member(entry, "index");
    if (!name) {
        name = rdrr_member(entry, "fileName"); /* key in older manifests */
    }
    if (!loader_plain_name(json_string_value(name))) {
        return rdrr_refuse(in, prefix, "filename", name, "the name of a file in this folder");
    }
    if (said && whole_number(said) != index) {
        return rdrr_refuse(in, prefix, "index", said, "its place in the list");
    }
    const json_t *algorithm = rdrr_member(entry, "hashAlgorithm");
    if (algorithm && (!json_is_string(algorithm) || strcmp(json_string_value(algorithm), "sha256") != 0)) {
        return rdrr_refuse(in, prefix, "hashAlgorithm", algorithm, "\"sha256\", the one hash that is checked here");
    }
    const char *path = arena_printf(&files->arena, "%s/%s", in->model->path, json_string_value(name));
    TRY(mapping_open(&files->weights[index], path, in->err));
    files->n_weights = index + 1;
    const json_t *size = rdrr_member(entry, "size"), *hash = rdrr_member(entry, "hash");
    if (whole_number(size) != (int64_t)files->weights[index].size) {
        return error_set(in->err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "%llu bytes, expected %lld as in %s",
                         (unsigned long long)files->weights[index].size, (long long)whole_number(size), in->file);
    }
    if (!json_is_string(hash)) {
        return rdrr_refuse(in, prefix, "hash", hash, "64 hex digits");
    }
    TRY(loader_sha256(&files->weights[index], 1, hex, in->err));
    if (strcmp(hex, json_string_value(hash)) != 0) {
        return error_set(in->err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET,
                         "its bytes have the SHA-256 %.12s…, expected %.12s… as in %s", hex, json_string_value(hash),
                         in->file);
    }
    return STATUS_OK;
}

static enum status open_shards(const struct rdrr *in)
{
    struct model_files *files = in->model->files;
    const json_t *version = rdrr_member(in->manifest, "version"), *shards = rdrr_member(in->manifest, "shards");
    const json_t *algorithm = rdrr_member(in->manifest, "hashAlgorithm");
    if (whole_number(version) != 1) {
        return rdrr_refuse(in, "version", "", version, "1");
    }
    if (!json_is_string(algorithm) || strcmp(json_string_value(algorithm), "sha256") != 0) {
        return rdrr_refuse(in, "hashAlgorithm", "", algorithm, "\"sha256\", the one hash that is checked here");
    }
    size_t n = json_array_size(shards);
    if (n == 0 || n > MAX_SHARDS) {
        return rdrr_refuse(in, "shards", "", json_is_array(shards) ? NULL : shards, "an array of files");
    }
    files->weights = arena_alloc(&files->arena, n * sizeof(*files->weights));
    for (size_t i = 0; i < n; i++) {
        TRY(open_shard(in, json_array_get(shards, i), (uint32_t)i));
    }
    return STATUS_OK;
}

static void keep_piece(struct rdrr *in, const char *tensor, uint32_t shard, uint64_t offset, uint64_t size)
{
    if (in->n_pieces == in->pieces_capacity) {
        in->pieces_capacity = in->pieces_capacity ? 2 * in->pieces_capacity : 256;
        in->pieces = xrealloc(in->pieces, in->pieces_capacity * sizeof(*in->pieces));
    }
    for (uint32_t i = 0; i < shard; i++) {
        offset += in->model->files->weights[i].size;
    }
    in->pieces[in->n_pieces++] = (struct byte_range){offset, offset + size, tensor};
}

static enum status check_overlaps(const struct rdrr *in)
{
    byte_ranges_sort(in->pieces, in->n_pieces);
    for (uint64_t i = 1; i < in->n_pieces; i++) {
        if (in->pieces[i].begin < in->pieces[i - 1].end) {
            return error_set(in->err, STATUS_BAD_INPUT, in->file, in->pieces[i].name, ERROR_NO_OFFSET,
                             "its bytes overlap those of %s, expected bytes of its own", in->pieces[i - 1].name);
        }
    }
    return STATUS_OK;
}

/* Returns a piece of a tensor. NULL: it is not inside its shard; the error is set. */
static const uint8_t *piece_bytes(struct rdrr *in, const char *tensor, const json_t *piece, uint64_t *size,
                                  const struct mapping **shard)
{
    const struct model_files *files = in->model->files;
    const json_t *number = rdrr_member(piece, "shardIndex");
    int64_t index = whole_number(number ? number : rdrr_member(piece, "shard"));
    int64_t offset = whole_number(rdrr_member(piece, "offset")), length = whole_number(rdrr_member(piece, "size"));
    if (index < 0 || index >= files->n_weights || offset < 0 || length <= 0) {
        rdrr_refuse(in, "tensors", tensor, piece, "shard, offset and size of a piece of a shard");
        return NULL;
    }
    *shard = &files->weights[index];
    *size = (uint64_t)length;
    if ((uint64_t)offset > (*shard)->size || *size > (*shard)->size - (uint64_t)offset) {
        error_set(in->err, STATUS_BAD_INPUT, (*shard)->path, tensor, offset,
                  "%lld bytes from here, expected an end within the shard's %llu", (long long)length,
                  (unsigned long long)(*shard)->size);
        return NULL;
    }
    keep_piece(in, tensor, (uint32_t)index, (uint64_t)offset, *size);
    return (*shard)->bytes + offset;
}

/* Finds the tensor's bytes. Pieces from several shards are copied together. */
static enum status find_bytes(struct rdrr *in, const json_t *entry, struct tensor *tensor)
{
    const json_t *spans = rdrr_member(entry, "spans");
    size_t n = json_is_array(spans) && json_array_size(spans) ? json_array_size(spans) : 1;
    const struct mapping *shard = NULL;
    uint64_t size = 0, total = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = piece_bytes(in, tensor->name, spans ? json_array_get(spans, i) : entry, &size, &shard);
        if (!bytes) {
            return STATUS_BAD_INPUT;
        }
        if (i == 0) {
            tensor->file = shard->path;
            tensor->offset = (uint64_t)(bytes - shard->bytes);
            tensor->bytes = n == 1 ? bytes : arena_alloc(&in->model->files->arena, tensor->n_bytes);
        }
        if (size > tensor->n_bytes - total) {
            return rdrr_refuse(in, "tensors", tensor->name, spans, "spans that add up to its size");
        }
        if (n > 1) {
            memcpy((uint8_t *)tensor->bytes + total, bytes, size);
        }
        total += size;
    }
    return total == tensor->n_bytes ? STATUS_OK
                                    : rdrr_refuse(in, "tensors", tensor->name, spans, "spans that add up to its size");
}

/* Q4_K_M is doppler's name for Q4_K. U8 holds the blocks and scales of MXFP4, two tensors (experts.c). */
static bool find_dtype(const char *name, uint32_t *dtype)
{
    if (name && strcmp(name, dtype_info(DTYPE_U8)->name) == 0) {
        *dtype = DTYPE_U8;
        return true;
    }
    return name && dtype_by_name(strcmp(name, "Q4_K_M") == 0 ? "Q4_K" : name, IN_RDRR, dtype);
}

static enum status read_shape(const struct rdrr *in, const json_t *entry, struct tensor *tensor)
{
    const json_t *shape =
        rdrr_member(entry, "originalShape"); /* shape of a transposed tensor before it was transposed */
    if (!shape) {
        shape = rdrr_member(entry, "shape");
    }
    size_t n = json_array_size(shape);
    if (n == 0 || n > TENSOR_MAX_DIMS) {
        return rdrr_refuse(in, "tensors", tensor->name, shape, "a shape of 1 to 4 dims");
    }
    tensor->n_dims = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        int64_t dim = whole_number(json_array_get(shape, i));
        if (dim < 1) {
            return rdrr_refuse(in, "tensors", tensor->name, shape, "dims of at least 1");
        }
        tensor->shape[i] = (uint64_t)dim;
    }
    struct tensor plain = *tensor; /* to check the shape alone: rows need not be whole blocks */
    plain.dtype = DTYPE_F32;
    return loader_size_tensor(&plain, 0, in->err);
}

/* Takes the layout from the entry or derives it from the size. Rows of quantised matrices are padded to whole blocks;
 * the first converters wrote one stream of blocks (postmortem 2025-12-18 gemma3-q4k-garbage-output). */
static enum status choose_layout(const struct rdrr *in, const json_t *entry, struct tensor *tensor)
{
    const json_t *said = rdrr_member(entry, "layout"), *size = rdrr_member(entry, "size");
    const char *name = json_string_value(said);
    uint64_t rows = tensor_rows(tensor), columns = tensor_row_elems(tensor), bytes;
    uint64_t by_rows = rows * dtype_bytes(tensor->dtype, columns), packed = dtype_bytes(tensor->dtype, rows * columns);
    bool transposed = name && (strcmp(name, "col") == 0 || strcmp(name, "column") == 0);
    if (said && !transposed && (!name || strcmp(name, "row") != 0)) {
        return rdrr_refuse(in, "tensors", tensor->name, said, "the layout row or column");
    }
    if (transposed && tensor->n_dims != 2) {
        return rdrr_refuse(in, "tensors", tensor->name, said, "that layout in matrices alone");
    }
    if (transposed) {
        tensor->layout = LAYOUT_COLUMNS;
        bytes = columns * dtype_bytes(tensor->dtype, rows);
    } else {
        tensor->layout =
            !said && whole_number(size) == (int64_t)packed && packed != by_rows ? LAYOUT_PACKED : LAYOUT_ROWS;
        bytes = tensor->layout == LAYOUT_PACKED ? packed : by_rows;
    }
    tensor->n_bytes = bytes;
    char text[96];
    if (whole_number(size) != (int64_t)bytes) {
        return error_set(in->err, STATUS_BAD_INPUT, in->file, tensor->name, ERROR_NO_OFFSET,
                         "size %lld, expected %llu for %s of %s", (long long)whole_number(size),
                         (unsigned long long)bytes, shape_text(tensor, text), dtype_info(tensor->dtype)->name);
    }
    return STATUS_OK;
}

static enum status read_tensor(struct rdrr *in, const char *name, const json_t *entry)
{
    struct tensor tensor = {.file = in->file};
    tensor.name = tensor.stored_name = arena_strndup(&in->model->files->arena, name, strlen(name));
    if (!json_is_object(entry)) {
        return rdrr_refuse(in, "tensors", name, entry, "an object");
    }
    const json_t *dtype = rdrr_member(entry, "dtype"), *transform = rdrr_member(entry, "sourceTransform");
    if (!find_dtype(json_string_value(dtype), &tensor.dtype)) {
        char names[256], expected[320];
        snprintf(expected, sizeof(expected), "the dtype Q4_K_M, U8, %s", dtype_names(IN_RDRR, names));
        return rdrr_refuse(in, "tensors", name, dtype, expected);
    }
    if (transform) {
        return rdrr_refuse(in, "tensors", name, transform, "no sourceTransform");
    }
    enum status status = read_shape(in, entry, &tensor);
    if (status == STATUS_OK) {
        status = choose_layout(in, entry, &tensor);
    }
    if (status == STATUS_OK) {
        status = find_bytes(in, entry, &tensor);
    }
    if (status == STATUS_OK) {
        loader_add_tensor(in->model, &tensor);
    }
    return status;
}

/* Reads the tensors' entries from the manifest, or from the file that tensorsFile names. */
static enum status read_tensors(struct rdrr *in)
{
    const json_t *name = rdrr_member(in->manifest, "tensorsFile");
    json_t *tensors = rdrr_member(in->manifest, "tensors");
    struct rdrr inside = *in;
    enum status status = STATUS_OK;
    if (name) {
        if (!loader_plain_name(json_string_value(name))) {
            return rdrr_refuse(in, "tensorsFile", "", name, "the name of a file in this folder");
        }
        inside.file = arena_printf(&in->model->files->arena, "%s/%s", in->model->path, json_string_value(name));
        status = loader_json(inside.file, &tensors, in->err);
    } else if (tensors) {
        json_incref(tensors);
    }
    if (status == STATUS_OK && (!json_is_object(tensors) || json_object_size(tensors) == 0)) {
        status = rdrr_refuse(&inside, "tensors", "", tensors, "an object");
    }
    const char *tensor;
    json_t *entry;
    if (status == STATUS_OK) {
        json_object_foreach(tensors, tensor, entry)
        {
            status = read_tensor(&inside, tensor, entry);
            if (status != STATUS_OK) {
                break;
            }
        }
    }
    if (status == STATUS_OK) {
        status = check_overlaps(&inside);
    }
    free(inside.pieces);
    json_decref(tensors);
    return status;
}

enum status rdrr_load(struct model *model, struct error *err)
{
    struct model_files *files = model->files;
    struct rdrr in = {.model = model, .err = err};
    in.file = arena_printf(&files->arena, "%s/manifest.json", model->path);
    enum status status = mapping_open(&files->config, in.file, err);
    if (status == STATUS_OK) {
        status = loader_json(in.file, &in.manifest, err);
    }
    if (status == STATUS_OK) {
        status = open_shards(&in);
    }
    if (status == STATUS_OK) {
        status = read_tensors(&in);
    }
    if (status == STATUS_OK) {
        /* Before loader_join_experts, to name a packed router instead of refusing its shape. */
        status = loader_check_excluded(model, err);
    }
    if (status == STATUS_OK) {
        status = loader_join_experts(model, err);
    }
    if (status == STATUS_OK) {
        status = rdrr_config(&in);
    }
    const char *name = json_string_value(rdrr_member(in.manifest, "tokenizer.file"));
    if (status == STATUS_OK && loader_plain_name(name)) {
        const char *path = arena_printf(&files->arena, "%s/%s", model->path, name);
        struct stat info;
        if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
            model->tokenizer_json = path;
        }
    }
    json_decref(in.manifest);
    return status == STATUS_OK ? config_finish(model, in.file, err) : status;
}
