#include "engine/device/memory.h"

#include <stdlib.h>
#include <string.h>

#define STAGING_BYTES (32ull << 20)

/* The first memory type among `types` that has all of `flags`, or UINT32_MAX. */
static uint32_t find_type(const struct device *device, uint32_t types, VkMemoryPropertyFlags flags)
{
    for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
        if (types & 1u << i && (device->memory.memoryTypes[i].propertyFlags & flags) == flags) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* Vulkan promises a host-visible coherent type and a device-local one; the rest is preference. */
static uint32_t choose_type(const struct device *device, uint32_t types, enum memory_kind kind)
{
    const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = UINT32_MAX;
    if (kind == MEMORY_DEVICE || kind == MEMORY_ARENA) {
        type = find_type(device, types, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    }
    if (kind == MEMORY_READBACK) {
        type = find_type(device, types, host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    }
    if (kind == MEMORY_UPLOAD || (kind == MEMORY_READBACK && type == UINT32_MAX)) {
        type = find_type(device, types, host);
    }
    return type == UINT32_MAX ? find_type(device, types, 0) : type;
}

static enum status create(struct device *device, VkDeviceSize size, enum memory_kind kind, struct gpu_buffer *buffer,
                          struct error *err)
{
    const uint32_t families[2] = {device->compute.family, device->copies.family};
    bool shared = families[0] != families[1] && (kind == MEMORY_ARENA || kind == MEMORY_READBACK);
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage =
            VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = shared ? VK_SHARING_MODE_CONCURRENT : VK_SHARING_MODE_EXCLUSIVE,
        .queueFamilyIndexCount = shared ? 2 : 0,
        .pQueueFamilyIndices = families,
    };
    VK_TRY(err, vkCreateBuffer(device->handle, &info, NULL, &buffer->handle));
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
    VkMemoryAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = needs.size,
        .memoryTypeIndex = choose_type(device, needs.memoryTypeBits, kind),
    };
    VkResult result = vkAllocateMemory(device->handle, &allocate, NULL, &buffer->memory);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY) {
        return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET, "%s: out of memory: %llu bytes were needed",
                         device->info.name, (unsigned long long)size);
    }
    VK_TRY(err, result);
    buffer->allocated = needs.size;
    device->allocated += needs.size;
    if (device->allocated > device->most_allocated) {
        device->most_allocated = device->allocated;
    }
    VK_TRY(err, vkBindBufferMemory(device->handle, buffer->handle, buffer->memory, 0));
    if (kind == MEMORY_UPLOAD || kind == MEMORY_READBACK) {
        VK_TRY(err, vkMapMemory(device->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped));
    }
    return STATUS_OK;
}

enum status gpu_buffer_create(struct device *device, VkDeviceSize size, enum memory_kind kind,
                              struct gpu_buffer *buffer, struct error *err)
{
    *buffer = (struct gpu_buffer){.size = size};
    enum status status = create(device, size, kind, buffer, err);
    if (status != STATUS_OK) {
        gpu_buffer_destroy(device, buffer);
    }
    return status;
}

void gpu_buffer_destroy(struct device *device, struct gpu_buffer *buffer)
{
    if (buffer->handle) {
        vkDestroyBuffer(device->handle, buffer->handle, NULL);
    }
    if (buffer->memory) {
        vkFreeMemory(device->handle, buffer->memory, NULL); /* unmaps as well */
    }
    device->allocated -= buffer->allocated;
    *buffer = (struct gpu_buffer){0};
}

enum status gpu_buffer_fill(struct device *device, const struct gpu_buffer *buffer, uint32_t word, struct error *err)
{
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = device_commands_begin(device, true, &commands, err);
    if (status == STATUS_OK) {
        vkCmdFillBuffer(commands, buffer->handle, 0, VK_WHOLE_SIZE, word);
        VkResult result = vkEndCommandBuffer(commands);
        status =
            result == VK_SUCCESS ? device_run(device, commands, err) : vulkan_failed(err, result, "vkEndCommandBuffer");
    }
    device_commands_free(device, commands);
    return status;
}

/* One stretch of bytes, small enough for the staging buffer. */
static enum status upload_part(struct device *device, const struct gpu_buffer *staging, const struct upload *upload,
                               VkDeviceSize from, VkDeviceSize n_bytes, struct error *err)
{
    if (upload->grouped) {
        groups_copy(upload->tensor, from / groups_row_bytes(upload->tensor), n_bytes / groups_row_bytes(upload->tensor),
                    staging->mapped);
    } else if (upload->tensor) {
        tensor_copy(upload->tensor, from, n_bytes, staging->mapped);
    } else {
        memcpy(staging->mapped, (const uint8_t *)upload->bytes + from, n_bytes);
    }
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = device_commands_begin(device, true, &commands, err);
    if (status == STATUS_OK) {
        VkBufferCopy region = {.dstOffset = upload->offset + from, .size = n_bytes};
        vkCmdCopyBuffer(commands, staging->handle, upload->to->handle, 1, &region);
        VkResult result = vkEndCommandBuffer(commands);
        status =
            result == VK_SUCCESS ? device_run(device, commands, err) : vulkan_failed(err, result, "vkEndCommandBuffer");
    }
    device_commands_free(device, commands);
    return status;
}

enum status memory_upload(struct device *device, const struct upload *uploads, uint32_t n_uploads, struct error *err)
{
    struct gpu_buffer staging;
    VkDeviceSize largest = 4;
    for (uint32_t i = 0; i < n_uploads; i++) {
        largest = uploads[i].n_bytes > largest ? uploads[i].n_bytes : largest;
    }
    largest = largest < STAGING_BYTES ? largest : STAGING_BYTES;
    TRY(gpu_buffer_create(device, largest, MEMORY_UPLOAD, &staging, err));
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < n_uploads && status == STATUS_OK; i++) {
        VkDeviceSize most = largest;
        if (uploads[i].grouped) { /* whole rows */
            most = largest / groups_row_bytes(uploads[i].tensor) * groups_row_bytes(uploads[i].tensor);
        }
        for (VkDeviceSize from = 0; from < uploads[i].n_bytes && status == STATUS_OK; from += most) {
            VkDeviceSize rest = uploads[i].n_bytes - from;
            status = upload_part(device, &staging, &uploads[i], from, rest < most ? rest : most, err);
        }
    }
    gpu_buffer_destroy(device, &staging);
    return status;
}
