/* Copies captured stages to the host, and fills slots with sentinels. */
#ifndef LOCKSTEP_ENGINE_RECORDING_READBACK_H
#define LOCKSTEP_ENGINE_RECORDING_READBACK_H

#include "engine/recording/shape_types.h"

/* Records sentinels for every captured slot. With padded buffers, fills the padding as well. */
void readback_fill(VkCommandBuffer commands, const struct shape *shape, uint32_t place);

/* Records the copy of the captured rows of steps [first, last), behind everything recorded before. */
void readback_record(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t first,
                     uint32_t last);

/* Records a command buffer for the copy queue that copies the captured rows of steps [0, last). *commands stays NULL if
 * none of them is captured. */
enum status readback_record_copy(const struct shape *shape, uint32_t place, uint32_t last, VkCommandBuffer *commands,
                                 struct error *err);

/* Bytes that a run of the whole plan copies to the host. */
VkDeviceSize readback_bytes(const struct shape *shape);

#endif
