#include "workbench/debugger/shader_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/engine.h"

#define MOST_BYTES (1u << 20)
#define MOST_NESTED 8

static bool is_shader(const char *name)
{
    const char *dot = strrchr(name, '.');
    return name[0] != '.' && dot != NULL &&
           (strcmp(dot, ".comp") == 0 || strcmp(dot, ".glsl") == 0 || strcmp(dot, ".h") == 0);
}

static void add(struct shader_files *files, const char *name, const char *text)
{
    files->files = xrealloc(files->files, (files->n + 1) * sizeof(*files->files));
    files->files[files->n++] = (struct shader_file){.name = xstrdup(name), .text = xstrdup(text)};
}

void shader_files_built_in(struct shader_files *files)
{
    const char *name, *text;
    *files = (struct shader_files){0};
    for (uint32_t i = 0; (text = engine_shader_source(i, &name)) != NULL; i++) {
        add(files, name, text);
    }
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    char *text = xmalloc(MOST_BYTES + 1);
    size_t n = fread(text, 1, MOST_BYTES, file);
    bool failed = ferror(file) != 0;
    (void)fclose(file); /* only read, so nothing can be lost */
    text[n] = '\0';
    if (failed) {
        free(text);
        return NULL;
    }
    return xrealloc(text, n + 1);
}

enum status shader_files_read(struct shader_files *files, const char *folder, struct error *err)
{
    *files = (struct shader_files){0};
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return error_set(err, STATUS_BAD_INPUT, folder, NULL, ERROR_NO_OFFSET, "%s", strerror(errno));
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[4096];
        int n = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        char *text = is_shader(entry->d_name) && n > 0 && (size_t)n < sizeof(path) ? read_text(path) : NULL;
        if (text != NULL) {
            add(files, entry->d_name, text);
            free(text);
        }
    }
    closedir(directory);
    return STATUS_OK;
}

void shader_files_free(struct shader_files *files)
{
    for (uint32_t i = 0; i < files->n; i++) {
        free(files->files[i].name);
        free(files->files[i].text);
    }
    free(files->files);
    *files = (struct shader_files){0};
}

static const char *text_of(const struct shader_files *files, const char *name)
{
    for (uint32_t i = 0; i < files->n; i++) {
        if (strcmp(files->files[i].name, name) == 0) {
            return files->files[i].text;
        }
    }
    return NULL;
}

uint32_t shader_files_compare(struct shader_files *files, const struct shader_files *before)
{
    uint32_t n_changed = 0;
    for (uint32_t i = 0; i < files->n; i++) {
        const char *old = text_of(before, files->files[i].name);
        files->files[i].changed = old == NULL || strcmp(old, files->files[i].text) != 0;
        n_changed += files->files[i].changed;
    }
    return n_changed;
}

static bool includes(const struct shader_files *files, const char *text, const char *file, unsigned depth)
{
    for (const char *at = text; depth < MOST_NESTED && (at = strstr(at, "#include \"")) != NULL; at++) {
        char name[256];
        if (sscanf(at, "#include \"%255[^\"\n]\"", name) != 1) {
            continue;
        }
        const char *nested = text_of(files, name);
        if (strcmp(name, file) == 0 || (nested != NULL && includes(files, nested, file, depth + 1))) {
            return true;
        }
    }
    return false;
}

bool shader_files_concerns(const struct shader_files *files, const char *file, const char *shader)
{
    char name[256];
    snprintf(name, sizeof(name), "%.240s.comp", shader);
    const char *text = text_of(files, name);
    return strcmp(name, file) == 0 || (text != NULL && includes(files, text, file, 0));
}

uint64_t shader_files_stamp(const char *folder)
{
    DIR *directory = opendir(folder);
    uint64_t stamp = 1;
    if (directory == NULL) {
        return 0;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        struct stat info;
        if (is_shader(entry->d_name) && fstatat(dirfd(directory), entry->d_name, &info, 0) == 0) {
            uint64_t time = (uint64_t)info.st_mtim.tv_sec * 1000000007u + (uint64_t)info.st_mtim.tv_nsec;
            stamp +=
                (time ^ (uint64_t)info.st_ino * 0x9e3779b97f4a7c15u ^ (uint64_t)info.st_size) * 0xff51afd7ed558ccdu;
        }
    }
    closedir(directory);
    return stamp;
}
