/* What stepping prints. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_PRINT_STEPS_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_PRINT_STEPS_H

#include "workbench/debugger/repl.h"

/* One line a stage for steps [first, last) of the current batch, with a heading where a layer begins. heading: also
 * before the first line. */
void print_steps(struct repl *repl, uint32_t first, uint32_t last, bool heading);

/* What the columns of ratios mean: once in a session, below the first table of its kind. */
enum legend { LEGEND_STEPS, LEGEND_DIFF };
void print_legend(struct repl *repl, enum legend legend);

/* One line an error, for the introduced errors from number `first` on. */
void print_introduced(const struct repl *repl, uint32_t first);

/* One line that sums up the batch that is done. */
void print_batch(struct repl *repl);

/* "positions 0-5 (prefill)", of the current batch */
const char *positions_text(const struct repl *repl, char text[64]);

/* The kernel that made a step's rows of a batch on the engine, as step_kernel_text writes it. text: [STEP_KERNEL_SIZE]
 */
const char *repl_kernel_text(const struct repl *repl, uint32_t batch, uint32_t step, char *text);

#endif
