/* What a batch has of Python: TOML, Dask, and processes that may use the interpreter after a fork. */
#include "workbench/python/python_internal.h"

#include <unistd.h>

enum status python_toml(const char *path, char **json, struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    PyObject *function = python_function("lockstep_batch", "toml_as_json", err);
    if (function == NULL) {
        return err->status;
    }
    PyObject *text = PyObject_CallFunction(function, "s", path);
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    enum status status = STATUS_OK;
    if (utf8 != NULL) {
        *json = xstrdup(utf8);
    } else {
        bool io = PyErr_ExceptionMatches(PyExc_OSError) != 0;
        status = python_failed(path, err);
        err->status = status = io ? STATUS_IO : status;
    }
    Py_XDECREF(text);
    Py_DECREF(function);
    return status;
}

static PyObject *texts(const char *const *values, uint32_t n)
{
    PyObject *list = PyList_New(n);
    for (uint32_t i = 0; list != NULL && i < n; i++) {
        PyObject *text = PyUnicode_FromString(values[i]);
        if (text == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, text);
        }
    }
    return list;
}

/* Hands each (index, result) of the iterator on. NULL with an exception set, or None. */
static PyObject *take_results(PyObject *results, python_result *each, void *context)
{
    PyObject *item;
    bool goes_on = true;
    while (goes_on && (item = PyIter_Next(results)) != NULL) {
        unsigned index;
        const char *result;
        goes_on = PyArg_ParseTuple(item, "Is", &index, &result) && each(context, index, result);
        Py_DECREF(item);
    }
    return PyErr_Occurred() != NULL ? NULL : Py_NewRef(Py_None);
}

enum status python_dask(const struct dask_cases *cases, python_result *each, void *context, struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    PyObject *function = python_function("lockstep_batch", "run_on_dask", err);
    if (function == NULL) {
        return err->status;
    }
    struct python_interrupt interrupt;
    python_interrupt_begin(&interrupt);
    PyObject *list = texts(cases->cases, cases->n), *none = NULL;
    PyObject *results =
        list != NULL ? PyObject_CallFunction(function, "ssO", cases->address, cases->program, list) : NULL;
    if (results != NULL) {
        none = take_results(results, each, context);
    }
    enum status status = STATUS_OK;
    if (none == NULL) {
        bool io = PyErr_ExceptionMatches(PyExc_OSError) != 0;
        status = python_failed(cases->address, err);
        err->status = status = io ? STATUS_IO : status;
    }
    python_interrupt_end(&interrupt);
    Py_XDECREF(none);
    Py_XDECREF(results);
    Py_XDECREF(list);
    Py_DECREF(function);
    return status;
}

int python_fork(void)
{
    if (!Py_IsInitialized()) {
        return fork();
    }
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
    } else {
        PyOS_AfterFork_Parent();
    }
    return pid;
}
