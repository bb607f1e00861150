/* SPIR-V without what its specialisation constants never let run: it is valid (the validation layer reads every
 * module), and has exactly the functions that may be called. What it computes is what all other tests of the engine
 * compare. */
#include "engine/program/prune.h"

#include "engine/device/device.h"
#include "engine/program/compile.h"
#include "engine/program/embedded_shaders.h"
#include "engine/program/program_key.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/scratch.h"

#define N_CONSTANTS (sizeof(struct program_constants) / sizeof(uint32_t))

static struct device device;

static int open_device(void **state)
{
    (void)state;
    struct error err;
    must(device_open(&device, NULL, true, &err), &err);
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    device_close(&device);
    return 0;
}

struct spirv {
    uint32_t *words;
    size_t n_bytes;
};

static struct spirv copy_of(const uint32_t *words, size_t n_bytes)
{
    struct spirv copy = {xmalloc(n_bytes), n_bytes};
    memcpy(copy.words, words, n_bytes);
    return copy;
}

static bool is_valid(const struct spirv *spirv)
{
    struct error err;
    VkShaderModule module = VK_NULL_HANDLE;
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = spirv->n_bytes, .pCode = spirv->words};
    VkResult result = vkCreateShaderModule(device.handle, &info, NULL, &module);
    vkDestroyShaderModule(device.handle, module, NULL);
    return device_check_validation(&device, &err) == STATUS_OK && result == VK_SUCCESS;
}

/* Whether SPIR-V names a function NAME(…. */
static bool has_function(const struct spirv *spirv, const char *name)
{
    char text[64];
    size_t n = (size_t)snprintf(text, sizeof(text), "%s(", name);
    const char *bytes = (const char *)spirv->words;
    for (size_t at = 0; at + n <= spirv->n_bytes; at += 4) { /* strings start at a word */
        if (memcmp(bytes + at, text, n) == 0) {
            return true;
        }
    }
    return false;
}

static const struct shader_binary *binary(const char *name)
{
    const struct shader_binary *b = shader_binaries;
    while (b->name && strcmp(b->name, name) != 0) {
        b++;
    }
    assert_non_null(b->name);
    return b;
}

/* The decoder of the pipeline's format stays and no other. The twin: unpruned, all of them are there. */
static void only_the_chosen_format_stays(void **state)
{
    (void)state;
    const struct shader_binary *matmul = binary("matmul");
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        struct program_constants constants = {.local_size = 64, .dtype = dtype, .tile = 1, .rows = 1};
        struct spirv all = copy_of(matmul->words, matmul->n_bytes), some = copy_of(matmul->words, matmul->n_bytes);
        prune(&some.words, &some.n_bytes, (const uint32_t *)&constants, N_CONSTANTS);
        assert_true(some.n_bytes < all.n_bytes * 2 / 3);
        for (uint32_t other = 0; other < DTYPE_COUNT; other++) {
            char decoder[64];
            snprintf(decoder, sizeof(decoder), "decode_%s", dtype_info(other)->name);
            assert_true(has_function(&all, decoder));
            assert_int_equal(has_function(&some, decoder), other == dtype);
        }
        free(all.words);
        free(some.words);
    }
}

/* A value for each constant, in several combinations. */
static struct program_constants constants_of(uint32_t dtype, uint32_t round)
{
    uint32_t on = round & 1, code = round % 3;
    return (struct program_constants){64,   on, dtype, code, 1 + 3 * on, 64, 1 + on, code, on, on,   on,   code,
                                      code, on, 64,    8,    1,          on, 1,      on,   1,  code, code, 4};
}

static void every_shader_is_valid(void **state)
{
    (void)state;
    for (const struct shader_binary *b = shader_binaries; b->name; b++) {
        if (strstr(b->name, "_coop")) {
            continue; /* the layer may not know their extension; they stay as they are (below) */
        }
        for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
            struct program_constants constants = constants_of(dtype, dtype);
            struct spirv spirv = copy_of(b->words, b->n_bytes);
            prune(&spirv.words, &spirv.n_bytes, (const uint32_t *)&constants, N_CONSTANTS);
            if (!is_valid(&spirv)) {
                fail_msg("%s, %s: not valid", b->name, dtype_info(dtype)->name);
            }
            free(spirv.words);
        }
    }
}

/* The twin: the layer finds a module whose last block has lost its end. */
static void an_invalid_module_is_found(void **state)
{
    (void)state;
    const struct shader_binary *add = binary("add");
    struct spirv spirv = copy_of(add->words, add->n_bytes);
    assert_true(is_valid(&spirv));
    size_t last = spirv.n_bytes / 4 - 1; /* OpFunctionEnd */
    spirv.words[last - 1] = spirv.words[last];
    spirv.n_bytes -= 4;
    assert_false(is_valid(&spirv));
    free(spirv.words);
}

