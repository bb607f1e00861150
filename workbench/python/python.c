/* The embedded interpreter: starts it in the project's virtual environment, runs user code, turns exceptions into
 * errors. */
#include "workbench/python/python_internal.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/text/output.h"
#include "workbench/trace/install_paths.h"

/* A process has one interpreter. */
static bool started;

#define EXECUTABLE_SIZE (PATH_MAX + 32)

/* One line: what makes the environment anew. */
static enum status environment_missing(const struct environment *environment, const char *path, const char *what,
                                       struct error *err)
{
    if (!environment->installed) {
        return error_set(err, STATUS_ABSENT, path, NULL, ERROR_NO_OFFSET, "%s ./demo makes", what);
    }
    return error_set(err, STATUS_ABSENT, path, NULL, ERROR_NO_OFFSET,
                     "%s this makes: python3 -m venv --clear %s && %s/bin/python3 -m pip install -r "
                     "%s/requirements.txt",
                     what, environment->folder, environment->folder, environment->root);
}

/* Finds the environment's interpreter. STATUS_ABSENT: there is no environment, or one of another Python version than
 * the one that is linked. */
static enum status find_environment(struct environment *environment, char executable[EXECUTABLE_SIZE],
                                    struct error *err)
{
    TRY(install_environment(environment, err));
    snprintf(executable, EXECUTABLE_SIZE, "%s/bin/python3", environment->folder);
    if (access(executable, X_OK) != 0) {
        return environment_missing(environment, executable, "no Python environment, expected the one that", err);
    }
    char packages[PATH_MAX + 64], what[96];
    snprintf(packages, sizeof(packages), "%s/lib/python%d.%d/site-packages", environment->folder, PY_MAJOR_VERSION,
             PY_MINOR_VERSION);
    if (access(packages, R_OK) != 0) {
        snprintf(what, sizeof(what), "made by another Python, expected %d.%d, as in the environment that",
                 PY_MAJOR_VERSION, PY_MINOR_VERSION);
        return environment_missing(environment, packages, what, err);
    }
    return STATUS_OK;
}

static enum status initialize(const char *executable, struct error *err)
{
    PyPreConfig preconfig;
    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.utf8_mode = 1; /* the program never calls setlocale; standard output is UTF-8 all the same */
    PyStatus status = Py_PreInitialize(&preconfig);
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 0;
    if (!PyStatus_Exception(status)) {
        /* Python finds pyvenv.cfg, and by it .venv's packages, from the executable's path. */
        status = PyConfig_SetBytesString(&config, &config.executable, executable);
    }
    if (!PyStatus_Exception(status)) {
        status = PyConfig_SetBytesString(&config, &config.program_name, executable);
    }
    if (!PyStatus_Exception(status)) {
        FILE *ours = stdout;
        stdout = output_terminal(); /* Python asks it for its file */
        status = Py_InitializeFromConfig(&config);
        stdout = ours;
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        return error_set(err, STATUS_ABSENT, executable, NULL, ERROR_NO_OFFSET, "Python does not start: %s",
                         status.err_msg != NULL ? status.err_msg : "no reason given");
    }
    return STATUS_OK;
}

/* Puts golden/ in front of sys.path. */
static bool add_modules(const char *root)
{
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    PyObject *folder = PyUnicode_FromFormat("%s/golden", root);
    bool ok = path != NULL && folder != NULL && PyList_Insert(path, 0, folder) == 0;
    Py_XDECREF(folder);
    return ok;
}

locale_t python_use_c_numbers(void)
{
    static locale_t numbers;
    if (numbers == (locale_t)0) {
        numbers = newlocale(LC_NUMERIC_MASK, "C", duplocale(LC_GLOBAL_LOCALE));
        ASSERT(numbers != (locale_t)0);
    }
    return uselocale(numbers);
}

/* Python takes its streams from the descriptors of stdout and stderr, which a stream of our own (a transcript) lacks.
 */
