/* The C interface of glslang 12 has no callback for #include, so #include is expanded here. #line directives keep the
 * messages pointing to the right file and line. */
#include "engine/program/compile.h"

#include <errno.h>
#include <glslang/Include/glslang_c_interface.h>
#include <glslang/Public/resource_limits_c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/program/embedded_shaders.h"
#include "model/variants.h"

#define MAX_INCLUDE_DEPTH 8
#define MAX_SOURCE_BYTES (1u << 20)

struct source {
    char *text; /* NUL-terminated */
    size_t length;
};

static void append(struct source *source, const char *text, size_t length)
{
    source->text = xrealloc(source->text, source->length + length + 1);
    memcpy(source->text + source->length, text, length);
    source->length += length;
    source->text[source->length] = '\0';
}

static void append_line_directive(struct source *source, unsigned line, const char *name)
{
    char directive[320];
    int n = snprintf(directive, sizeof(directive), "#line %u \"%.250s\"\n", line, name);
    append(source, directive, (size_t)n);
}

static enum status read_file(const char *path, char **text, struct error *err)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "%s", strerror(errno));
    }
    *text = xmalloc(MAX_SOURCE_BYTES + 1);
    size_t n = fread(*text, 1, MAX_SOURCE_BYTES + 1, file);
    bool failed = ferror(file) != 0;
    (void)fclose(file); /* only read, so nothing can be lost */
    if (failed || n > MAX_SOURCE_BYTES) {
        free(*text);
        *text = NULL;
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET,
                         failed ? "cannot be read" : "is larger than 1 MiB, no shader");
    }
    (*text)[n] = '\0';
    return STATUS_OK;
}

/* The text of a shader file, malloc'ed. */
static enum status load(const char *name, const char *shader_dir, char **text, struct error *err)
{
    if (shader_dir) {
        char path[4096];
        int n = snprintf(path, sizeof(path), "%s/%s", shader_dir, name);
        if (n < 0 || (size_t)n >= sizeof(path)) {
            return error_set(err, STATUS_BAD_INPUT, shader_dir, NULL, ERROR_NO_OFFSET, "the path is too long");
        }
        return read_file(path, text, err);
    }
    for (const struct shader_text *shader = shader_texts; shader->name; shader++) {
        if (strcmp(shader->name, name) == 0) {
            size_t length = strlen(shader->text);
            *text = xmalloc(length + 1);
            memcpy(*text, shader->text, length + 1);
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_BAD_INPUT, name, NULL, ERROR_NO_OFFSET, "no such shader file is built in");
}

/* Whether a line is #include "name"; copies the name. A name with a folder is not accepted: shaders/ is flat. */
static bool parse_include(const char *line, size_t length, char name[256])
{
    char copy[512];
    if (length >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, line, length);
    copy[length] = '\0';
    return sscanf(copy, " # include \"%255[^\"/]\"", name) == 1;
}

/* Appends a file with its includes. A #line directive marks every change of file. The first one stands after the
 * #extension line that permits file names in #line. */
static enum status expand(struct source *source, const char *name, const char *shader_dir, unsigned depth,
                          struct error *err)
{
    if (depth > MAX_INCLUDE_DEPTH) {
        return error_set(err, STATUS_BAD_INPUT, name, NULL, ERROR_NO_OFFSET, "includes nest deeper than %d",
                         MAX_INCLUDE_DEPTH);
    }
    char *text = NULL;
    TRY(load(name, shader_dir, &text, err));
    ASSERT(text);
    if (depth > 0) {
        append_line_directive(source, 1, name);
    }
    enum status status = STATUS_OK;
    unsigned number = 0;
    for (const char *line = text; *line && status == STATUS_OK;) {
        size_t length = strcspn(line, "\n");
        char included[256];
        number++;
        if (parse_include(line, length, included)) {
            status = expand(source, included, shader_dir, depth + 1, err);
            append_line_directive(source, number + 1, name);
        } else {
            append(source, line, length);
            append(source, "\n", 1);
            if (depth == 0 && strncmp(line, "#extension", 10) == 0) {
                append_line_directive(source, number + 1, name);
            }
        }
        line += length + (line[length] == '\n');
    }
    free(text);
    return status;
}

/* Finds "FILE:LINE: 'TOKEN' : WHAT" at the start of a message of glslang. *token is empty if there is none. Before the
 * first #line, glslang calls the file 0: it is `name`. */
static bool parse_message(const char *message, const char *name, char file[256], unsigned *line, char token[128])
{
    token[0] = '\0';
    int end = 0;
    if (sscanf(message, "%255[^:\n]:%u:%n", file, line, &end) != 2 || end == 0) {
        return false;
    }
    (void)sscanf(message + end, " '%127[^'\n]'", token);
    if (strcmp(file, "0") == 0) {
        snprintf(file, 256, "%.255s", name);
    }
    return true;
}

/* Adds line `number` of a text to the error, with a caret under the token, or under the line's first character. */
static void quote_line(const char *text, unsigned number, const char *token, struct error *err)
{
    while (number > 1 && *text != '\0') {
        text += strcspn(text, "\n");
        text += *text == '\n';
        number--;
    }
    size_t length = strcspn(text, "\n"), column = strspn(text, " \t");
    const char *at = token[0] != '\0' ? strstr(text, token) : NULL;
    if (at != NULL && at < text + length) {
        column = (size_t)(at - text);
    }
    error_quote(err, text, length < 160 ? length : 160, column);
}

/* glslang's log has many lines. The first error is shown, with its source line. */
static enum status compile_error(const char *name, const char *shader_dir, const char *log, struct error *err)
{
    const char *start = strstr(log, "ERROR: ");
    start = start ? start + strlen("ERROR: ") : log;
    char file[256], token[128], *text = NULL;
    unsigned line;
    const char *folder = shader_dir ? shader_dir : "shaders";
    if (!parse_message(start, name, file, &line, token)) {
        return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET, "%s/%s: %.*s", folder, name,
                         (int)strcspn(start, "\n"), start);
    }
    const char *what = start + strcspn(start, ":") + 1;
    what += strspn(what, "0123456789: ");
    struct error unread;
    bool found = load(file, shader_dir, &text, &unread) == STATUS_OK;
    (void)error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET, "%s/%s:%u: %.*s", folder, file, line,
                    (int)strcspn(what, "\n"), what);
    if (found) {
        quote_line(text, line, token, err);
    }
    free(text);
    return STATUS_BAD_INPUT;
}

