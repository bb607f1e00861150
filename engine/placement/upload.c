#include "engine/placement/upload.h"

#include <string.h>

#include "engine/placement/groups.h"

#define STAGING_BYTES (32ull << 20)

/* Uploads bytes [from, from + n_bytes) of a piece. They fit into the staging buffer. */
static enum status upload_part(struct device *device, const struct gpu_buffer *staging, const struct upload *upload,
                               VkDeviceSize from, VkDeviceSize n_bytes, struct error *err)
{
    if (upload->grouped) {
        uint64_t row_bytes = groups_row_bytes(upload->tensor);
        groups_copy(upload->tensor, from / row_bytes, n_bytes / row_bytes, staging->mapped);
    } else if (upload->tensor) {
        tensor_copy(upload->tensor, from, n_bytes, staging->mapped);
    } else {
        memcpy(staging->mapped, (const uint8_t *)upload->bytes + from, n_bytes);
    }
    return gpu_buffer_copy(device, staging, upload->to, upload->offset + from, n_bytes, err);
}

enum status upload_run(struct device *device, const struct upload *uploads, uint32_t n_uploads, struct error *err)
{
    struct gpu_buffer staging;
    VkDeviceSize largest = 4;
    for (uint32_t i = 0; i < n_uploads; i++) {
        largest = uploads[i].n_bytes > largest ? uploads[i].n_bytes : largest;
    }
    largest = largest < STAGING_BYTES ? largest : STAGING_BYTES;
    TRY(gpu_buffer_create(device, largest, MEMORY_UPLOAD, &staging, err));
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < n_uploads && status == STATUS_OK; i++) {
        VkDeviceSize most = largest;
        if (uploads[i].grouped) { /* only whole rows */
            most = largest / groups_row_bytes(uploads[i].tensor) * groups_row_bytes(uploads[i].tensor);
        }
        for (VkDeviceSize from = 0; from < uploads[i].n_bytes && status == STATUS_OK; from += most) {
            VkDeviceSize rest = uploads[i].n_bytes - from;
            status = upload_part(device, &staging, &uploads[i], from, rest < most ? rest : most, err);
        }
    }
    gpu_buffer_destroy(device, &staging);
    return status;
}
