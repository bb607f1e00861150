/* The pipeline cache of a device on disk, under $XDG_CACHE_HOME or ~/.cache. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PIPELINE_CACHE_H
#define LOCKSTEP_ENGINE_PROGRAM_PIPELINE_CACHE_H

#include "engine/device/device.h"

/* A cache with the data of the device's cache file. A file that is missing, damaged or from another driver gives an
 * empty cache. VK_NULL_HANDLE: the driver makes none; pipelines are then compiled without one. */
VkPipelineCache pipeline_cache_load(struct device *device);

/* Writes the file if the cache changed. Failures are ignored: the next start then compiles again. */
void pipeline_cache_save(struct device *device, VkPipelineCache cache);

#endif
