/* What the loaders in this folder share while a model is opened: mapped files, the growing list of tensors, notes. */
#ifndef LOCKSTEP_MODEL_FILES_LOADER_H
#define LOCKSTEP_MODEL_FILES_LOADER_H

#include "model/arena.h"
#include "model/model.h"
#include "model/plan.h"

/* A file mapped for reading. */
struct mapping {
    const char *path;
    const uint8_t *bytes; /* [size] */
    uint64_t size;
};

/* A missing or unreadable file is STATUS_BAD_INPUT; path must outlive the mapping. */
enum status mapping_open(struct mapping *mapping, const char *path, struct error *err);
void mapping_close(struct mapping *mapping);

struct model_files {
    struct arena arena;
    struct mapping *weights; /* [n_weights] *.safetensors in name order, or the .gguf; in the arena */
    uint32_t n_weights;
    struct mapping config;  /* config.json; size 0 for a GGUF */
    struct tensor *tensors; /* malloc'ed: model.tensors */
    uint32_t tensors_capacity;
    const char **notes; /* malloc'ed: model.notes */
    uint32_t notes_capacity;
    char weights_sha256[65]; /* "" until they are asked for */
    char config_sha256[65];
};

/* Adds a note to model->notes. */
void loader_note(struct model *model, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds a tensor to model->tensors. Bytes that are not aligned to 4 are copied, for every reader relies on that. */
void loader_add_tensor(struct model *model, const struct tensor *tensor);

/* Elements of a shape and the bytes they take in a dtype. Fills tensor->n_bytes, or fails naming file, tensor and
 * offset where_shape: no dims, an empty dim, overflow, rows that are not whole blocks. */
enum status loader_size_tensor(struct tensor *tensor, uint64_t where_shape, struct error *err);

/* Where a tensor's bytes lie, to find gaps and overlaps. */
struct byte_range {
    uint64_t begin, end;
    const char *name;
};

/* Sorts by begin, then by end. */
void byte_ranges_sort(struct byte_range *ranges, uint64_t n);

/* "[512, 64]" */
const char *shape_text(const struct tensor *tensor, char text[96]);

/* Fill model->config and model->tensors from files->config and files->weights. */
enum status folder_load(struct model *model, struct error *err);
enum status gguf_load(struct model *model, struct error *err);
enum status rdrr_load(struct model *model, struct error *err); /* from a folder with manifest.json */

/* Whether this is the name of a file in a folder, and no path that leaves it. NULL is not. */
bool loader_plain_name(const char *name);

/* Reads a JSON file; the caller decrefs *root, NULL after a failure. */
struct json_t;
enum status loader_json(const char *path, struct json_t **root, struct error *err);

/* SHA-256 of files one after another, as 64 hex digits. */
enum status loader_sha256(const struct mapping *files, uint32_t n_files, char hex[65], struct error *err);

/* Reads one mapped safetensors file and adds its tensors to the model. */
enum status safetensors_read(struct model *model, const struct mapping *file, struct error *err);

/* Fills model->config from files->config, but for what config_finish adds. */
enum status config_from_json(struct model *model, struct error *err);

/* The same from an object in config.json's words; file: for messages. */
enum status config_from_object(struct model *model, const char *file, struct json_t *root, struct error *err);

/* What every source of a config ends with: head counts that divide, sizes in range, the embedding's scale, and token
 * ids that the vocabulary has. */
enum status config_finish(struct model *model, const char *file, struct error *err);

/* Joins the blocks and scales of MXFP4 experts, and turns unquantised experts to [experts, out, in]. Refuses any other
 * tensor of U8. */
enum status loader_join_experts(struct model *model, struct error *err);

/* How much YaRN lets cos and sin grow with the context; "YaRN", Peng et al. 2023, 3.4. */
double rope_yarn_magnitude(double factor, double mscale);

/* Refuses a quantised tensor of a module that config.json's quantization_config.modules_to_not_convert excludes. */
enum status loader_check_excluded(const struct model *model, struct error *err);

/* Refuses what changes a model's result and would not be computed (a norm or a bias that no step reads), and notes
 * whatever else no step reads. */
enum status loader_check_unread(struct model *model, const struct plan *plan, struct error *err);

#endif
