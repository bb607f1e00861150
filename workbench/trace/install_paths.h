/* Where the files lie that the program needs at run time: GLSL sources, Python modules, the small models, the Python
 * environment. They are found from the program's own place, so that a copied or moved checkout uses its own files. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_INSTALL_PATHS_H
#define LOCKSTEP_WORKBENCH_TRACE_INSTALL_PATHS_H

#include <limits.h>
#include <stdbool.h>

#include "model/error.h"

/* The folder that holds golden/ and shaders/: PREFIX/share/lockstep of an installed PREFIX/bin/lockstep; else the
 * checkout that the program's build folder lies in, or that the build folder names. None: STATUS_ABSENT. */
enum status install_root(char root[PATH_MAX], struct error *err);

/* root/name: "golden", "shaders". */
enum status install_path(const char *name, char path[PATH_MAX], struct error *err);

/* The Python environment that the program's interpreter runs in. */
struct environment {
    char root[PATH_MAX];   /* as install_root */
    char folder[PATH_MAX]; /* root/.venv in a checkout, root/venv in an installation */
    bool installed;        /* not in a checkout */
};

/* Says where the environment belongs; whether it is there is not looked at. */
enum status install_environment(struct environment *environment, struct error *err);

#endif
