/* Which stages the engine copies to the host. With checkpoint layers (debug.layers, set layers) these are: the
 * checkpoint layers; everything outside the layers; keys, values and output of every layer, which going back needs; and
 * what probes, patches and breakpoints look at. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_RUN_CAPTURE_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_RUN_CAPTURE_H

#include "workbench/debugger/repl.h"

bool repl_is_captured(const struct repl *repl, uint32_t step);

/* Chooses the stages anew, after layers, probes, patches or breakpoints changed. The position stays. */
enum status repl_update_capture(struct repl *repl, struct error *err);

/* recompute_layer.c: if the step's layer was not captured, recomputes it for every batch so far, from recorded inputs,
 * and captures it from now on. The position stays. Nothing changes on Ctrl-C, or if the engine was exchanged since the
 * layer ran. */
enum status repl_ensure_captured(struct repl *repl, uint32_t step, struct error *err);

#endif
