#include "engine/program/reflect.h"

#include <spirv_cross_c.h>
#include <string.h>

static enum status refuse(const struct program_key *key, struct error *err, const char *what, size_t found,
                          size_t expected)
{
    return error_set(err, STATUS_BAD_INPUT, key->shader, NULL, ERROR_NO_OFFSET, "%s: %zu in the shader, %zu expected",
                     what, found, expected);
}

static enum status unsound(const struct program_key *key, spvc_context context, struct error *err)
{
    return error_set(err, STATUS_BAD_INPUT, key->shader, NULL, ERROR_NO_OFFSET, "SPIR-V is not sound: %s",
                     spvc_context_get_last_error_string(context));
}

/* The storage buffers must be bindings 0 … n_bindings - 1 of set 0: all of them and no other. */
static enum status check_bindings(const struct program_key *key, spvc_compiler compiler,
                                  const spvc_reflected_resource *buffers, size_t n_buffers, struct error *err)
{
    uint32_t seen = 0, n_declared = 0;
    /* A block named Wide… shares the binding of another block, to read the same bytes as vectors. It is not counted. */
    for (size_t i = 0; i < n_buffers; i++) {
        n_declared += strncmp(buffers[i].name, "Wide", 4) != 0;
    }
    if (n_declared != key->n_bindings) {
        return refuse(key, err, "storage buffers", n_declared, key->n_bindings);
    }
    for (size_t i = 0; i < n_buffers; i++) {
        unsigned set = spvc_compiler_get_decoration(compiler, buffers[i].id, SpvDecorationDescriptorSet);
        unsigned binding = spvc_compiler_get_decoration(compiler, buffers[i].id, SpvDecorationBinding);
        if (set != 0) {
            return refuse(key, err, "descriptor set", set, 0);
        }
        if (binding >= key->n_bindings) {
            return refuse(key, err, "binding", binding, key->n_bindings - 1);
        }
        if (strncmp(buffers[i].name, "Wide", 4) == 0) {
            continue;
        }
        if (seen & 1u << binding) {
            return refuse(key, err, "storage buffers at one binding", 2, 1);
        }
        seen |= 1u << binding;
    }
    return STATUS_OK;
}

static enum status check_push(const struct program_key *key, spvc_compiler compiler,
                              const spvc_reflected_resource *blocks, size_t n_blocks, struct error *err)
{
    if (n_blocks != 1) {
        return refuse(key, err, "push constant blocks", n_blocks, 1);
    }
    size_t size = 0;
    spvc_type type = spvc_compiler_get_type_handle(compiler, blocks[0].base_type_id);
    if (spvc_compiler_get_declared_struct_size(compiler, type, &size) != SPVC_SUCCESS) {
        return refuse(key, err, "push constant bytes", 0, key->n_push);
    }
    return size == key->n_push ? STATUS_OK : refuse(key, err, "push constant bytes", size, key->n_push);
}

static enum status check_resources(const struct program_key *key, spvc_context context, spvc_compiler compiler,
                                   struct error *err)
{
    static const spvc_resource_type others[] = {
        SPVC_RESOURCE_TYPE_UNIFORM_BUFFER, SPVC_RESOURCE_TYPE_STORAGE_IMAGE,     SPVC_RESOURCE_TYPE_SAMPLED_IMAGE,
        SPVC_RESOURCE_TYPE_SEPARATE_IMAGE, SPVC_RESOURCE_TYPE_SEPARATE_SAMPLERS,
    };
    spvc_resources resources;
    const spvc_reflected_resource *list;
    size_t n;
    if (spvc_compiler_create_shader_resources(compiler, &resources) != SPVC_SUCCESS) {
        return unsound(key, context, err);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (spvc_resources_get_resource_list_for_type(resources, others[i], &list, &n) != SPVC_SUCCESS) {
            return unsound(key, context, err);
        }
        if (n != 0) {
            return refuse(key, err, "resources other than storage buffers", n, 0);
        }
    }
    if (spvc_resources_get_resource_list_for_type(resources, SPVC_RESOURCE_TYPE_STORAGE_BUFFER, &list, &n) !=
        SPVC_SUCCESS) {
        return unsound(key, context, err);
    }
    TRY(check_bindings(key, compiler, list, n, err));
    if (spvc_resources_get_resource_list_for_type(resources, SPVC_RESOURCE_TYPE_PUSH_CONSTANT, &list, &n) !=
        SPVC_SUCCESS) {
        return unsound(key, context, err);
    }
    return check_push(key, compiler, list, n, err);
}

enum status reflect_check(const struct program_key *key, const uint32_t *words, size_t n_bytes, struct error *err)
{
    spvc_context context;
    if (spvc_context_create(&context) != SPVC_SUCCESS) {
        return error_set(err, STATUS_IO, key->shader, NULL, ERROR_NO_OFFSET, "out of memory");
    }
    spvc_parsed_ir ir;
    spvc_compiler compiler;
    enum status status;
    if (n_bytes % 4 != 0 || spvc_context_parse_spirv(context, words, n_bytes / 4, &ir) != SPVC_SUCCESS ||
        spvc_context_create_compiler(context, SPVC_BACKEND_NONE, ir, SPVC_CAPTURE_MODE_TAKE_OWNERSHIP, &compiler) !=
            SPVC_SUCCESS) {
        status = unsound(key, context, err);
    } else if (spvc_compiler_get_execution_model(compiler) != SpvExecutionModelGLCompute) {
        status = refuse(key, err, "execution model", spvc_compiler_get_execution_model(compiler),
                        SpvExecutionModelGLCompute);
    } else {
        status = check_resources(key, context, compiler, err);
    }
    spvc_context_destroy(context);
    return status;
}
