#include "engine/program/program.h"

#include <stdlib.h>
#include <string.h>

#include "engine/program/compile.h"
#include "engine/program/embedded_shaders.h"
#include "engine/program/matrix_types.h"
#include "engine/program/pipeline_cache.h"
#include "engine/program/prune.h"
#include "engine/program/reflect.h"
#include "model/stop.h"
#include "model/variants.h"
#include "shaders/params.h"

void programs_open(struct programs *programs, struct device *device, const char *shader_dir)
{
    *programs = (struct programs){.device = device, .cache = pipeline_cache_load(device)};
    if (shader_dir) {
        size_t size = strlen(shader_dir) + 1;
        programs->shader_dir = xmalloc(size);
        memcpy(programs->shader_dir, shader_dir, size);
    }
}

static void program_free(struct program *program, VkDevice device)
{
    vkDestroyPipeline(device, program->pipeline, NULL);
    vkDestroyPipelineLayout(device, program->layout, NULL);
    vkDestroyDescriptorSetLayout(device, program->set_layout, NULL);
    free(program);
}

void programs_close(struct programs *programs)
{
    if (!programs->device) {
        return;
    }
    for (uint32_t i = 0; i < programs->n_items; i++) {
        program_free(programs->items[i], programs->device->handle);
    }
    if (programs->cache) {
        pipeline_cache_save(programs->device, programs->cache);
        vkDestroyPipelineCache(programs->device->handle, programs->cache, NULL);
    }
    free(programs->items);
    free(programs->shader_dir);
    *programs = (struct programs){0};
}

/* The SPIR-V that the compiler wrote for `shader`, which is the key's shader or its twin. *words is malloc'ed. */
static enum status load_compiled(const struct programs *programs, const struct program_key *key, const char *shader,
                                 uint32_t **words, size_t *n_bytes, struct error *err)
{
    bool edited = programs->shader_dir && !shader_is_unedited(shader, programs->shader_dir);
    if (key->variant != VARIANT_NONE || edited) {
        return shader_compile(shader, key->variant, programs->shader_dir, words, n_bytes, err);
    }
    for (const struct shader_binary *binary = shader_binaries; binary->name; binary++) {
        if (strcmp(binary->name, shader) == 0) {
            *n_bytes = binary->n_bytes;
            *words = xmalloc(binary->n_bytes);
            memcpy(*words, binary->words, binary->n_bytes);
            return STATUS_OK;
        }
    }
    ASSERT(!"every op has a shader");
    return STATUS_BAD_INPUT;
}

/* The same, with the types of cooperative matrices completed, as devices expect it. */
static enum status load_words(const struct programs *programs, const struct program_key *key, const char *shader,
                              uint32_t **words, size_t *n_bytes, struct error *err)
{
    TRY(load_compiled(programs, key, shader, words, n_bytes, err));
    enum status status = matrix_types_resolve(shader, words, n_bytes, err);
    if (status != STATUS_OK) {
        free(*words);
    }
    return status;
}

static enum status create_layouts(struct program *program, VkDevice device, struct error *err)
{
    VkDescriptorSetLayoutBinding bindings[VULKAN_MAX_BINDINGS];
    ASSERT(program->key.n_bindings <= VULKAN_MAX_BINDINGS);
    for (uint32_t i = 0; i < program->key.n_bindings; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    }
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = program->key.n_bindings,
        .pBindings = bindings,
    };
    VK_TRY(err, vkCreateDescriptorSetLayout(device, &set, NULL, &program->set_layout));
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = program->key.n_push};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &program->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push,
    };
    VK_TRY(err, vkCreatePipelineLayout(device, &layout, NULL, &program->layout));
    return STATUS_OK;
}

#define N_CONSTANTS (sizeof(struct program_constants) / sizeof(uint32_t))

/* Prunes the SPIR-V, in place, and makes the pipeline of it. */
static enum status create_pipeline(struct program *program, VkDevice device, VkPipelineCache cache, uint32_t **words,
                                   size_t *n_bytes, struct error *err)
{
    prune(words, n_bytes, (const uint32_t *)&program->key.constants, N_CONSTANTS);
    VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = *n_bytes, .pCode = *words};
    VkShaderModule module;
    VK_TRY(err, vkCreateShaderModule(device, &module_info, NULL, &module));
    VkSpecializationMapEntry entries[N_CONSTANTS];
    for (uint32_t i = 0; i < N_CONSTANTS; i++) {
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = i * 4, .size = 4};
    }
    VkSpecializationInfo constants = {
        .mapEntryCount = N_CONSTANTS,
        .pMapEntries = entries,
        .dataSize = sizeof(program->key.constants),
        .pData = &program->key.constants,
    };
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = program->key.subgroup};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = program->statistics ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = program->key.subgroup ? &subgroup : NULL,
                  .flags = program->key.subgroup ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = program->layout,
    };
    VkResult result = vkCreateComputePipelines(device, cache, 1, &info, NULL, &program->pipeline);
    vkDestroyShaderModule(device, module, NULL);
    VK_TRY(err, result);
    return STATUS_OK;
}

