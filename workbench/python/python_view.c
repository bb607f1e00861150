/* What user code sees: traces as numpy arrays over their own memory (golden/lockstep_views.py), and plots. */
#include <stdlib.h>

#include "workbench/python/python_internal.h"

/* A view without a copy. It is read-only: an op is judged by these values, so user code must not change them. */
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

/* A fetch function and the trace that it fills, as Python holds them. */
struct fetcher {
    struct python_fetch fetch;
    const struct trace *trace;
};
#define FETCHER "lockstep.fetcher"

static void free_fetcher(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, FETCHER));
}

/* fetch(stage, layer or None): (memory, width), or None where there is no such stage. */
static PyObject *fetch_stage(PyObject *capsule, PyObject *arguments)
{
    const struct fetcher *fetcher = PyCapsule_GetPointer(capsule, FETCHER);
    struct error err = {STATUS_OK, ""};
    const char *name;
    PyObject *layer_object;
    if (fetcher == NULL || !PyArg_ParseTuple(arguments, "sO", &name, &layer_object)) {
        return NULL;
    }
    enum stage stage = stage_by_name(name);
    long layer = layer_object == Py_None ? LAYER_NONE : PyLong_AsLong(layer_object);
    if (PyErr_Occurred() || stage == STAGE_COUNT || layer < LAYER_NONE || layer > INT32_MAX) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    locale_t before = python_use_c_numbers();
    enum status status = fetcher->fetch.function(fetcher->fetch.context, (int32_t)layer, stage, &err);
    uselocale(before);
    if (status != STATUS_OK) {
        PyErr_SetString(PyExc_RuntimeError, err.text);
        return NULL;
    }
    const struct trace_stage *found = trace_find(fetcher->trace, (int32_t)layer, stage);
    if (found == NULL || found->n_recorded == 0) {
        return Py_NewRef(Py_None);
    }
    uint64_t n_bytes = (uint64_t)fetcher->trace->n_positions * found->width * sizeof(float);
    return Py_BuildValue("NI", view(found->rows, n_bytes), (unsigned)found->width);
}

/* A callable, or None where there is no function. NULL with an exception set. */
static PyObject *fetch_object(const struct trace *trace, const struct python_fetch *fetch)
{
    static PyMethodDef method = {"fetch", fetch_stage, METH_VARARGS, NULL};
    if (fetch == NULL) {
        return Py_NewRef(Py_None);
    }
    struct fetcher *fetcher = xmalloc(sizeof(*fetcher));
    *fetcher = (struct fetcher){*fetch, trace};
    PyObject *capsule = PyCapsule_New(fetcher, FETCHER, free_fetcher);
    PyObject *function = capsule != NULL ? PyCFunction_New(&method, capsule) : NULL;
    Py_XDECREF(capsule);
    return function;
}

enum status python_set_trace(const char *name, const struct trace *trace, const struct python_fetch *fetch,
                             struct error *err)
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
            PyObject_CallFunction(function, "sNNON", name, view(trace->tokens, trace->n_positions * sizeof(int32_t)),
                                  view(trace->phase, trace->n_positions), stages, fetch_object(trace, fetch));
    }
    PyObject *namespace = PyModule_GetDict(PyImport_AddModule("__main__")); /* borrowed */
    bool ok = object != NULL && PyDict_SetItemString(namespace, name, object) == 0;
    enum status status = ok ? STATUS_OK : python_failed("py", err);
    Py_XDECREF(object);
    Py_XDECREF(stages);
    Py_DECREF(function);
    return status;
}

/* {"path": …, "model_type": …, …}. NULL with an exception set. */
static PyObject *model_dict(const struct model *model)
{
    const struct config *config = &model->config;
    PyObject *names = PyList_New(0);
    for (uint32_t t = 0; names != NULL && t < model->n_tensors; t++) {
        PyObject *name = PyUnicode_FromString(model->tensors[t].name);
        if (name == NULL || PyList_Append(names, name) != 0) {
            Py_CLEAR(names);
        }
        Py_XDECREF(name);
    }
    return names == NULL
               ? NULL
               : Py_BuildValue("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:N}", "path", model->path, "model_type",
                               config->model_type, "n_layers", (unsigned)config->n_layers, "hidden",
                               (unsigned)config->hidden, "n_heads", (unsigned)config->n_heads, "n_kv_heads",
                               (unsigned)config->n_kv_heads, "head_dim", (unsigned)config->head_dim, "ffn",
                               (unsigned)config->ffn, "vocab", (unsigned)config->vocab, "weights_dtype",
                               model->weights_dtype, "tensors", names);
}

enum status python_set_run(const struct model *model, const int32_t *tokens, uint32_t n_tokens, struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    TRY(python_start(err));
    PyObject *namespace = PyModule_GetDict(PyImport_AddModule("__main__")); /* borrowed */
    PyObject *list = python_ids(tokens, n_tokens), *dict = list != NULL ? model_dict(model) : NULL;
    bool ok = dict != NULL && PyDict_SetItemString(namespace, "tokens", list) == 0 &&
              PyDict_SetItemString(namespace, "model", dict) == 0;
    enum status status = ok ? STATUS_OK : python_failed("py", err);
    Py_XDECREF(dict);
    Py_XDECREF(list);
    return status;
}

enum status python_plot(const char *path, const struct plot *plot, struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    PyObject *function = python_function("lockstep_plot", "save", err);
    if (function == NULL) {
        return err->status;
    }
    PyObject *memory = view(plot->values, (uint64_t)plot->n_rows * plot->n_columns * sizeof(float));
    struct python_interrupt interrupt;
    python_interrupt_begin(&interrupt);
    PyObject *result = NULL;
    if (memory != NULL) {
        result = PyObject_CallFunction(function, "sOIIsss", path, memory, (unsigned)plot->n_rows,
                                       (unsigned)plot->n_columns, plot->title, plot->row_name, plot->column_name);
    }
    enum status status = STATUS_OK;
    if (result == NULL) {
        bool io = PyErr_ExceptionMatches(PyExc_OSError) != 0;
        status = python_failed(path, err);
        if (io) {
            err->status = status = STATUS_IO;
        }
    }
    python_interrupt_end(&interrupt);
    Py_XDECREF(result);
    Py_XDECREF(memory);
    Py_DECREF(function);
    return status;
}
