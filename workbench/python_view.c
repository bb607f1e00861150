/* Traces as user code sees them: numpy arrays over the trace's own memory (golden/lockstep_views.py). */
#include "workbench/python_internal.h"

/* Read-only, and without a copy: what user code wrote there would change what an op is judged by. */
static PyObject *view(const void *memory, uint64_t n_bytes)
{
    return PyMemoryView_FromMemory((char *)(uintptr_t)memory, (Py_ssize_t)n_bytes, PyBUF_READ);
}

/* {(stage, layer or None): (memory, width)}. NULL with an exception set. */
static PyObject *stages_of(const struct trace *trace)
{
    PyObject *stages = PyDict_New();
    for (uint32_t i = 0; stages != NULL && i < trace->n_stages; i++) {
        const struct trace_stage *stage = &trace->stages[i];
        if (stage->n_recorded == 0) {
            continue;
        }
        PyObject *layer = stage->layer == LAYER_NONE ? Py_NewRef(Py_None) : PyLong_FromLong(stage->layer);
        PyObject *key = Py_BuildValue("sN", stage_name(stage->stage), layer);
        uint64_t n_bytes = (uint64_t)trace->n_positions * stage->width * sizeof(float);
        PyObject *value = Py_BuildValue("NI", view(stage->rows, n_bytes), (unsigned)stage->width);
        if (key == NULL || value == NULL || PyDict_SetItem(stages, key, value) != 0) {
            Py_CLEAR(stages);
        }
        Py_XDECREF(value);
        Py_XDECREF(key);
    }
    return stages;
}

enum status python_set_trace(const char *name, const struct trace *trace, struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    PyObject *function = python_function("lockstep_views", "Trace", err);
    if (function == NULL) {
        return err->status;
    }
    PyObject *stages = trace != NULL ? stages_of(trace) : NULL;
    PyObject *object = NULL;
    if (trace == NULL) {
        object = Py_NewRef(Py_None);
    } else if (stages != NULL) {
        object =
            PyObject_CallFunction(function, "sNNO", name, view(trace->tokens, trace->n_positions * sizeof(int32_t)),
                                  view(trace->phase, trace->n_positions), stages);
    }
    PyObject *namespace = PyModule_GetDict(PyImport_AddModule("__main__")); /* borrowed */
    bool ok = object != NULL && PyDict_SetItemString(namespace, name, object) == 0;
    enum status status = ok ? STATUS_OK : python_failed("py", err);
    Py_XDECREF(object);
    Py_XDECREF(stages);
    Py_DECREF(function);
    return status;
}
