/* What the python*.c files share. Only those include it, before every other header, because Python.h must come first.
 */
#ifndef LOCKSTEP_WORKBENCH_PYTHON_PYTHON_INTERNAL_H
#define LOCKSTEP_WORKBENCH_PYTHON_PYTHON_INTERNAL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <locale.h>
#include <signal.h>

#include "workbench/python/python.h"

/* Starts the interpreter if it does not run yet. STATUS_ABSENT: there is no usable .venv. */
enum status python_start(struct error *err);

/* Clears the exception that is set (there must be one), fills *err from it and returns its status: STATUS_ABSENT for a
 * missing module, STATUS_INTERRUPTED for KeyboardInterrupt, otherwise STATUS_BAD_INPUT. what: what failed, for the
 * message. */
enum status python_failed(const char *what, struct error *err);

/* Starts the interpreter and returns a function of one of the modules in golden/: a new reference, or NULL with *err
 * filled. */
PyObject *python_function(const char *module, const char *function, struct error *err);

/* The model's tokenizer; made at the first call, kept for later ones. NULL with *err filled. */
PyObject *python_tokenizer(const struct model *model, struct error *err);

/* A new list of ints; NULL with an exception set on failure. */
PyObject *python_ids(const int32_t *ids, uint32_t n_ids);

/* From now on this thread's numbers are C's, with a decimal point, whatever locale the process has. Returns what it
 * used before, for uselocale(). */
locale_t python_use_c_numbers(void);

/* Between begin and end, Ctrl-C raises KeyboardInterrupt in Python code, which has the locale that it chose. End
 * restores the program's own handler and numbers. */
struct python_interrupt {
    struct sigaction before;
    locale_t numbers;
};
void python_interrupt_begin(struct python_interrupt *interrupt);
void python_interrupt_end(const struct python_interrupt *interrupt);

#endif
