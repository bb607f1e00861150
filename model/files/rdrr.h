/* RDRR, the format of DOPPLER: manifest.json, and tensors in shards, each with its hash. Source: clocksmith/doppler,
 * docs/FORMATS.md, docs/rdrr-format.md, src/formats/rdrr/ and src/converter/. */
#ifndef LOCKSTEP_MODEL_FILES_RDRR_H
#define LOCKSTEP_MODEL_FILES_RDRR_H

#include <jansson.h>

#include "model/files/loader.h"

struct rdrr {
    struct model *model;
    const char *file; /* manifest.json */
    json_t *manifest;
    struct error *err;
    struct byte_range *pieces; /* malloc'ed; pieces of all tensors, as if the shards were one file */
    uint64_t n_pieces, pieces_capacity;
};

/* Returns the member at a path ("attention.queryKeyNorm") of an object. NULL: a part is missing or null. */
json_t *rdrr_member(const json_t *object, const char *path);

/* Sets the error "FILE: prefix.path: <what it is>, expected <expected>"; value NULL: missing. Returns STATUS_BAD_INPUT.
 */
enum status rdrr_refuse(const struct rdrr *in, const char *prefix, const char *path, const json_t *value,
                        const char *expected);

/* Fills model->config from the manifest once the tensors are known (config_rdrr.c). A flag that contradicts the tensors
 * is refused (postmortem 2026-01-19 gemma3-postfeedforwardnorm). */
enum status rdrr_config(const struct rdrr *in);

#endif
