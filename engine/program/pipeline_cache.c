/* There is one file for each device and driver. It has a checksum, because a driver may crash on a damaged cache. */
#include "engine/program/pipeline_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_CACHE_BYTES (64u << 20)

struct header {
    char magic[8];
    uint64_t n_bytes;  /* of the data behind the header */
    uint64_t checksum; /* of the same data */
};
static const char magic[8] = "LSPIPE1";

/* FNV-1a, 64 bits. It finds damage, not manipulation. */
static uint64_t checksum(const uint8_t *bytes, size_t n)
{
    uint64_t hash = 14695981039346656037ull;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211ull;
    }
    return hash;
}

/* The folder lockstep/ in $XDG_CACHE_HOME or ~/.cache. make: create it if it does not exist. false: there is none. */
static bool cache_folder(char path[4096], bool make)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char parent[4080];
    int n = -1;
    if (base && base[0] == '/') {
        n = snprintf(parent, sizeof(parent), "%s", base);
    } else if (home && home[0] == '/') {
        n = snprintf(parent, sizeof(parent), "%s/.cache", home);
    }
    if (n < 0 || (size_t)n >= sizeof(parent)) {
        return false;
    }
    snprintf(path, 4096, "%s/lockstep", parent);
    if (!make) {
        return true;
    }
    return (mkdir(parent, 0700) == 0 || errno == EEXIST) && (mkdir(path, 0700) == 0 || errno == EEXIST);
}

static bool cache_path(const struct device *device, bool make_folder, char path[4200])
{
    char folder[4096], uuid[2 * VK_UUID_SIZE + 1];
    if (!cache_folder(folder, make_folder)) {
        return false;
    }
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++) {
        snprintf(uuid + 2 * (size_t)i, 3, "%02x", device->uuid[i]);
    }
    snprintf(path, 4200, "%s/pipelines-%s-%08x", folder, uuid, device->driver_version);
    return true;
}

/* The data of a valid cache file, malloc'ed; NULL if there is none. */
static uint8_t *read_cache(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return NULL;
    }
    struct header header;
    uint8_t *data = NULL;
    if (fread(&header, sizeof(header), 1, file) == 1 && memcmp(header.magic, magic, sizeof(magic)) == 0 &&
        header.n_bytes <= MAX_CACHE_BYTES) {
        data = xmalloc(header.n_bytes);
        *n_bytes = (size_t)header.n_bytes;
        if (fread(data, 1, *n_bytes, file) != *n_bytes || checksum(data, *n_bytes) != header.checksum) {
            free(data);
            data = NULL;
        }
    }
    (void)fclose(file); /* only read, so nothing can be lost */
    return data;
}

static VkPipelineCache create_cache(struct device *device, const uint8_t *data, size_t n_bytes)
{
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = n_bytes,
        .pInitialData = data,
    };
    VkPipelineCache cache = VK_NULL_HANDLE;
    return vkCreatePipelineCache(device->handle, &info, NULL, &cache) == VK_SUCCESS ? cache : VK_NULL_HANDLE;
}

VkPipelineCache pipeline_cache_load(struct device *device)
{
    char path[4200];
    size_t n_bytes = 0;
    uint8_t *data = cache_path(device, false, path) ? read_cache(path, &n_bytes) : NULL;
    VkPipelineCache cache = create_cache(device, data, data ? n_bytes : 0);
    if (!cache && data) {
        cache = create_cache(device, NULL, 0); /* the data are perhaps what it cannot use */
    }
    free(data);
    return cache;
}

/* Writes a temporary file beside the target and renames it, so that two programs that end at the same time leave one
 * whole file. */
static bool write_cache(const char *path, const struct header *header, const uint8_t *data)
{
    char beside[4300];
    snprintf(beside, sizeof(beside), "%s.%ld", path, (long)getpid());
    FILE *file = fopen(beside, "wb");
    if (!file) {
        return false;
    }
    bool ok =
        fwrite(header, sizeof(*header), 1, file) == 1 && fwrite(data, 1, header->n_bytes, file) == header->n_bytes;
    ok = fclose(file) == 0 && ok;
    ok = ok && rename(beside, path) == 0;
    if (!ok) {
        (void)unlink(beside);
    }
    return ok;
}

void pipeline_cache_save(struct device *device, VkPipelineCache cache)
{
    char path[4200];
    size_t n_bytes = 0, n_old = 0;
    if (vkGetPipelineCacheData(device->handle, cache, &n_bytes, NULL) != VK_SUCCESS || n_bytes > MAX_CACHE_BYTES ||
        !cache_path(device, true, path)) {
        return;
    }
    uint8_t *data = xmalloc(n_bytes);
    if (vkGetPipelineCacheData(device->handle, cache, &n_bytes, data) == VK_SUCCESS) {
        struct header header = {.n_bytes = n_bytes, .checksum = checksum(data, n_bytes)};
        memcpy(header.magic, magic, sizeof(magic));
        uint8_t *old = read_cache(path, &n_old);
        bool same = old && n_old == n_bytes && memcmp(old, data, n_bytes) == 0;
        free(old);
        if (!same) {
            (void)write_cache(path, &header, data); /* a failure only costs time at the next start */
        }
    }
    free(data);
}
