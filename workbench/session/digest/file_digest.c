#include "workbench/session/digest/file_digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "model/stop.h"

static EVP_MD_CTX *begin(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    ASSERT(context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    return context;
}

static void add(EVP_MD_CTX *context, const void *bytes, size_t n)
{
    ASSERT(EVP_DigestUpdate(context, bytes, n) == 1);
}

static void end(EVP_MD_CTX *context, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    ASSERT(EVP_DigestFinal_ex(context, digest, &n) == 1 && n == 32);
    EVP_MD_CTX_free(context);
    for (unsigned i = 0; i < n; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
}

enum status file_sha256(const char *path, char hex[65], struct error *err)
{
    unsigned char bytes[1 << 16];
    struct stat info;
    bool regular = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    FILE *in = regular ? fopen(path, "rb") : NULL;
    if (in == NULL) {
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "cannot be read: %s",
                         errno != 0 && !regular ? strerror(errno) : "no regular file");
    }
    EVP_MD_CTX *context = begin();
    for (size_t n; !stop_asked() && (n = fread(bytes, 1, sizeof(bytes), in)) > 0;) {
        add(context, bytes, n);
    }
    bool failed = ferror(in) != 0;
    fclose(in);
    end(context, hex);
    return failed ? error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "cannot be read") : stop_check(err);
}

void trace_rows_sha256(const struct trace *trace, char hex[65])
{
    EVP_MD_CTX *context = begin();
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        const struct trace_stage *stage = &trace->stages[i];
        for (uint32_t p = 0; p < trace->n_positions; p++) {
            const float *row = trace_row(stage, p);
            const int32_t place[] = {stage->layer, (int32_t)stage->stage, (int32_t)p};
            if (row != NULL) {
                add(context, place, sizeof(place));
                add(context, row, stage->width * sizeof(*row));
            }
        }
    }
    end(context, hex);
}
