#include "engine/run/bandwidth.h"

#include <stdlib.h>
#include <time.h>

#include "engine/device/memory.h"
#include "engine/device/submit.h"
#include "shaders/params.h"

/* Larger than any cache. */
#define GPU_BYTES (512ull << 20)
#define CPU_BYTES (64ull << 20)
#define GPU_PASSES 10 /* over the buffer, in one submit */
#define RUNS 5

struct probe {
    struct gpu_buffer source, result;
    const struct program *program;
    VkDescriptorPool pool;
    VkDescriptorSet set;
    VkCommandBuffer commands;
};

static enum status create_set(struct device *device, struct probe *probe, struct error *err)
{
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 2};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = 1, .poolSizeCount = 1, .pPoolSizes = &size};
    VK_TRY(err, vkCreateDescriptorPool(device->handle, &pool, NULL, &probe->pool));
    VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = probe->pool,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &probe->program->set_layout};
    VK_TRY(err, vkAllocateDescriptorSets(device->handle, &allocate, &probe->set));
    VkDescriptorBufferInfo buffers[2] = {{probe->source.handle, 0, probe->source.size},
                                         {probe->result.handle, 0, probe->result.size}};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = probe->set,
                                  .descriptorCount = 2,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffers};
    vkUpdateDescriptorSets(device->handle, 1, &write, 0, NULL);
    return STATUS_OK;
}

static enum status record(struct device *device, struct probe *probe, struct error *err)
{
    struct bandwidth_params push = {.n = (uint32_t)(probe->source.size / 16)};
    TRY(commands_begin(device, false, &probe->commands, err));
    vkCmdBindPipeline(probe->commands, VK_PIPELINE_BIND_POINT_COMPUTE, probe->program->pipeline);
    vkCmdBindDescriptorSets(probe->commands, VK_PIPELINE_BIND_POINT_COMPUTE, probe->program->layout, 0, 1, &probe->set,
                            0, NULL);
    vkCmdPushConstants(probe->commands, probe->program->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push), &push);
    for (uint32_t i = 0; i < GPU_PASSES; i++) {
        vkCmdDispatch(probe->commands, 2048, 1, 1);
    }
    VK_TRY(err, vkEndCommandBuffer(probe->commands));
    return STATUS_OK;
}

static enum status prepare(struct device *device, struct programs *programs, struct probe *probe, struct error *err)
{
    VkDeviceSize bytes = GPU_BYTES;
    bytes = bytes < device->limits.maxStorageBufferRange ? bytes : device->limits.maxStorageBufferRange / 16 * 16;
    struct program_key key = {.shader = "bandwidth",
                              .n_bindings = 2,
                              .n_push = sizeof(struct bandwidth_params),
                              .constants = {.local_size = 256}};
    TRY(programs_get(programs, &key, &probe->program, err));
    TRY(gpu_buffer_create(device, bytes, MEMORY_DEVICE, &probe->source, err));
    TRY(gpu_buffer_create(device, 256, MEMORY_DEVICE, &probe->result, err));
    TRY(gpu_buffer_fill(device, &probe->source, 1, err));
    TRY(create_set(device, probe, err));
    return record(device, probe, err);
}

static double seconds(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Bytes per second of a loop on the host. */
static double measure_host(void)
{
    uint64_t *words = xcalloc(CPU_BYTES / 8, 8);
    double best = 0;
    for (int i = 0; i < RUNS; i++) {
        volatile uint64_t sink; /* keeps the loop from being optimised away */
        uint64_t sum = 0;
        double start = seconds();
        for (size_t k = 0; k < CPU_BYTES / 8; k++) {
            words[k] += i == 0; /* the first run touches every page, and does not count */
            sum += words[k];
        }
        sink = sum;
        (void)sink;
        double rate = (double)CPU_BYTES / (seconds() - start);
        best = i > 0 && rate > best ? rate : best;
    }
    free(words);
    return best;
}

enum status bandwidth_measure(struct device *device, struct programs *programs, double *bytes_per_second,
                              struct error *err)
{
    if (device->info.is_cpu) {
        *bytes_per_second = measure_host();
        return STATUS_OK;
    }
    struct probe probe = {0};
    enum status status = prepare(device, programs, &probe, err);
    *bytes_per_second = 0;
    for (int i = 0; i < RUNS && status == STATUS_OK; i++) {
        double start = seconds();
        status = submit_and_wait(device, probe.commands, err);
        double rate = (double)probe.source.size * GPU_PASSES / (seconds() - start);
        *bytes_per_second = rate > *bytes_per_second ? rate : *bytes_per_second;
    }
    commands_free(device, probe.commands);
    if (probe.pool) {
        vkDestroyDescriptorPool(device->handle, probe.pool, NULL);
    }
    gpu_buffer_destroy(device, &probe.source);
    gpu_buffer_destroy(device, &probe.result);
    return status;
}