static void open_streams(void)
{
    (void)PyRun_SimpleString("import sys\n"
                             "for name, number in (('stdout', 1), ('stderr', 2)):\n"
                             "    if getattr(sys, name) is None:\n"
                             "        setattr(sys, name, open(number, 'w', closefd=False, encoding='utf-8'))\n"
                             "        setattr(sys, f'__{name}__', getattr(sys, name))\n"
                             "del sys, name, number\n");
}

enum status python_start(struct error *err)
{
    if (started) {
        return STATUS_OK;
    }
    struct environment environment;
    char executable[EXECUTABLE_SIZE];
    TRY(find_environment(&environment, executable, err));
    TRY(initialize(executable, err));
    started = true;
    (void)python_use_c_numbers(); /* whatever locale Python code chooses */
    open_streams();
    return add_modules(environment.root) ? STATUS_OK : python_failed("Python", err);
}

/* The first line of an object's text, or "". */
static void first_line(PyObject *object, char *text, size_t size)
{
    PyObject *string = object != NULL ? PyObject_Str(object) : NULL;
    const char *utf8 = string != NULL ? PyUnicode_AsUTF8(string) : NULL;
    snprintf(text, size, "%s", utf8 != NULL ? utf8 : "");
    text[strcspn(text, "\n")] = '\0';
    Py_XDECREF(string);
    PyErr_Clear();
}

/* Clears the exception that is set and returns it: a new reference, or NULL. */
static PyObject *take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* One line: what installs a package. */
static enum status package_missing(const char *what, const char *package, struct error *err)
{
    struct environment environment;
    if (install_environment(&environment, NULL) == STATUS_OK && environment.installed) {
        return error_set(err, STATUS_ABSENT, what, package, ERROR_NO_OFFSET,
                         "no such Python package in %s; %s/bin/python3 -m pip install -r %s/requirements.txt installs "
                         "what lockstep needs, requirements-golden.txt there what goldens need",
                         environment.folder, environment.folder, environment.root);
    }
    return error_set(err, STATUS_ABSENT, what, package, ERROR_NO_OFFSET,
                     "no such Python package in .venv; ./demo installs requirements.txt, and "
                     ".venv/bin/pip install -r requirements-golden.txt what goldens need");
}

enum status python_failed(const char *what, struct error *err)
{
    PyObject *exception = take_exception();
    ASSERT(exception != NULL);
    char text[512];
    enum status status;
    if (PyErr_GivenExceptionMatches(exception, PyExc_ModuleNotFoundError)) {
        PyObject *name = PyObject_GetAttrString(exception, "name");
        first_line(name, text, sizeof(text));
        Py_XDECREF(name);
        status = package_missing(what, text, err);
    } else if (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)) {
        PyObject *code = PyObject_GetAttrString(exception, "code");
        first_line(code, text, sizeof(text));
        Py_XDECREF(code);
        status = error_set(err, STATUS_BAD_INPUT, what, NULL, ERROR_NO_OFFSET,
                           "sys.exit(%s), which ends the command and not the program", text);
    } else if (PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)) {
        status = error_set(err, STATUS_INTERRUPTED, what, NULL, ERROR_NO_OFFSET, "interrupted");
    } else {
        first_line(exception, text, sizeof(text));
        status = error_set(err, STATUS_BAD_INPUT, what, NULL, ERROR_NO_OFFSET, "%s%s%s", Py_TYPE(exception)->tp_name,
                           text[0] != '\0' ? ": " : "", text);
    }
    Py_DECREF(exception);
    PyErr_Clear();
    return status;
}

PyObject *python_function(const char *module, const char *function, struct error *err)
{
    if (python_start(err) != STATUS_OK) {
        return NULL;
    }
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported != NULL ? PyObject_GetAttrString(imported, function) : NULL;
    Py_XDECREF(imported);
    if (found == NULL) {
        python_failed(module, err);
    }
    return found;
}

