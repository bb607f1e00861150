/* Tokenises with HuggingFace tokenizers, through golden/lockstep_tokenizer.py. */
#include "workbench/python/python_internal.h"

#include <stdlib.h>

/* A list of bytes objects, not of str: a vocabulary's texts may hold any byte. NULL with an exception set. */
static PyObject *list_of_bytes(const struct text *texts, uint64_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (uint64_t i = 0; list != NULL && i < n; i++) {
        PyObject *bytes = PyBytes_FromStringAndSize(texts[i].bytes, (Py_ssize_t)texts[i].length);
        if (bytes == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, bytes);
    }
    return list;
}

/* A list of floats, or None if the file has none. NULL with an exception set. */
static PyObject *list_of_scores(const struct gguf_tokenizer *tokenizer)
{
    if (tokenizer->scores == NULL) {
        return Py_NewRef(Py_None);
    }
    PyObject *list = PyList_New((Py_ssize_t)tokenizer->n_tokens);
    for (uint64_t i = 0; list != NULL && i < tokenizer->n_tokens; i++) {
        PyObject *score = PyFloat_FromDouble((double)tokenizer->scores[i]);
        if (score == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, score);
    }
    return list;
}

/* Builds the tokenizer from a GGUF file's metadata. NULL with *err filled. */
static PyObject *from_gguf(const struct model *model, struct error *err)
{
    const struct gguf_tokenizer *tokenizer = &model->tokenizer;
    PyObject *function = python_function("lockstep_tokenizer", "from_gguf", err);
    if (function == NULL) {
        return NULL;
    }
    PyObject *tokens = list_of_bytes(tokenizer->tokens, tokenizer->n_tokens);
    PyObject *merges = tokens != NULL ? list_of_bytes(tokenizer->merges, tokenizer->n_merges) : NULL;
    PyObject *types = NULL;
    if (merges != NULL && tokenizer->token_types != NULL) {
        types = python_ids(tokenizer->token_types, (uint32_t)tokenizer->n_tokens);
    } else if (merges != NULL) {
        types = Py_NewRef(Py_None);
    }
    PyObject *scores = types != NULL ? list_of_scores(tokenizer) : NULL;
    PyObject *made = NULL;
    if (scores != NULL) {
        made = PyObject_CallFunction(
            function, "sszOOOiOi", model->path, tokenizer->model, tokenizer->pre != NULL ? tokenizer->pre : "", tokens,
            merges, types, tokenizer->add_bos ? model->config.bos_id : -1, scores, (int)tokenizer->add_space_prefix);
    }
    if (made == NULL) {
        python_failed(model->path, err);
    }
    Py_XDECREF(scores);
    Py_XDECREF(types);
    Py_XDECREF(merges);
    Py_XDECREF(tokens);
    Py_DECREF(function);
    return made;
}

/* Reads a tokenizer.json. NULL with *err filled. */
static PyObject *from_json(const char *path, struct error *err)
{
    PyObject *function = python_function("lockstep_tokenizer", "from_json", err);
    PyObject *made = function != NULL ? PyObject_CallFunction(function, "s", path) : NULL;
    if (function != NULL && made == NULL) {
        python_failed(path, err);
    }
    Py_XDECREF(function);
    return made;
}

PyObject *python_tokenizer(const struct model *model, struct error *err)
{
    const char *path = model->tokenizer_json != NULL ? model->tokenizer_json : model->path;
    if (model->tokenizer_json == NULL && model->tokenizer.model == NULL) {
        error_set(err, STATUS_ABSENT, model->path, "tokenizer", ERROR_NO_OFFSET,
                  "the model has none, expected token ids in place of text (--ids)");
        return NULL;
    }
    PyObject *function = python_function("lockstep_tokenizer", "cached", err);
    if (function == NULL) {
        return NULL;
    }
    PyObject *tokenizer = PyObject_CallFunction(function, "s", path);
    Py_DECREF(function);
    if (tokenizer == NULL) {
        python_failed(path, err);
        return NULL;
    }
    if (tokenizer != Py_None) {
        return tokenizer;
    }
    Py_DECREF(tokenizer);
    return model->tokenizer_json != NULL ? from_json(path, err) : from_gguf(model, err);
}

