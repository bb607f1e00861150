/* What the driver reports about the programs that it compiled (VK_KHR_pipeline_executable_properties). */
#ifndef LOCKSTEP_ENGINE_PROGRAM_STATISTICS_H
#define LOCKSTEP_ENGINE_PROGRAM_STATISTICS_H

#include "engine/program/program.h"
#include "engine/program/program_statistic.h"

/* Fills statistics[ENGINE_STATISTICS]; *n of them are used, 0 if the driver kept none. */
enum status statistics_get(const struct device *device, const struct program *program,
                           struct engine_statistic *statistics, uint32_t *n, struct error *err);

#endif
