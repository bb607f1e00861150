/* What the engine's own tests reach into. Nobody else includes it. */
#ifndef LOCKSTEP_ENGINE_INTERNAL_H
#define LOCKSTEP_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "engine/run/backend.h"

/* The shape of the batch that was begun last. */
static inline const struct shape *engine_shape(const struct backend *backend)
{
    return engine_of(backend)->shape;
}

static inline struct device *engine_vulkan(const struct backend *backend)
{
    return &engine_of(backend)->device;
}

#endif
