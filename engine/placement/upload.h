/* Uploads bytes to device memory through a staging buffer. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_UPLOAD_H
#define LOCKSTEP_ENGINE_PLACEMENT_UPLOAD_H

#include "engine/device/memory.h"
#include "model/tensor.h"

/* One piece to upload, and where it goes. */
struct upload {
    const struct gpu_buffer *to;
    VkDeviceSize offset;
    VkDeviceSize n_bytes;
    const void *bytes;           /* the source, if `tensor` is NULL */
    const struct tensor *tensor; /* the source: this tensor's bytes */
    bool grouped;                /* upload the tensor's rows as groups.h arranges them */
};

/* Uploads pieces of any size, and waits. */
enum status upload_run(struct device *device, const struct upload *uploads, uint32_t n_uploads, struct error *err);

#endif