/* Copies a list of ints; *ids is malloc'ed. Returns false with an exception set on failure. */
static bool copy_ids(PyObject *list, int32_t **ids, uint32_t *n_ids)
{
    Py_ssize_t n = PyList_Size(list);
    if (n < 0) {
        return false;
    }
    *ids = xcalloc((uint64_t)n + 1, sizeof(**ids));
    *n_ids = (uint32_t)n;
    for (Py_ssize_t i = 0; i < n; i++) {
        (*ids)[i] = (int32_t)PyLong_AsLong(PyList_GET_ITEM(list, i));
    }
    if (PyErr_Occurred() != NULL) {
        free(*ids);
        *ids = NULL;
        return false;
    }
    return true;
}

/* special: whether to add the tokenizer's own special tokens. */
static enum status encode(const struct model *model, const char *text, bool special, int32_t **ids, uint32_t *n_ids,
                          struct error *err)
{
    PyObject *tokenizer = python_tokenizer(model, err);
    if (tokenizer == NULL) {
        return err->status;
    }
    PyObject *function = python_function("lockstep_tokenizer", "encode", err);
    PyObject *list = NULL;
    enum status status = function != NULL ? STATUS_OK : err->status;
    if (function != NULL) {
        list = PyObject_CallFunction(function, "OsO", tokenizer, text, special ? Py_True : Py_False);
        if (list == NULL || !copy_ids(list, ids, n_ids)) {
            status = python_failed("tokenizer", err);
        }
    }
    Py_XDECREF(list);
    Py_XDECREF(function);
    Py_DECREF(tokenizer);
    return status;
}

enum status python_tokenize(const struct model *model, const char *text, int32_t **ids, uint32_t *n_ids,
                            struct error *err)
{
    struct error unused;
    return encode(model, text, true, ids, n_ids, err != NULL ? err : &unused);
}

enum status python_tokenize_plain(const struct model *model, const char *text, int32_t **ids, uint32_t *n_ids,
                                  struct error *err)
{
    struct error unused;
    return encode(model, text, false, ids, n_ids, err != NULL ? err : &unused);
}

static enum status decode(const struct model *model, const int32_t *ids, uint32_t n_ids, char **text, struct error *err)
{
    PyObject *tokenizer = python_tokenizer(model, err);
    if (tokenizer == NULL) {
        return err->status;
    }
    PyObject *function = python_function("lockstep_tokenizer", "decode", err);
    PyObject *list = function != NULL ? python_ids(ids, n_ids) : NULL;
    PyObject *string = list != NULL ? PyObject_CallFunctionObjArgs(function, tokenizer, list, NULL) : NULL;
    const char *utf8 = string != NULL ? PyUnicode_AsUTF8(string) : NULL;
    enum status status = STATUS_OK;
    if (utf8 != NULL) {
        *text = xstrdup(utf8);
    } else {
        status = function != NULL ? python_failed("tokenizer", err) : err->status;
    }
    Py_XDECREF(string);
    Py_XDECREF(list);
    Py_XDECREF(function);
    Py_DECREF(tokenizer);
    return status;
}

enum status python_detokenize(const struct model *model, const int32_t *ids, uint32_t n_ids, char **text,
                              struct error *err)
{
    struct error unused;
    return decode(model, ids, n_ids, text, err != NULL ? err : &unused);
}

char *python_token_text(const struct model *model, int32_t id)
{
    char *text = NULL;
    struct error err;
    bool has_tokenizer = model->tokenizer_json != NULL || model->tokenizer.model != NULL;
    return has_tokenizer && python_detokenize(model, &id, 1, &text, &err) == STATUS_OK ? text : NULL;
}
