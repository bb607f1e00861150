/* A driver that refuses a call: opening the engine ends with an error, and a pipeline cache is done without. These
 * functions stand in front of Vulkan's own for the whole program. */
#include <dlfcn.h>

#include "tests/engine/engine_fixture.h"
#include "tests/support/scratch.h"

static int refused = -1;        /* which call in turn fails; -1: none */
static int n_calls;             /* so far */
static int n_caches;            /* of them vkCreatePipelineCache */
static const char *refused_one; /* the name of the call that failed */

static bool refuses(const char *name)
{
    n_caches += strcmp(name, "vkCreatePipelineCache") == 0;
    if (n_calls++ != refused) {
        return false;
    }
    refused_one = name;
    return true;
}

#define STAND_BEFORE(name, parameters, ...)                                             \
    VkResult name parameters                                                            \
    {                                                                                   \
        VkResult(*driver) parameters = (VkResult(*) parameters)dlsym(RTLD_NEXT, #name); \
        return refuses(#name) ? VK_ERROR_OUT_OF_HOST_MEMORY : driver(__VA_ARGS__);      \
    }
#define STAND_BEFORE_CREATE(what)                                                                                    \
    STAND_BEFORE(                                                                                                    \
        vkCreate##what,                                                                                              \
        (VkDevice device, const Vk##what##CreateInfo *info, const VkAllocationCallbacks *allocator, Vk##what *made), \
        device, info, allocator, made)
#define STAND_BEFORE_ALLOCATE(what)                                                                                  \
    STAND_BEFORE(vkAllocate##what##s, (VkDevice device, const Vk##what##AllocateInfo *info, Vk##what *made), device, \
                 info, made)

STAND_BEFORE_CREATE(Buffer)
STAND_BEFORE_CREATE(CommandPool)
STAND_BEFORE_CREATE(DescriptorPool)
STAND_BEFORE_CREATE(DescriptorSetLayout)
STAND_BEFORE_CREATE(PipelineCache)
STAND_BEFORE_CREATE(PipelineLayout)
STAND_BEFORE_CREATE(QueryPool)
STAND_BEFORE_CREATE(Semaphore)
STAND_BEFORE_CREATE(ShaderModule)
STAND_BEFORE_ALLOCATE(CommandBuffer)
STAND_BEFORE_ALLOCATE(DescriptorSet)
STAND_BEFORE(vkAllocateMemory,
             (VkDevice device, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *allocator,
              VkDeviceMemory *made),
             device, info, allocator, made)
STAND_BEFORE(vkBindBufferMemory, (VkDevice device, VkBuffer buffer, VkDeviceMemory memory, VkDeviceSize offset), device,
             buffer, memory, offset)
STAND_BEFORE(vkMapMemory,
             (VkDevice device, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize size, VkMemoryMapFlags flags,
              void **at),
             device, memory, offset, size, flags, at)
STAND_BEFORE(vkCreateComputePipelines,
             (VkDevice device, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *info,
              const VkAllocationCallbacks *allocator, VkPipeline *made),
             device, cache, n, info, allocator, made)
STAND_BEFORE(vkCreateDevice,
             (VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *allocator,
              VkDevice *made),
             physical, info, allocator, made)
STAND_BEFORE(vkCreateInstance,
             (const VkInstanceCreateInfo *info, const VkAllocationCallbacks *allocator, VkInstance *made), info,
             allocator, made)

static void plan_of_one_addition(struct fixture *f)
{
    fixture_init(f, 4);
    int32_t a = (int32_t)fixture_input(f, 33), b = (int32_t)fixture_input(f, 33);
    uint32_t step = fixture_step(f, OP_add, 33, (union step_params){.add = {33}});
    f->plan.steps[step].input[0] = a;
    f->plan.steps[step].input[1] = b;
}

/* Opens the engine with the call of that number refused, and runs what opens. Returns whether there was such a call. */
static bool open_refused(int which, bool *opened)
{
    struct fixture f;
    struct error err = {STATUS_OK, ""};
    struct engine_options options = {.max_positions = 4, .max_rows = 4};
    plan_of_one_addition(&f);
    refused = which;
    n_calls = n_caches = 0;
    refused_one = "";
    enum status status = engine_open(&f.engine, &f.plan, &options, &err);
    refused = -1;
    *opened = status == STATUS_OK;
    if (*opened) {
        fixture_check(&f, 0, 1, true);
    } else if (err.text[0] == '\0' || strchr(err.text, '\n')) {
        fail_msg("%s refused: status %d without a line that says why", refused_one, (int)status);
    }
    fixture_close(&f);
    return refused_one[0] != '\0';
}

static void every_refusal_is_an_error(void **state)
{
    (void)state;
    bool opened, without_cache = false;
    int which = 0;
    for (; open_refused(which, &opened); which++) {
        bool is_cache = strcmp(refused_one, "vkCreatePipelineCache") == 0;
        /* An instance is asked for again without what the first one wanted. */
        if (opened != is_cache && strcmp(refused_one, "vkCreateInstance") != 0) {
            fail_msg("%s refused: the engine %s", refused_one, opened ? "opens" : "does not open");
        }
        without_cache = without_cache || (is_cache && opened);
    }
    assert_true(opened);
    assert_true(without_cache);
    assert_true(which > 10); /* the twin: calls do come by here */
}

/* A cache file that the driver cannot take leads to an empty cache. */
static void a_cache_is_tried_without_its_data(void **state)
{
    (void)state;
    char home[256];
    bool opened;
    int which = 0;
    scratch_make(home);
    setenv("XDG_CACHE_HOME", home, 1);
    assert_false(open_refused(10000, &opened)); /* makes the file */
    while (open_refused(which, &opened) && strcmp(refused_one, "vkCreatePipelineCache") != 0) {
        which++;
    }
    assert_string_equal(refused_one, "vkCreatePipelineCache");
    assert_true(opened);
    assert_int_equal(n_caches, 2); /* with the file's data, then without */
    unsetenv("XDG_CACHE_HOME");
    scratch_remove(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_is_an_error),
        cmocka_unit_test(a_cache_is_tried_without_its_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
