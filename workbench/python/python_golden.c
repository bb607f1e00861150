/* Records a golden: transformers runs inside the program (golden/exporter.py), and what its hooks record becomes a
 * trace. */
#include "workbench/python/python_internal.h"
#include "workbench/session/session.h"

#include <stdlib.h>
#include <string.h>

/* An item of the exporter's dict, borrowed. The exporter is our own, so a missing item is a programmer's error. */
static PyObject *item(PyObject *dict, const char *key)
{
    PyObject *value = PyDict_GetItemString(dict, key);
    ASSERT(value != NULL);
    return value;
}

/* Copies a contiguous array of n values of `size` bytes each. Returns false with an exception set if it is another. */
static bool copy_array(PyObject *array, void *values, uint64_t n, size_t size)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(array, &buffer, PyBUF_C_CONTIGUOUS) != 0) {
        return false;
    }
    bool fits = (uint64_t)buffer.len == n * size && buffer.itemsize == (Py_ssize_t)size;
    if (fits) {
        memcpy(values, buffer.buf, n * size);
    } else {
        PyErr_SetString(PyExc_ValueError, "an array of another size than its stage");
    }
    PyBuffer_Release(&buffer);
    return fits;
}

/* Copies one stage. key: (stage name, layer or None). array: float32 [rows, width], of the last positions if there are
 * fewer rows than positions. Returns false with an exception set if it cannot be. */
static bool add_stage(struct trace *trace, PyObject *key, PyObject *array)
{
    const char *name;
    PyObject *layer_object;
    Py_buffer buffer;
    if (!PyArg_ParseTuple(key, "sO", &name, &layer_object) || PyObject_GetBuffer(array, &buffer, PyBUF_ND) != 0) {
        return false;
    }
    bool fits = buffer.ndim == 2 && buffer.shape[0] <= trace->n_positions && buffer.shape[1] > 0;
    uint32_t n_rows = fits ? (uint32_t)buffer.shape[0] : 0, width = fits ? (uint32_t)buffer.shape[1] : 0;
    PyBuffer_Release(&buffer);
    enum stage stage = stage_by_name(name);
    long layer = layer_object == Py_None ? LAYER_NONE : PyLong_AsLong(layer_object);
    if (!fits || stage == STAGE_COUNT || stage_in_layer(stage) != (layer != LAYER_NONE)) {
        PyErr_Format(PyExc_ValueError, "stage %s was recorded in a shape or place that it cannot have", name);
        return false;
    }
    struct trace_stage *added = trace_add(trace, (int32_t)layer, stage, width);
    uint32_t first = trace->n_positions - n_rows;
    memset(added->recorded + first, 1, n_rows);
    added->n_recorded = n_rows;
    return copy_array(array, added->rows + (uint64_t)first * width, (uint64_t)n_rows * width, sizeof(float));
}

/* Declares the dtype that the whole model was rounded to when it was loaded. Sums are float32 for every dtype, as in
 * torch's CPU kernels. Operands are rounded only by being stored. Eager attention stores its scores and probabilities;
 * GPT-OSS's stores scores once more, with their maximum subtracted (modeling_gpt_oss.py). */
static void declare_dtype(struct trace *trace, const char *dtype)
{
    if (strcmp(dtype, "float32") == 0) {
        return; /* a trace declares that from the start */
    }
    bool known = float_type(dtype, &trace->arith.u_storage, &trace->arith.eta);
    ASSERT(known);
    struct roundings *roundings = &trace->arith.roundings;
    roundings->scores = roundings->probs = (uint8_t)rounding_by_name(dtype);
    if (strcmp(trace->model_type, "gpt_oss") == 0) {
        roundings->shifted = roundings->scores;
    }
    trace->weights_dtype = roundings->scores == ROUNDING_F16 ? DTYPE_F16 : DTYPE_BF16;
}

/* Makes a trace of what exporter.record() returned. Returns false with an exception set on failure; *trace is
 * initialised either way. */
static bool trace_of(PyObject *recorded, const struct model *model, const char *dtype, struct trace *trace)
{
    PyObject *tokens = item(recorded, "tokens");
    Py_ssize_t n = PyObject_Length(tokens);
    ASSERT(n > 0);
    const char *model_type = PyUnicode_AsUTF8(item(recorded, "model_type"));
    const char *producer = PyUnicode_AsUTF8(item(recorded, "producer"));
    ASSERT(model_type != NULL && producer != NULL);
    int32_t *ids = xcalloc((uint64_t)n, sizeof(*ids));
    uint8_t *phase = xcalloc((uint64_t)n, sizeof(*phase));
    bool ok = copy_array(tokens, ids, (uint64_t)n, sizeof(*ids)) &&
              copy_array(item(recorded, "phase"), phase, (uint64_t)n, sizeof(*phase));
    trace_init(trace, model->path, model_type, (uint32_t)PyLong_AsLong(item(recorded, "n_layers")), (uint32_t)n, ids,
               phase);
    free(phase);
    free(ids);
    free(trace->producer);
    trace->producer = xstrdup(producer);
    declare_dtype(trace, dtype);
    PyObject *key, *array;
    Py_ssize_t at = 0;
    while (ok && PyDict_Next(item(recorded, "stages"), &at, &key, &array) != 0) {
        ok = add_stage(trace, key, array);
    }
    return ok;
}

/* Calls exporter.record(). NULL with *err filled. */
static PyObject *record(const struct model *model, const struct golden_options *options, const char *dtype,
                        struct error *err)
{
    PyObject *function = python_function("exporter", "record", err);
    if (function == NULL) {
        return NULL;
    }
    PyObject *prompt = python_ids(options->ids, options->n_ids);
    PyObject *forced =
        options->decode_ids != NULL ? python_ids(options->decode_ids, options->n_decode) : Py_NewRef(Py_None);
    PyObject *recorded = NULL;
    if (prompt != NULL && forced != NULL) {
        struct python_interrupt interrupt;
        python_interrupt_begin(&interrupt);
        recorded =
            PyObject_CallFunction(function, "sOIOsiO", model->path, prompt, (unsigned)options->n_decode, forced, dtype,
                                  (int)config_masked_id(&model->config), options->attn_probs ? Py_True : Py_False);
        python_interrupt_end(&interrupt);
    }
    if (recorded == NULL) {
        python_failed(model->path, err);
    }
    Py_XDECREF(forced);
    Py_XDECREF(prompt);
    Py_DECREF(function);
    return recorded;
}

enum status python_golden(const struct model *model, const struct golden_options *options, struct trace *trace,
                          struct error *err)
{
    const char *dtype = options->dtype != NULL ? options->dtype : "float32";
    struct error unused;
    err = err != NULL ? err : &unused;
    PyObject *recorded = record(model, options, dtype, err);
    if (recorded == NULL) {
        return err->status;
    }
    enum status status = STATUS_OK;
    if (!trace_of(recorded, model, dtype, trace)) {
        status = python_failed(model->path, err);
    }
    Py_DECREF(recorded);
    if (status == STATUS_OK) {
        status = model_digests(model, trace->weights_sha256, trace->config_sha256, err);
    }
    if (status != STATUS_OK) {
        trace_free(trace);
    }
    return status;
}
