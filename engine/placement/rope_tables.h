/* Tables of cos and sin for rotary embeddings. They are computed on the host in double precision, because Vulkan allows
 * a device's own cos and sin an error of 2^-11, far more than the bounds allow. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_ROPE_TABLES_H
#define LOCKSTEP_ENGINE_PLACEMENT_ROPE_TABLES_H

#include "engine/device/memory.h"
#include "model/plan.h"

/* Bytes of a buffer. size 0: there is none. */
struct region {
    VkDeviceSize offset, size;
};

struct rope_tables {
    struct gpu_buffer buffer;
    struct region *region; /* [n_steps] the table of each rope step: [max_positions, dim / 2] pairs of cos and sin */
};

/* Computes and uploads one table for each distinct set of rope parameters in the plan. alignment: of the tables'
 * offsets. On failure the caller still calls rope_tables_close. */
enum status rope_tables_open(struct rope_tables *tables, struct device *device, const struct plan *plan,
                             uint32_t max_positions, VkDeviceSize alignment, struct error *err);
void rope_tables_close(struct rope_tables *tables, struct device *device);

#endif
