/* lockstep devices: lists the Vulkan devices, and marks the one that is used. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "workbench/cli/command.h"

enum status command_devices(const struct arguments *arguments, struct error *err)
{
    (void)arguments;
    struct device_info *devices = NULL;
    uint32_t n_devices = 0;
    TRY(engine_devices(&devices, &n_devices, err));
    printf("    %-5s  %-36s  %-14s  %-8s  %9s  %8s  %s\n", "index", "device", "type", "Vulkan", "memory", "subgroup",
           "driver");
    for (uint32_t i = 0; i < n_devices; i++) {
        const struct device_info *device = &devices[i];
        const char *mark = device->chosen ? "*" : device->usable ? " " : "-";
        printf("  %s %5u  %-36.36s  %-14s  %-8s  %5.1f GiB  %8u  %s\n", mark, device->index, device->name, device->type,
               device->api, (double)device->memory / (1 << 30), device->subgroup, device->driver);
    }
    printf("* is used unless --device names another; - lacks something that the engine needs\n");
    free(devices);
    return STATUS_OK;
}
