/* Descriptor sets: the buffers that each dispatch binds. */
#ifndef LOCKSTEP_ENGINE_RECORDING_DESCRIPTOR_SETS_H
#define LOCKSTEP_ENGINE_RECORDING_DESCRIPTOR_SETS_H

#include "engine/recording/shape_types.h"

/* Fills shape->pool and shape->sets: one set for every dispatch and place of the ring. The caller frees them, also on
 * failure. */
enum status descriptor_sets_create(struct shape *shape, struct error *err);

#endif
