/* The list of devices, the choice among them, and a machine without any. */
#include <unistd.h>

#include "engine/device/device_list.h"
#include "tests/engine/engine_fixture.h"

static struct device_info device(const char *name, bool usable, bool chosen)
{
    struct device_info info = {.usable = usable, .chosen = chosen};
    snprintf(info.name, sizeof(info.name), "%s", name);
    return info;
}

static void choice(void **state)
{
    (void)state;
    struct error err;
    uint32_t chosen = 99;
    struct device_info infos[] = {device("llvmpipe (LLVM 15)", true, false), device("NVIDIA H200", true, true),
                                  device("Old GPU", false, false)};
    assert_int_equal(device_list_choose(infos, 3, NULL, &chosen, &err), STATUS_OK);
    assert_int_equal(chosen, 1);
    assert_int_equal(device_list_choose(infos, 3, "0", &chosen, &err), STATUS_OK);
    assert_int_equal(chosen, 0);
    assert_int_equal(device_list_choose(infos, 3, "LLVMpipe", &chosen, &err), STATUS_OK);
    assert_int_equal(chosen, 0);
    assert_int_equal(device_list_choose(infos, 3, "h200", &chosen, &err), STATUS_OK);
    assert_int_equal(chosen, 1);
    /* A device that is absent or unusable is never replaced by another one. */
    assert_int_equal(device_list_choose(infos, 3, "3", &chosen, &err), STATUS_ABSENT);
    assert_int_equal(device_list_choose(infos, 3, "radeon", &chosen, &err), STATUS_ABSENT);
    assert_int_equal(device_list_choose(infos, 3, "old", &chosen, &err), STATUS_ABSENT);
    assert_non_null(strstr(err.text, "Old GPU"));
    assert_int_equal(device_list_choose(infos + 2, 1, NULL, &chosen, &err), STATUS_ABSENT);
}

static void the_machines_own_devices(void **state)
{
    (void)state;
    struct error err;
    struct device_info *infos = NULL;
    uint32_t n = 0, n_chosen = 0;
    must(engine_devices(&infos, &n, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(infos[i].index, i);
        assert_true(infos[i].name[0] && infos[i].driver[0] && infos[i].memory > 0);
        n_chosen += infos[i].chosen;
    }
    assert_int_equal(n_chosen, 1);
    free(infos);
}

static void no_driver_is_absent(void **state)
{
    (void)state;
    struct error err;
    struct device_info *infos = NULL;
    uint32_t n = 0;
    struct fixture f;
    fixture_init(&f, 4);
    fixture_input(&f, 3);
    static const char *const names[] = {"VK_ICD_FILENAMES",
                                        "VK_DRIVER_FILES"}; /* the loader's old variable and its new one */
    char *before[2];
    for (int i = 0; i < 2; i++) {
        before[i] = getenv(names[i]) ? strdup(getenv(names[i])) : NULL;
        setenv(names[i], "/nonexistent.json", 1);
    }
    assert_int_equal(engine_devices(&infos, &n, &err), STATUS_ABSENT);
    assert_non_null(strstr(err.text, "Vulkan"));
    assert_int_equal(engine_open(&f.engine, &f.plan, &(struct engine_options){0}, &err), STATUS_ABSENT);
    assert_null(f.engine.ops);
    for (int i = 0; i < 2; i++) {
        if (before[i]) {
            setenv(names[i], before[i], 1);
        } else {
            unsetenv(names[i]);
        }
        free(before[i]);
    }
    fixture_close(&f);
}

static void a_device_that_is_not_there_is_absent(void **state)
{
    (void)state;
    struct error err;
    struct fixture f;
    fixture_init(&f, 4);
    fixture_input(&f, 3);
    assert_int_equal(engine_open(&f.engine, &f.plan, &(struct engine_options){.device = "no such device"}, &err),
                     STATUS_ABSENT);
    fixture_close(&f);
}

/* A message of the validation layers is a failure. This is the twin of every test that runs with them. */
static void a_validation_message_fails_the_call(void **state)
{
    (void)state;
    struct error err;
    struct fixture f;
    fixture_init(&f, 4);
    fixture_input(&f, 3);
    fixture_open(&f, &(struct engine_limits){0}, false);
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = 0};
    VkBuffer buffer = VK_NULL_HANDLE;
    struct device *vulkan = engine_vulkan(&f.engine);
    (void)vkCreateBuffer(vulkan->handle, &info, NULL, &buffer);
    vkDestroyBuffer(vulkan->handle, buffer, NULL);
    struct batch batch = {0, 1, f.tokens, true};
    assert_int_equal(f.engine.ops->begin(&f.engine, &batch, &err), STATUS_DEVICE);
    assert_non_null(strstr(err.text, "validation"));
    must(f.engine.ops->begin(&f.engine, &batch, &err), &err);
    fixture_close(&f);
}

/* An engine can be opened any number of times. */
static void the_driver_stays_loaded(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        struct error err;
        struct device device = {0};
        must(device_open(&device, NULL, i % 2, &err), &err);
        device_close(&device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_driver_is_absent), /* runs first, because a driver stays loaded once it was found */
        cmocka_unit_test(choice),
        cmocka_unit_test(the_machines_own_devices),
        cmocka_unit_test(a_device_that_is_not_there_is_absent),
        cmocka_unit_test(the_driver_stays_loaded),
        cmocka_unit_test(a_validation_message_fails_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
