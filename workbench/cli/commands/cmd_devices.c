/* lockstep devices: lists the Vulkan devices, and marks the one that is used. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "workbench/cli/command.h"
#include "workbench/text/table.h"

enum status command_devices(const struct arguments *arguments, struct error *err)
{
    (void)arguments;
    struct device_info *devices = NULL;
    uint32_t n_devices = 0;
    TRY(engine_devices(&devices, &n_devices, err));
    struct table table = {0};
    table_add_column(&table, "  index", 2, 7);
    table_add_column(&table, "device", 2, -36);
    table_add_column(&table, "type", 2, -14);
    table_add_column(&table, "Vulkan", 2, -8);
    table_add_column(&table, "memory", 2, 9);
    table_add_column(&table, "subgroup", 2, 8);
    table_add_column(&table, "driver", 2, 0);
    for (uint32_t i = 0; i < n_devices; i++) {
        const struct device_info *device = &devices[i];
        const char *mark = device->chosen ? "*" : device->usable ? " " : "-";
        table_add_cell(&table, "%s %5u", mark, device->index);
        table_add_cell(&table, "%.36s", device->name);
        table_add_cell(&table, "%s", device->type);
        table_add_cell(&table, "%s", device->api);
        table_add_cell(&table, "%.1f GiB", (double)device->memory / (1 << 30));
        table_add_cell(&table, "%u", device->subgroup);
        table_add_cell(&table, "%s", device->driver);
        table_end_row(&table, NULL);
    }
    table_print(&table, true, stdout);
    table_free(&table);
    printf("* is used unless --device names another; - lacks something that the engine needs\n");
    free(devices);
    return STATUS_OK;
}
