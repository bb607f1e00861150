/* Linked into sanitized builds: their defaults, so that no environment variable has to be set. */
#include <dlfcn.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);
const char *__ubsan_default_options(void);

/* What is no leak of ours: Python and its packages keep interned strings, types and modules after Py_Finalize; the validation
 * layers keep cycles of their own records of command buffers and pipelines; HDF5 leaves its write buffer behind when
 * closing a file fails (disk full). */
const char *__lsan_default_suppressions(void)
{
    return "leak:libpython3\n"
           "leak:/site-packages/\n"
           "leak:/lib-dynload/\n"
           "leak:libVkLayer_\n"
           "leak:H5FL__malloc\n";
}

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}

/* Libraries stay loaded: what a Vulkan driver allocates once is reachable from its globals, and becomes a leak without a
 * name when the loader unloads the driver. */
int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
