#include "engine/program/statistics.h"

#include <stdlib.h>
#include <string.h>

static double value_of(const VkPipelineExecutableStatisticKHR *statistic)
{
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return statistic->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return (double)statistic->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (double)statistic->value.u64;
    default:
        return statistic->value.f64;
    }
}

/* Asks for at most *n statistics. A compute pipeline has one executable. */
static enum status query(const struct device *device, const struct program *program,
                         VkPipelineExecutableStatisticKHR *statistics, uint32_t *n, struct error *err)
{
    /* The loader does not export functions of extensions. */
    PFN_vkGetPipelineExecutableStatisticsKHR get = (PFN_vkGetPipelineExecutableStatisticsKHR)(void (*)(
        void))vkGetDeviceProcAddr(device->handle, "vkGetPipelineExecutableStatisticsKHR");
    VkPipelineExecutableInfoKHR executable = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                              .pipeline = program->pipeline};
    for (uint32_t i = 0; i < *n; i++) {
        statistics[i] =
            (VkPipelineExecutableStatisticKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    }
    VkResult result = get ? get(device->handle, &executable, n, statistics) : VK_ERROR_EXTENSION_NOT_PRESENT;
    return result == VK_SUCCESS || result == VK_INCOMPLETE
               ? STATUS_OK
               : vulkan_failed(err, result, "vkGetPipelineExecutableStatisticsKHR");
}

enum status statistics_get(const struct device *device, const struct program *program,
                           struct engine_statistic *statistics, uint32_t *n, struct error *err)
{
    *n = 0;
    if (!program->statistics) {
        return STATUS_OK;
    }
    uint32_t found = ENGINE_STATISTICS;
    VkPipelineExecutableStatisticKHR *list = xcalloc(found, sizeof(*list));
    enum status status = query(device, program, list, &found, err);
    for (uint32_t i = 0; i < found && status == STATUS_OK; i++) {
        size_t length = strnlen(list[i].name, sizeof(statistics[i].name) - 1);
        statistics[i] = (struct engine_statistic){.value = value_of(&list[i])};
        memcpy(statistics[i].name, list[i].name, length);
        *n = i + 1;
    }
    free(list);
    return status;
}
