/* The engine as a backend (model/backend.h): opening, closing, and the calls in between. */
#ifndef LOCKSTEP_ENGINE_RUN_BACKEND_H
#define LOCKSTEP_ENGINE_RUN_BACKEND_H

#include "engine/run/options.h"
#include "engine/run/state.h"

/* engine_open with limits tighter than the device's own. Tests use it to reach sliced matrices, folded dispatches and
 * kernels of other devices. */
enum status backend_open(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                         const struct engine_limits *limits, struct error *err);

/* See engine_replan. */
enum status backend_replan(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                           struct error *err);

#endif
