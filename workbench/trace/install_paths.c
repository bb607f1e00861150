#include "workbench/trace/install_paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* CMake writes it into the build folder: the way from there to the checkout, "..". */
#define SOURCE_MARKER "source-folder.txt"

/* A file of the folder that is looked for, by which it is known. */
#define ROOT_MARK "golden/lockstep_tokenizer.py"

/* A test program lies in build/tests/: two folders below the checkout. */
#define MAX_LEVELS 3

/* path = folder/name; false where that is too long. */
static bool join(char path[PATH_MAX], const char *folder, const char *name)
{
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return length > 0 && length < PATH_MAX;
}

/* Whether folder/name is a root; then that is its absolute path without "..". */
static bool is_root(const char *folder, const char *name, char root[PATH_MAX])
{
    char joined[PATH_MAX], mark[PATH_MAX];
    return join(joined, folder, name) && join(mark, joined, ROOT_MARK) && access(mark, R_OK) == 0 &&
           realpath(joined, root) != NULL;
}

/* Whether the build folder names a root. */
static bool is_root_of_build(const char *folder, char root[PATH_MAX])
{
    char path[PATH_MAX], relative[PATH_MAX] = "";
    FILE *file = join(path, folder, SOURCE_MARKER) ? fopen(path, "re") : NULL;
    if (file == NULL) {
        return false;
    }
    bool read = fgets(relative, sizeof(relative), file) != NULL;
    fclose(file);
    relative[strcspn(relative, "\n")] = '\0';
    return read && is_root(folder, relative, root);
}

/* Cuts the last name off; false at the root of the file system. */
static bool go_up(char *folder)
{
    char *slash = strrchr(folder, '/');
    if (slash == NULL || folder[1] == '\0') {
        return false;
    }
    slash[slash == folder] = '\0';
    return true;
}

/* As install_root, and whether it is an installation. */
static enum status find_root(char root[PATH_MAX], bool *installed, struct error *err)
{
    char program[PATH_MAX], folder[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[length > 0 ? length : 0] = '\0';
    snprintf(folder, sizeof(folder), "%s", program);
    *installed = go_up(folder) && is_root(folder, "../share/lockstep", root);
    if (*installed) {
        return STATUS_OK;
    }
    for (int level = 0; level < MAX_LEVELS; level++) {
        if (is_root(folder, ".", root) || is_root_of_build(folder, root)) {
            return STATUS_OK;
        }
        if (!go_up(folder)) {
            break;
        }
    }
    return error_set(err, STATUS_ABSENT, program, NULL, ERROR_NO_OFFSET,
                     "golden/ and shaders/ not found, expected them in ../share/lockstep or in the checkout around it");
}

enum status install_root(char root[PATH_MAX], struct error *err)
{
    bool installed;
    return find_root(root, &installed, err);
}

enum status install_path(const char *name, char path[PATH_MAX], struct error *err)
{
    char root[PATH_MAX];
    TRY(install_root(root, err));
    return join(path, root, name) ? STATUS_OK
                                  : error_set(err, STATUS_ABSENT, root, name, ERROR_NO_OFFSET,
                                              "path too long, expected one under %d bytes", PATH_MAX);
}

enum status install_environment(struct environment *environment, struct error *err)
{
    TRY(find_root(environment->root, &environment->installed, err));
    return install_path(environment->installed ? "venv" : ".venv", environment->folder, err);
}
