/* What people are told of a Vulkan device. */
#ifndef LOCKSTEP_ENGINE_DEVICE_DEVICE_INFO_H
#define LOCKSTEP_ENGINE_DEVICE_DEVICE_INFO_H

#include <stdbool.h>
#include <stdint.h>

struct device_info {
    uint32_t index; /* in the driver's list */
    char name[256];
    char driver[256];  /* driver name and version */
    const char *type;  /* "discrete GPU", "CPU", … */
    char api[32];      /* Vulkan version, "1.3.230" */
    uint64_t memory;   /* bytes of the largest device-local heap */
    uint32_t subgroup; /* lanes of a subgroup */
    bool is_cpu;       /* a CPU driver such as Mesa's llvmpipe: few threads, short vectors */
    bool usable;       /* has what the engine needs */
    bool chosen;       /* the default: engine_open takes it when no device is named */
};

#endif
