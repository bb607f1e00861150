/* Buffers in device memory, one allocation each. */
#ifndef LOCKSTEP_ENGINE_DEVICE_MEMORY_H
#define LOCKSTEP_ENGINE_DEVICE_MEMORY_H

#include "engine/device/device.h"

enum memory_kind {
    MEMORY_DEVICE,   /* device-local, not mapped */
    MEMORY_ARENA,    /* the same, and the copy queue reads it */
    MEMORY_UPLOAD,   /* written by the host; mapped, coherent */
    MEMORY_READBACK, /* read by the host; mapped, cached if such memory exists; both queues write it */
};

struct gpu_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceSize size;      /* bytes that were asked for */
    VkDeviceSize allocated; /* bytes that the driver needs for them */
    void *mapped;           /* NULL if not mapped */
};

/* On failure *buffer is zeroed and nothing stays allocated. */
enum status gpu_buffer_create(struct device *device, VkDeviceSize size, enum memory_kind kind,
                              struct gpu_buffer *buffer, struct error *err);
void gpu_buffer_destroy(struct device *device, struct gpu_buffer *buffer);

/* Fills a whole buffer with a word, and waits. */
enum status gpu_buffer_fill(struct device *device, const struct gpu_buffer *buffer, uint32_t word, struct error *err);

/* Copies the first n_bytes of `from` to `offset` in `to`, and waits. */
enum status gpu_buffer_copy(struct device *device, const struct gpu_buffer *from, const struct gpu_buffer *to,
                            VkDeviceSize offset, VkDeviceSize n_bytes, struct error *err);

#endif
