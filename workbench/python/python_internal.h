/* What the python_*.c files share: the interpreter, and how a Python exception becomes a struct error. Includes
 * Python.h, so it comes before every other header, and nothing outside those files includes it. */
#ifndef LOCKSTEP_WORKBENCH_PYTHON_PYTHON_INTERNAL_H
#define LOCKSTEP_WORKBENCH_PYTHON_PYTHON_INTERNAL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>

#include "workbench/python/python.h"

/* Starts the interpreter if it does not run yet. No .venv: STATUS_ABSENT. */
enum status python_start(struct error *err);

/* Turns the exception that is set into *err, and clears it. what: whose work it was, for the message. A missing module
 * is STATUS_ABSENT, a KeyboardInterrupt STATUS_INTERRUPTED, everything else STATUS_BAD_INPUT. */
enum status python_failed(const char *what, struct error *err);

/* Starts the interpreter and returns a new reference to a function of one of the modules in golden/, or NULL. */
PyObject *python_function(const char *module, const char *function, struct error *err);

/* A list of ints. NULL with an exception set if it fails. */
PyObject *python_ids(const int32_t *ids, uint32_t n_ids);

/* While Python code runs, Ctrl-C raises KeyboardInterrupt in it; afterwards the program's own handling is back, and the
 * locale's decimal point is. */
struct python_interrupt {
    struct sigaction before;
};
void python_interrupt_begin(struct python_interrupt *interrupt);
void python_interrupt_end(const struct python_interrupt *interrupt);

#endif