static const char flow[] = "#version 450\n"
                           "layout(local_size_x = 1) in;\n"
                           "layout(constant_id = 0) const uint A = 0;\n"
                           "layout(constant_id = 1) const uint B = 0;\n"
                           "layout(set = 0, binding = 0) buffer Y { float y[]; };\n"
                           "float in_loop(float x) { return x * y[2]; }\n"
                           "float behind_return(float x) { return x + y[3]; }\n"
                           "float chosen(float x) { y[4] = x; return x; }\n"
                           "float other(float x) { y[5] = x; return x; }\n"
                           "float at_end(float x) { return x - y[6]; }\n"
                           "void main() {\n"
                           "    float x = y[0];\n"
                           "    for (uint i = 0; i < 4; i++) {\n"
                           "        if (A == 1) break;\n" /* nothing reaches the continue target */
                           "        if (B == 1 && y[i] > 1.0) continue;\n"
                           "        x = in_loop(x);\n"
                           "    }\n"
                           "    if (x > 0.0) {\n"
                           "        if (B != 0) return;\n" /* nothing reaches the merge block of the outer selection */
                           "        x = behind_return(x);\n"
                           "    } else {\n"
                           "        return;\n"
                           "    }\n"
                           "    x += A == 2 ? chosen(x) : other(x);\n"
                           "    SWITCH\n"
                           "    y[1] = at_end(x);\n"
                           "}\n";

static struct spirv compiled_flow(const char *last)
{
    char folder[256], path[300];
    struct error err;
    struct spirv spirv;
    scratch_make(folder);
    snprintf(path, sizeof(path), "%s/flow.comp", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    const char *place = strstr(flow, "SWITCH");
    fprintf(file, "%.*s%s%s", (int)(place - flow), flow, last, place + strlen("SWITCH"));
    assert_int_equal(fclose(file), 0);
    must(shader_compile("flow", VARIANT_NONE, folder, &spirv.words, &spirv.n_bytes, &err), &err);
    scratch_remove(folder);
    return spirv;
}

/* Loops that end at once, selections that nothing leaves, and conditions that are known only in part. */
static void what_cannot_run_is_gone(void **state)
{
    (void)state;
    for (uint32_t a = 0; a < 3; a++) {
        for (uint32_t b = 0; b < 3; b++) {
            struct spirv spirv = compiled_flow("");
            uint32_t constants[] = {a, b};
            prune(&spirv.words, &spirv.n_bytes, constants, 2);
            if (!is_valid(&spirv)) {
                fail_msg("A %u, B %u: not valid", a, b);
            }
            assert_int_equal(has_function(&spirv, "in_loop"), a != 1);
            assert_int_equal(has_function(&spirv, "behind_return"), b == 0);
            assert_int_equal(has_function(&spirv, "chosen"), b == 0 && a == 2);
            assert_int_equal(has_function(&spirv, "other"), b == 0 && a != 2);
            assert_int_equal(has_function(&spirv, "at_end"), b == 0);
            free(spirv.words);
        }
    }
}

static void expect_untouched(const uint32_t *words, size_t n_bytes)
{
    struct program_constants constants = constants_of(DTYPE_F32, 0);
    struct spirv spirv = copy_of(words, n_bytes);
    prune(&spirv.words, &spirv.n_bytes, (const uint32_t *)&constants, N_CONSTANTS);
    assert_int_equal(spirv.n_bytes, n_bytes);
    assert_memory_equal(spirv.words, words, n_bytes);
    free(spirv.words);
}

/* A switch, instructions of extensions, and modules that end too early. */
static void what_is_not_understood_stays(void **state)
{
    (void)state;
    struct spirv spirv = compiled_flow("switch (uint(x)) { case 1: y[7] = 1.0; break; case 2: y[8] = 1.0; }");
    assert_true(is_valid(&spirv));
    expect_untouched(spirv.words, spirv.n_bytes);
    free(spirv.words);
    expect_untouched(binary("matmul_coop")->words, binary("matmul_coop")->n_bytes);
    expect_untouched(binary("matmul_coop_nv")->words, binary("matmul_coop_nv")->n_bytes);
    const struct shader_binary *add = binary("add");
    expect_untouched(add->words, 0);
    expect_untouched(add->words, 20);
    expect_untouched(add->words, add->n_bytes - 5 * 4); /* in the middle of an instruction, or without an end */
    struct spirv broken = copy_of(add->words, add->n_bytes);
    broken.words[5] &= 0xffff; /* an instruction of no words */
    expect_untouched(broken.words, broken.n_bytes);
    broken.words[5] |= 0xffff0000u; /* one that ends behind the end */
    expect_untouched(broken.words, broken.n_bytes);
    free(broken.words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_chosen_format_stays), cmocka_unit_test(every_shader_is_valid),
        cmocka_unit_test(an_invalid_module_is_found),   cmocka_unit_test(what_cannot_run_is_gone),
        cmocka_unit_test(what_is_not_understood_stays),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