static enum status link_program(const char *name, const char *shader_dir, glslang_shader_t *shader,
                                glslang_program_t *program, uint32_t **words, size_t *n_bytes, struct error *err)
{
    glslang_program_add_shader(program, shader);
    if (!glslang_program_link(program, GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT)) {
        return compile_error(name, shader_dir, glslang_program_get_info_log(program), err);
    }
    glslang_program_SPIRV_generate(program, GLSLANG_STAGE_COMPUTE);
    *n_bytes = glslang_program_SPIRV_get_size(program) * sizeof(uint32_t);
    *words = xmalloc(*n_bytes);
    glslang_program_SPIRV_get(program, *words);
    return STATUS_OK;
}

static enum status compile(const char *name, const char *text, const char *shader_dir, uint32_t variant,
                           uint32_t **words, size_t *n_bytes, struct error *err)
{
    glslang_input_t input = {
        .language = GLSLANG_SOURCE_GLSL,
        .stage = GLSLANG_STAGE_COMPUTE,
        .client = GLSLANG_CLIENT_VULKAN,
        .client_version = GLSLANG_TARGET_VULKAN_1_2,
        .target_language = GLSLANG_TARGET_SPV,
        .target_language_version = GLSLANG_TARGET_SPV_1_5,
        .code = text,
        .default_version = 450,
        .default_profile = GLSLANG_NO_PROFILE,
        .messages = GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT,
        .resource = glslang_default_resource(),
    };
    char preamble[128] = "";
    if (variant != VARIANT_NONE) {
        snprintf(preamble, sizeof(preamble), "#define VARIANT\n#define VARIANT_%s\n", variant_info(variant)->name);
    }
    glslang_shader_t *shader = glslang_shader_create(&input);
    glslang_program_t *program = glslang_program_create();
    ASSERT(shader && program);
    glslang_shader_set_preamble(shader, preamble);
    enum status status;
    if (!glslang_shader_preprocess(shader, &input) || !glslang_shader_parse(shader, &input)) {
        status = compile_error(name, shader_dir, glslang_shader_get_info_log(shader), err);
    } else {
        status = link_program(name, shader_dir, shader, program, words, n_bytes, err);
    }
    glslang_program_delete(program);
    glslang_shader_delete(shader);
    return status;
}

bool shader_is_unedited(const char *name, const char *shader_dir)
{
    char file[256];
    struct source edited = {0}, built = {0};
    struct error unused;
    snprintf(file, sizeof(file), "%.200s.comp", name);
    bool same = expand(&edited, file, shader_dir, 0, &unused) == STATUS_OK &&
                expand(&built, file, NULL, 0, &unused) == STATUS_OK && edited.length == built.length &&
                memcmp(edited.text, built.text, built.length) == 0;
    free(edited.text);
    free(built.text);
    return same;
}

/* What was compiled so far, for whoever edits one shader of many. It is kept until the program ends. */
#define MOST_COMPILED 256
static struct compiled {
    char *text;
    uint32_t variant;
    uint32_t *words;
    size_t n_bytes;
} compiled[MOST_COMPILED];
static uint32_t n_compiled;

static bool find_compiled(const char *text, uint32_t variant, uint32_t **words, size_t *n_bytes)
{
    for (uint32_t i = 0; i < n_compiled; i++) {
        if (compiled[i].variant == variant && strcmp(compiled[i].text, text) == 0) {
            *n_bytes = compiled[i].n_bytes;
            *words = xmalloc(*n_bytes);
            memcpy(*words, compiled[i].words, *n_bytes);
            return true;
        }
    }
    return false;
}

static void keep_compiled(const char *text, uint32_t variant, const uint32_t *words, size_t n_bytes)
{
    if (n_compiled == MOST_COMPILED) {
        return;
    }
    struct compiled *kept = &compiled[n_compiled++];
    *kept = (struct compiled){xstrdup(text), variant, xmalloc(n_bytes), n_bytes};
    memcpy(kept->words, words, n_bytes);
}

enum status shader_compile(const char *name, uint32_t variant, const char *shader_dir, uint32_t **words,
                           size_t *n_bytes, struct error *err)
{
    char file[256];
    snprintf(file, sizeof(file), "%.200s.comp", name);
    struct source source = {0};
    enum status status = expand(&source, file, shader_dir, 0, err);
    const char *text = source.text ? source.text : "";
    if (status == STATUS_OK && !find_compiled(text, variant, words, n_bytes)) {
        ASSERT(glslang_initialize_process());
        status = compile(file, text, shader_dir, variant, words, n_bytes, err);
        glslang_finalize_process();
        if (status == STATUS_OK) {
            keep_compiled(text, variant, *words, *n_bytes);
        }
    }
    free(source.text);
    return status;
}
