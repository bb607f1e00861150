/* The pipeline cache of a device on disk, under $XDG_CACHE_HOME or ~/.cache. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PIPELINE_CACHE_H
#define LOCKSTEP_ENGINE_PROGRAM_PIPELINE_CACHE_H

#include "engine/device/device.h"

/* Creates *cache from the device's cache file. A file that is missing, damaged or from another driver gives an empty
 * cache. */
enum status pipeline_cache_load(struct device *device, VkPipelineCache *cache, struct error *err);

/* Writes the file if the cache changed. Failures are ignored: the next start then compiles again. */
void pipeline_cache_save(struct device *device, VkPipelineCache cache);

#endif
