#include "workbench/cli/output_guard.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct named {
    const char *option, *path; /* path NULL: not given */
};

#define N_OUTPUTS 6
static void list_outputs(const struct arguments *arguments, struct named outputs[N_OUTPUTS])
{
    const struct named list[N_OUTPUTS] = {{"-o", arguments->output},     {"--json", arguments->json},
                                          {"--html", arguments->html},   {"--md", arguments->md},
                                          {"--junit", arguments->junit}, {"--record", arguments->record}};
    memcpy(outputs, list, sizeof(list));
}

static bool is_file(const struct named *named, struct stat *info)
{
    return named->path != NULL && strcmp(named->path, "-") != 0 && stat(named->path, info) == 0 &&
           S_ISREG(info->st_mode);
}

/* The folder that a path lies in. */
static bool folder_of(const char *path, struct stat *info)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
    snprintf(folder, sizeof(folder), "%.*s", length, slash == NULL ? "." : path);
    return stat(folder, info) == 0;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* Whether a file's name is one that models have: their folders may hold results as well. */
static bool is_model_file(const char *path)
{
    static const char *const ends[] = {
        "config.json", "manifest.json", "tokenizer.json", ".safetensors", ".safetensors.index.json", ".bin", ".gguf"};
    bool is = false;
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        is |= ends_with(path, ends[i]);
    }
    return is;
}

/* Whether an output, which exists, is an input, or a model's file in the folder that is one. */
static bool touches(const struct named *output, const struct stat *written, const char *input)
{
    struct stat read, folder;
    if (input == NULL || stat(input, &read) != 0) {
        return false;
    }
    return same(written, &read) || (S_ISDIR(read.st_mode) && is_model_file(output->path) &&
                                    folder_of(output->path, &folder) && same(&folder, &read));
}

static enum status refuse(const struct named *output, const char *why, struct error *err)
{
    return error_set(err, STATUS_USAGE, NULL, output->option, ERROR_NO_OFFSET, "%s %s", output->path, why);
}

enum status check_input(const struct arguments *arguments, const char *path, struct error *err)
{
    struct named outputs[N_OUTPUTS];
    list_outputs(arguments, outputs);
    for (int i = 0; i < N_OUTPUTS; i++) {
        struct stat written;
        if (is_file(&outputs[i], &written) && touches(&outputs[i], &written, path)) {
            return refuse(&outputs[i], "is one of the files that are read, expected another file", err);
        }
    }
    return STATUS_OK;
}

static enum status check_twice(const struct named *outputs, struct error *err)
{
    for (int i = 0; i < N_OUTPUTS; i++) {
        for (int k = 0; k < i; k++) {
            const char *a = outputs[i].path, *b = outputs[k].path;
            struct stat first, second;
            bool twice = a != NULL && b != NULL && strcmp(a, "-") != 0 && strcmp(a, b) == 0;
            if (twice || (is_file(&outputs[i], &first) && is_file(&outputs[k], &second) && same(&first, &second))) {
                return refuse(&outputs[i], "is given twice, expected a file for each output", err);
            }
        }
    }
    return STATUS_OK;
}

enum status check_outputs(const struct arguments *arguments, struct error *err)
{
    struct named outputs[N_OUTPUTS];
    const char *inputs[] = {arguments->golden,       arguments->golden_model, arguments->trace,
                            arguments->second_trace, arguments->resume_file,  arguments->script,
                            arguments->model,        arguments->map,          arguments->positional[0],
                            arguments->positional[1]};
    list_outputs(arguments, outputs);
    for (size_t i = 0; i < sizeof(inputs) / sizeof(*inputs); i++) {
        TRY(check_input(arguments, inputs[i], err));
    }
    for (uint32_t i = 0; i < arguments->configs.n; i++) {
        TRY(check_input(arguments, arguments->configs.text[i], err));
    }
    return check_twice(outputs, err);
}
