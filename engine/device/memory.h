/* Device memory: buffers of one allocation each, and the weights, packed as stored into a few large blocks. */
#ifndef LOCKSTEP_ENGINE_MEMORY_H
#define LOCKSTEP_ENGINE_MEMORY_H

#include "engine/device/device.h"
#include "model/plan.h"

enum memory_kind {
    MEMORY_DEVICE,   /* device-local, not mapped */
    MEMORY_ARENA,    /* the same, and copied from by the queue for copies */
    MEMORY_UPLOAD,   /* written by the host, coherent */
    MEMORY_READBACK, /* read by the host: cached where there is such memory; copied to by either queue */
};

struct gpu_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceSize size, allocated; /* allocated: with what the driver adds */
    void *mapped;                 /* of the host-visible kinds */
};

/* On failure *buffer is zeroed and nothing stays allocated. */
enum status gpu_buffer_create(struct device *device, VkDeviceSize size, enum memory_kind kind,
                              struct gpu_buffer *buffer, struct error *err);
void gpu_buffer_destroy(struct device *device, struct gpu_buffer *buffer);

/* Fills a whole device buffer with a word, and waits. */
enum status gpu_buffer_fill(struct device *device, const struct gpu_buffer *buffer, uint32_t word, struct error *err);

/* A piece to upload: where its bytes are, and where they go. */
struct upload {
    const struct gpu_buffer *to;
    VkDeviceSize offset;
    const void *bytes;
    VkDeviceSize n_bytes;
    const struct tensor *tensor; /* whose bytes they are, in the place of `bytes`; NULL: none */
    bool grouped;                /* the tensor's rows, each groups_row_bytes long, in the place of its bytes */
};

/* Copies pieces of any size through one staging buffer, and waits. */
enum status memory_upload(struct device *device, const struct upload *uploads, uint32_t n_uploads, struct error *err);

/* Where a tensor's bytes lie on the device. Behind them are WEIGHT_SLACK bytes more: shaders read whole words. */
#define WEIGHT_SLACK 16
struct placement {
    const struct tensor *tensor;
    uint32_t block;
    VkDeviceSize offset; /* a multiple of minStorageBufferOffsetAlignment */
    float scale;         /* power of two: no weight times it passes 2^14; 0: unknown, or there is no need of it */
    bool grouped;        /* its rows are arranged by groups.c */
};

/* The fewest rows of a placed tensor that begin and end between blocks, and their bytes; as tensor_grain, but on the
 * device. All of its bytes. */
void placement_grain(const struct placement *placement, uint64_t *rows, uint64_t *bytes);
uint64_t placement_bytes(const struct placement *placement);

/* groups.c: rows of quants arranged so that 16 of their bytes are one load. Whether a tensor's can be; the bytes of a
 * row then, a multiple of 16; rows [first, first + n_rows) to to[n_rows * groups_row_bytes]. */
bool groups_fit(const struct tensor *tensor);
uint64_t groups_row_bytes(const struct tensor *tensor);
void groups_copy(const struct tensor *tensor, uint64_t first, uint64_t n_rows, uint8_t *to);

/* range.c: that power of two, of a tensor in any format. */
float tensor_scale(const struct tensor *tensor);

struct weights {
    struct gpu_buffer *blocks;
    uint32_t n_blocks;
    struct placement *placements; /* one a distinct tensor of the plan */
    uint32_t n_placements;
};

/* Uploads every tensor that a step of the plan reads, once, byte for byte as its file stores it (experts in two tensors
 * joined on the way); grouped: matrices of quants as groups.c arranges them. padding: bytes of garbage behind each. On
 * failure nothing stays allocated. */
enum status weights_upload(struct weights *weights, struct device *device, const struct plan *plan, bool grouped,
                           VkDeviceSize padding, struct error *err);
void weights_free(struct weights *weights, struct device *device);
const struct placement *weights_find(const struct weights *weights, const struct tensor *tensor);

/* What padding holds where buffers are larger than their shapes: 1.7e38, no number that a sum survives. */
#define PADDING_WORD 0x7f000000u

#endif