static enum status check(const struct programs *programs, const struct program_key *key, const uint32_t *words,
                         size_t n_bytes, struct error *err)
{
    if (!key->twin) {
        return reflect_check(key, words, n_bytes, err);
    }
    uint32_t *twin = NULL;
    size_t n_twin = 0;
    TRY(load_words(programs, key, key->twin, &twin, &n_twin, err));
    enum status status = reflect_check(key, twin, n_twin, err);
    free(twin);
    return status;
}

/* FNV-1a. */
static uint64_t hash_of(const uint32_t *words, size_t n_bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n_bytes / sizeof(*words); i++) {
        hash = (hash ^ words[i]) * 0x100000001b3u;
    }
    return hash;
}

static enum status create(struct programs *programs, struct program *program, struct error *err)
{
    uint32_t *words = NULL;
    size_t n_bytes = 0;
    TRY(load_words(programs, &program->key, program->key.shader, &words, &n_bytes, err));
    VkDevice device = programs->device->handle;
    enum status status = check(programs, &program->key, words, n_bytes, err);
    program->code = hash_of(words, n_bytes);
    if (status == STATUS_OK) {
        status = create_layouts(program, device, err);
    }
    if (status == STATUS_OK) {
        status = create_pipeline(program, device, programs->cache, &words, &n_bytes, err);
    }
    free(words);
    return status;
}

static bool same_key(const struct program_key *a, const struct program_key *b)
{
    return strcmp(a->shader, b->shader) == 0 && a->variant == b->variant && a->n_bindings == b->n_bindings &&
           a->n_push == b->n_push && a->subgroup == b->subgroup &&
           memcmp(&a->constants, &b->constants, sizeof(a->constants)) == 0;
}

enum status programs_get(struct programs *programs, const struct program_key *key, const struct program **program,
                         struct error *err)
{
    for (uint32_t i = 0; i < programs->n_items; i++) {
        if (same_key(&programs->items[i]->key, key)) {
            *program = programs->items[i];
            return STATUS_OK;
        }
    }
    TRY(stop_check(err)); /* a driver may take seconds to compile the programs of a shape */
    struct program *made = xcalloc(1, sizeof(*made));
    made->key = *key;
    made->statistics = programs->device->statistics;
    enum status status = create(programs, made, err);
    if (status != STATUS_OK) {
        program_free(made, programs->device->handle);
        return status;
    }
    programs->items = xrealloc(programs->items, (programs->n_items + 1) * sizeof(struct program *));
    programs->items[programs->n_items++] = made;
    *program = made;
    return STATUS_OK;
}

/* Makes the pipeline of a program's present source, if that is another one. fresh: receives its pipeline and code;
 * pipeline NULL: nothing changed. */
static enum status recreate(const struct programs *programs, const struct program *program, struct program *fresh,
                            struct error *err)
{
    uint32_t *words = NULL;
    size_t n_bytes = 0;
    *fresh = *program;
    fresh->pipeline = NULL;
    TRY(stop_check(err));
    TRY(load_words(programs, &program->key, program->key.shader, &words, &n_bytes, err));
    enum status status = STATUS_OK;
    fresh->code = hash_of(words, n_bytes);
    if (fresh->code != program->code) {
        status = check(programs, &program->key, words, n_bytes, err);
        if (status == STATUS_OK) {
            status = create_pipeline(fresh, programs->device->handle, programs->cache, &words, &n_bytes, err);
        }
    }
    free(words);
    return status;
}

enum status programs_reload(struct programs *programs, const char *shader_dir, struct error *err)
{
    VkDevice device = programs->device->handle;
    struct program *fresh = xcalloc(programs->n_items, sizeof(*fresh));
    char *before = programs->shader_dir;
    enum status status = STATUS_OK;
    programs->shader_dir = xstrdup(shader_dir);
    for (uint32_t i = 0; i < programs->n_items && status == STATUS_OK; i++) {
        status = recreate(programs, programs->items[i], &fresh[i], err);
    }
    for (uint32_t i = 0; i < programs->n_items; i++) {
        if (fresh[i].pipeline == NULL) {
            continue;
        }
        struct program *program = programs->items[i];
        VkPipeline unused = status == STATUS_OK ? program->pipeline : fresh[i].pipeline;
        vkDestroyPipeline(device, unused, NULL);
        if (status == STATUS_OK) {
            program->pipeline = fresh[i].pipeline;
            program->code = fresh[i].code;
        }
    }
    free(status == STATUS_OK ? before : programs->shader_dir);
    programs->shader_dir = status == STATUS_OK ? programs->shader_dir : before;
    free(fresh);
    return status;
}
