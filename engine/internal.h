/* What the engine's own tests reach into; nobody else includes it. */
#ifndef LOCKSTEP_ENGINE_INTERNAL_H
#define LOCKSTEP_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "engine/recording/shape.h"

/* engine_open with limits tighter than the device's own, to reach row slices, folded dispatches and the other matmul.
 */
enum status engine_open_limited(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                                const struct engine_limits *limits, struct error *err);

/* The shape of the batch that was begun last. */
const struct shape *engine_shape(const struct backend *backend);
struct device *engine_vulkan(const struct backend *backend);

#endif
