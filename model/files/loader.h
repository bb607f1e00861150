/* Shared by the loaders while a model is opened: mapped files, the growing list of tensors, notes. */
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
    double cached; /* the part of it that was in memory when it was mapped, of a sample of its pages */
    double ms;     /* milliseconds that opening and mapping took */
};

/* Maps a file. STATUS_BAD_INPUT: it is missing or unreadable. path must outlive the mapping. */
enum status mapping_open(struct mapping *mapping, const char *path, struct error *err);
void mapping_close(struct mapping *mapping);

struct model_files {
    struct arena arena;
    struct mapping *weights; /* [n_weights] *.safetensors in name order, or the .gguf; from the arena */
    uint32_t n_weights;
    struct mapping config;  /* config.json; size 0 for a GGUF */
    struct tensor *tensors; /* malloc'ed: model.tensors */
    uint32_t tensors_capacity;
    const char **notes; /* malloc'ed: model.notes */
    uint32_t notes_capacity;
    char weights_sha256[65]; /* "" until computed */
    char config_sha256[65];
};

/* Adds a note to model->notes. */
void loader_note(struct model *model, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds a tensor to model->tensors. Bytes that are not aligned to 4 are copied; all readers rely on the alignment. */
void loader_add_tensor(struct model *model, const struct tensor *tensor);

/* Computes tensor->n_bytes from shape and dtype. STATUS_BAD_INPUT names file, tensor and offset where_shape: no dims,
 * an empty dim, overflow, or rows that are not whole blocks. */
enum status loader_size_tensor(struct tensor *tensor, uint64_t where_shape, struct error *err);

/* Position of a tensor's bytes, to find gaps and overlaps. */
struct byte_range {
    uint64_t begin, end;
    const char *name;
};

/* Sorts by begin, then by end. */
void byte_ranges_sort(struct byte_range *ranges, uint64_t n);

/* Prints a shape as "[512, 64]". Returns text. */
const char *shape_text(const struct tensor *tensor, char text[96]);

/* Fill model->config and model->tensors from files->config and files->weights. */
enum status folder_load(struct model *model, struct error *err);
enum status gguf_load(struct model *model, struct error *err);
enum status rdrr_load(struct model *model, struct error *err); /* from a folder with manifest.json */

/* Whether name is a plain file name, not a path that could leave the folder. NULL is not. */
bool loader_plain_name(const char *name);

/* Reads a JSON file. The caller decrefs *root, which is NULL after a failure. */
struct json_t;
enum status loader_json(const char *path, struct json_t **root, struct error *err);

/* SHA-256 of the concatenated files, as 64 hex digits. */
enum status loader_sha256(const struct mapping *files, uint32_t n_files, char hex[65], struct error *err);

/* Reads one mapped safetensors file and adds its tensors to the model. */
enum status safetensors_read(struct model *model, const struct mapping *file, struct error *err);

/* Fills model->config from files->config, except what config_finish adds. */
enum status config_from_json(struct model *model, struct error *err);

/* The same from a JSON object with config.json's keys. file: for messages. */
enum status config_from_object(struct model *model, const char *file, struct json_t *root, struct error *err);

/* Completes a config from any source: head counts that divide, sizes in range, the embedding's scale, and token ids
 * inside the vocabulary. */
enum status config_finish(struct model *model, const char *file, struct error *err);

/* Joins blocks and scales of MXFP4 experts, and transposes unquantised experts to [experts, out, in]. Refuses any other
 * tensor of U8. */
enum status loader_join_experts(struct model *model, struct error *err);

/* The factor by which YaRN scales cos and sin; "YaRN", Peng et al. 2023, 3.4. */
double rope_yarn_magnitude(double factor, double mscale);

/* Refuses quantised tensors of modules that quantization_config.modules_to_not_convert excludes. */
enum status loader_check_excluded(const struct model *model, struct error *err);

/* Refuses tensors that change a model's result and that no step reads (a norm or a bias), and notes all others that no
 * step reads. */
enum status loader_check_unread(struct model *model, const struct plan *plan, struct error *err);

#endif
