/* A batch: it is begun, its steps are run, and their rows are read and written. See model/backend.h. */
#ifndef LOCKSTEP_ENGINE_RUN_BATCH_H
#define LOCKSTEP_ENGINE_RUN_BATCH_H

#include "engine/run/state.h"

enum status batch_begin(struct engine *engine, const struct batch *batch, struct error *err);

/* Runs steps [first, last), and waits. */
enum status batch_run(struct engine *engine, uint32_t first, uint32_t last, struct error *err);

/* Copies the rows of a step to `rows`, or replaces them by `rows`. */
enum status batch_read(struct engine *engine, uint32_t step, float *rows, struct error *err);
enum status batch_write(struct engine *engine, uint32_t step, const float *rows, struct error *err);

/* The row of a step of a token that was decoded lately. See engine_read_at. */
enum status batch_read_at(struct engine *engine, uint32_t position, uint32_t step, float *row, struct error *err);

#endif
