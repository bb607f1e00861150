#include <openssl/evp.h>
#include <string.h>

#include "model/files/loader.h"

#define PIECE_BYTES (64u << 20)

enum status loader_sha256(const struct mapping *files, uint32_t n_files, char hex[65], struct error *err)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (uint32_t i = 0; i < n_files; i++) {
        for (uint64_t at = 0; ok && at < files[i].size; at += PIECE_BYTES) {
            uint64_t left = files[i].size - at;
            ok = EVP_DigestUpdate(context, files[i].bytes + at, left < PIECE_BYTES ? left : PIECE_BYTES) == 1;
        }
    }
    ok = ok && EVP_DigestFinal_ex(context, sum, &length) == 1 && length == 32;
    EVP_MD_CTX_free(context);
    for (unsigned i = 0; ok && i < 32; i++) {
        static const char digits[] = "0123456789abcdef";
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    hex[ok ? 64 : 0] = '\0';
    return ok ? STATUS_OK
              : error_set(err, STATUS_ABSENT, n_files ? files->path : NULL, "SHA-256", ERROR_NO_OFFSET,
                          "OpenSSL could not compute it, expected a working libcrypto");
}

enum status model_digests(const struct model *model, char weights[65], char config[65], struct error *err)
{
    struct model_files *files = model->files;
    if (!files->weights_sha256[0]) {
        TRY(loader_sha256(files->weights, files->n_weights, files->weights_sha256, err));
    }
    if (files->config.size && !files->config_sha256[0]) {
        TRY(loader_sha256(&files->config, 1, files->config_sha256, err));
    }
    memcpy(weights, files->weights_sha256, sizeof(files->weights_sha256));
    memcpy(config, files->config_sha256, sizeof(files->config_sha256));
    return STATUS_OK;
}

uint32_t model_n_files(const struct model *model)
{
    return model->files->n_weights;
}

struct weight_file model_file(const struct model *model, uint32_t i)
{
    ASSERT(i < model->files->n_weights);
    const struct mapping *file = &model->files->weights[i];
    return (struct weight_file){file->path, file->size, file->cached, file->ms};
}

uint64_t model_n_bytes(const struct model *model)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < model->files->n_weights; i++) {
        n += model->files->weights[i].size;
    }
    return n;
}