PyObject *python_ids(const int32_t *ids, uint32_t n_ids)
{
    PyObject *list = PyList_New(n_ids);
    for (uint32_t i = 0; list != NULL && i < n_ids; i++) {
        PyObject *id = PyLong_FromLong(ids[i]);
        if (id == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, id);
    }
    return list;
}

void python_interrupt_begin(struct python_interrupt *interrupt)
{
    /* initialize() installs no handlers, so Python's own is installed here, by signal.signal(). */
    sigaction(SIGINT, NULL, &interrupt->before);
    interrupt->numbers = uselocale(LC_GLOBAL_LOCALE);
    PyObject *module = PyImport_ImportModule("signal");
    PyObject *handler = module != NULL ? PyObject_GetAttrString(module, "default_int_handler") : NULL;
    PyObject *old = handler != NULL ? PyObject_CallMethod(module, "signal", "iO", SIGINT, handler) : NULL;
    Py_XDECREF(old);
    Py_XDECREF(handler);
    Py_XDECREF(module);
    PyErr_Clear();
}

void python_interrupt_end(const struct python_interrupt *interrupt)
{
    sigaction(SIGINT, &interrupt->before, NULL);
    setlocale(LC_NUMERIC, "C"); /* for code that comes later, and for other threads */
    uselocale(interrupt->numbers);
}

/* Flushes the buffers of Python's own standard streams. */
static void flush_streams(void)
{
    const char *const names[] = {"stdout", "stderr"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        PyObject *stream = PySys_GetObject(names[i]); /* borrowed */
        PyObject *result = stream != NULL && stream != Py_None ? PyObject_CallMethod(stream, "flush", NULL) : NULL;
        Py_XDECREF(result);
        PyErr_Clear();
    }
}

enum status python_exec(const char *code, struct error *err)
{
    TRY(python_start(err));
    enum status status = STATUS_OK;
    fflush(stdout);
    PyObject *namespace = PyModule_GetDict(PyImport_AddModule("__main__")); /* borrowed */
    struct python_interrupt interrupt;
    python_interrupt_begin(&interrupt);
    /* As at Python's own prompt, an expression's value is printed; for that the line must end with a newline. */
    char *line = xmalloc(strlen(code) + 2);
    strcat(strcpy(line, code), "\n");
    PyObject *compiled = Py_CompileString(line, "<py>", Py_single_input);
    free(line);
    PyObject *result = compiled != NULL ? PyEval_EvalCode(compiled, namespace, namespace) : NULL;
    if (result == NULL) {
        status = python_failed("py", err);
    }
    flush_streams();
    python_interrupt_end(&interrupt);
    Py_XDECREF(result);
    Py_XDECREF(compiled);
    return status;
}

enum status python_set_width(unsigned columns, struct error *err)
{
    PyObject *function = columns > 0 ? python_function("lockstep_views", "set_width", err) : NULL;
    if (function == NULL) {
        return columns > 0 ? err->status : STATUS_OK;
    }
    PyObject *result = PyObject_CallFunction(function, "I", columns);
    enum status status = result != NULL ? STATUS_OK : python_failed("width", err);
    Py_XDECREF(result);
    Py_DECREF(function);
    return status;
}

/* Whether user code left threads that still run. */
static bool has_threads(void)
{
    PyObject *module = PyImport_ImportModule("threading");
    PyObject *count = module != NULL ? PyObject_CallMethod(module, "active_count", NULL) : NULL;
    bool several = count != NULL && PyLong_AsLong(count) > 1;
    Py_XDECREF(count);
    Py_XDECREF(module);
    PyErr_Clear();
    return several;
}

bool python_close(void)
{
    if (!started) {
        return true;
    }
    flush_streams();
    if (has_threads()) { /* Python's own end would wait for them; the program's does not */
        return false;
    }
    Py_FinalizeEx();
    started = false;
    return true;
}
