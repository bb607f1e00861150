#include "engine/recording/descriptor_sets.h"

/* Creates the set of a dispatch whose batch lies in `place`. */
static enum status create_set(const struct dispatch *dispatch, const struct shape *shape, uint32_t place,
                              VkDescriptorSet *set, struct error *err)
{
    const struct buffers *buffers = shape->buffers;
    VkDevice device = buffers->device->handle;
    VkDescriptorSetAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = shape->pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &dispatch->program->set_layout,
    };
    VK_TRY(err, vkAllocateDescriptorSets(device, &allocate, set));
    VkDescriptorBufferInfo infos[VULKAN_MAX_BINDINGS];
    for (uint32_t k = 0; k < dispatch->program->key.n_bindings; k++) {
        const struct binding *binding = &dispatch->bindings[k];
        VkDeviceSize skip = binding->buffer == buffers->arena.handle ? place * buffers->ring_stride : 0;
        infos[k] = (VkDescriptorBufferInfo){binding->buffer, binding->offset + skip, binding->range};
    }
    VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = *set,
        .descriptorCount = dispatch->program->key.n_bindings, /* consecutive bindings of one type */
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = infos,
    };
    vkUpdateDescriptorSets(device, 1, &write, 0, NULL);
    return STATUS_OK;
}

enum status descriptor_sets_create(struct shape *shape, struct error *err)
{
    VkDevice device = shape->buffers->device->handle;
    uint32_t n_dispatches = shape->schedule.n_dispatches, n = shape->n_places * n_dispatches;
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, n * VULKAN_MAX_BINDINGS};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = n,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VK_TRY(err, vkCreateDescriptorPool(device, &pool, NULL, &shape->pool));
    shape->sets = xcalloc(n, sizeof(VkDescriptorSet));
    for (uint32_t i = 0; i < n; i++) {
        TRY(create_set(&shape->schedule.dispatches[i % n_dispatches], shape, i / n_dispatches, &shape->sets[i], err));
    }
    return STATUS_OK;
}
