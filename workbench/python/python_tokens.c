/* Chat templates, and what `lockstep tokens` tells, through golden/lockstep_tokens.py. */
#include "workbench/python/python_internal.h"

#include <stdlib.h>
#include <string.h>

/* The text of a token that a GGUF names, BOS say; "": none. malloc'ed. */
static char *gguf_token_text(const struct model *model, int32_t id)
{
    const struct gguf_tokenizer *tokenizer = &model->tokenizer;
    if (id < 0 || (uint64_t)id >= tokenizer->n_tokens) {
        return xstrdup("");
    }
    const struct text *text = &tokenizer->tokens[id];
    char *copy = xcalloc(text->length + 1, 1);
    memcpy(copy, text->bytes, text->length);
    return copy;
}

/* The folder that holds the tokenizer's files; "" for a GGUF. */
static const char *folder_of(const struct model *model)
{
    return model->tokenizer.model != NULL ? "" : model->path;
}

/* Copies a Python string, and releases it. what: what failed, for the message. */
static enum status take_text(PyObject *string, const char *what, char **text, struct error *err)
{
    const char *utf8 = string != NULL ? PyUnicode_AsUTF8(string) : NULL;
    enum status status = utf8 != NULL ? STATUS_OK : python_failed(what, err);
    if (utf8 != NULL) {
        *text = xstrdup(utf8);
    }
    Py_XDECREF(string);
    return status;
}

enum status python_chat(const struct model *model, const char *messages, char **text, struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    *text = NULL;
    PyObject *function = python_function("lockstep_tokens", "chat", err);
    if (function == NULL) {
        return err->status;
    }
    const struct config *config = &model->config;
    const char *template = model->tokenizer.chat_template;
    char *bos = gguf_token_text(model, config->bos_id);
    char *eos = gguf_token_text(model, config->n_eos_ids > 0 ? config->eos_ids[0] : -1);
    PyObject *string = PyObject_CallFunction(function, "sssss", messages, folder_of(model),
                                             template != NULL ? template : "", bos, eos);
    enum status status = take_text(string, messages, text, err);
    Py_DECREF(function);
    free(eos);
    free(bos);
    return status;
}

enum status python_describe_tokens(const struct model *model, const struct token_source *source, char **json,
                                   struct error *err)
{
    struct error unused;
    err = err != NULL ? err : &unused;
    *json = NULL;
    char *rendered = NULL;
    if (source->messages != NULL) {
        TRY(python_chat(model, source->messages, &rendered, err));
    }
    PyObject *tokenizer = python_tokenizer(model, err);
    PyObject *function = tokenizer != NULL ? python_function("lockstep_tokens", "describe", err) : NULL;
    PyObject *ids = function != NULL ? python_ids(source->ids, source->n_ids) : NULL;
    enum status status = function != NULL ? STATUS_OK : err->status;
    if (function != NULL) {
        struct python_interrupt interrupt;
        python_interrupt_begin(&interrupt);
        PyObject *is_folder = *folder_of(model) != '\0' ? Py_True : Py_False;
        PyObject *string = ids != NULL
                               ? PyObject_CallFunction(function, "OOsOzzziO", tokenizer, ids, model->path, is_folder,
                                                       source->text, source->messages, rendered, model->config.bos_id,
                                                       source->ask_transformers ? Py_True : Py_False)
                               : NULL;
        status = take_text(string, "tokenizer", json, err);
        python_interrupt_end(&interrupt);
    }
    Py_XDECREF(ids);
    Py_XDECREF(function);
    Py_XDECREF(tokenizer);
    free(rendered);
    return status;
}
