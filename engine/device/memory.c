#include "engine/device/memory.h"

#include "engine/device/submit.h"

/* The first memory type of the bit set `types` that has all of `flags`; UINT32_MAX: none. */
static uint32_t find_type(const struct device *device, uint32_t types, VkMemoryPropertyFlags flags)
{
    for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
        if (types & 1u << i && (device->memory.memoryTypes[i].propertyFlags & flags) == flags) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* Vulkan guarantees a host-visible coherent type and a device-local one. Everything else is a preference. */
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
        vkFreeMemory(device->handle, buffer->memory, NULL); /* also unmaps it */
    }
    device->allocated -= buffer->allocated;
    *buffer = (struct gpu_buffer){0};
}

/* Ends recording, runs the commands, waits and frees them. status: of the recording so far. */
static enum status run_commands(struct device *device, VkCommandBuffer commands, enum status status, struct error *err)
{
    if (status == STATUS_OK) {
        VkResult result = vkEndCommandBuffer(commands);
        status = result == VK_SUCCESS ? submit_and_wait(device, commands, err)
                                      : vulkan_failed(err, result, "vkEndCommandBuffer");
    }
    commands_free(device, commands);
    return status;
}

enum status gpu_buffer_fill(struct device *device, const struct gpu_buffer *buffer, uint32_t word, struct error *err)
{
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = commands_begin(device, true, &commands, err);
    if (status == STATUS_OK) {
        vkCmdFillBuffer(commands, buffer->handle, 0, VK_WHOLE_SIZE, word);
    }
    return run_commands(device, commands, status, err);
}

enum status gpu_buffer_copy(struct device *device, const struct gpu_buffer *from, const struct gpu_buffer *to,
                            VkDeviceSize offset, VkDeviceSize n_bytes, struct error *err)
{
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = commands_begin(device, true, &commands, err);
    if (status == STATUS_OK) {
        VkBufferCopy region = {.dstOffset = offset, .size = n_bytes};
        vkCmdCopyBuffer(commands, from->handle, to->handle, 1, &region);
    }
    return run_commands(device, commands, status, err);
}
