/* What the result of a case depends on. */
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workbench/batch/run_case.h"
#include "workbench/session/digest/file_digest.h"
#include "workbench/trace/json_file.h"
#include "workbench/trace/version.h"

/* The sha256 of every file in a folder, by its path: a dump may be a folder. */
static json_t *folder_digest(const char *path)
{
    char hex[65], *top = xstrdup(path), *const paths[] = {top, NULL};
    json_t *files = json_object();
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; tree != NULL && (entry = fts_read(tree)) != NULL;) {
        if (entry->fts_info == FTS_F && file_sha256(entry->fts_accpath, hex, NULL) == STATUS_OK) {
            json_put(files, entry->fts_path, json_string(hex));
        }
    }
    if (tree != NULL) {
        fts_close(tree);
    }
    free(top);
    return files;
}

/* The sha256 of a file, or of those in a folder; null if it cannot be read. */
static json_t *file_digest(const char *path)
{
    char hex[65];
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return folder_digest(path);
    }
    return file_sha256(path, hex, NULL) == STATUS_OK ? json_string(hex) : json_null();
}

/* The digests of a model, "weights config"; null if it cannot be opened. */
static json_t *model_digest(const char *path)
{
    struct model model;
    char weights[65], config[65], text[132];
    if (model_open(&model, path, NULL) != STATUS_OK) {
        return json_null();
    }
    bool ok = model_digests(&model, weights, config, NULL) == STATUS_OK;
    model_close(&model);
    snprintf(text, sizeof(text), "%s %s", weights, config);
    return ok ? json_string(text) : json_null();
}

/* That of a model or a file, which may be known already. */
static json_t *known_digest(const char *path, json_t *digest_of(const char *path), json_t *digests)
{
    if (path == NULL) {
        return json_null();
    }
    if (json_object_get(digests, path) == NULL) {
        json_put(digests, path, digest_of(path));
    }
    return json_incref(json_object_get(digests, path));
}

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_text(text) : json_null();
}

json_t *case_key(const struct batch_case *one, json_t *digests)
{
    json_t *key = json_object(), *faults = json_array();
    for (uint32_t i = 0; i < one->n_faults; i++) {
        json_push(faults, json_text(one->faults[i]));
    }
    json_put(key, "lockstep", json_string(version_number()));
    json_put(key, "commit", json_string(version_commit()));
    json_put(key, "model", known_digest(one->model, model_digest, digests));
    json_put(key, "golden_model", known_digest(one->golden_model, model_digest, digests));
    json_put(key, "golden", known_digest(one->golden, file_digest, digests));
    json_put(key, "trace", known_digest(one->trace, file_digest, digests));
    json_put(key, "on", text_or_null(one->on));
    json_put(key, "device", text_or_null(one->device));
    json_put(key, "weights", text_or_null(one->weights));
    json_put(key, "faults", faults);
    return key;
}
