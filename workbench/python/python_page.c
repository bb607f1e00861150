/* Reports as pages, by the templates of golden/lockstep_pages.py. */
#include "workbench/python/python_internal.h"

enum status python_page(const char *json, const char *format, char **text, struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    PyObject *function = python_function("lockstep_pages", "page", err);
    if (function == NULL) {
        return err->status;
    }
    struct python_interrupt interrupt;
    python_interrupt_begin(&interrupt);
    PyObject *page = PyObject_CallFunction(function, "ss", json, format);
    const char *utf8 = page != NULL ? PyUnicode_AsUTF8(page) : NULL;
    enum status status = utf8 != NULL ? STATUS_OK : python_failed(format, err);
    if (utf8 != NULL) {
        *text = xstrdup(utf8);
    }
    python_interrupt_end(&interrupt);
    Py_XDECREF(page);
    Py_DECREF(function);
    return status;
}
