/* The comparison that `diff` would make of the run: what until, first, audit and assert say of it. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_RUN_FULL_COMPARISON_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_RUN_FULL_COMPARISON_H

#include "workbench/debugger/repl.h"
#include "workbench/session/comparison.h"

/* Runs the golden's tokens, all of them, on the sides as they are now, and judges them with the golden. It is made
 * once, and again after the engine changed. *comparison: owned by the prompt; NULL where `diff` has no counterpart:
 * without a golden, with patches or a choice of layers, op by op, or where engines changed during the run. The position
 * stays. */
enum status repl_compare(struct repl *repl, const struct comparison **comparison, struct error *err);

/* Whether all rows so far are of the sides as they are now. */
bool repl_is_uniform(const struct repl *repl);

/* "diverged: engine, layer 17 ffn_down". Returns text. */
#define REPL_VERDICT_SIZE 128
const char *repl_diverged_text(const char *source, const struct step *step, char text[REPL_VERDICT_SIZE]);

/* The same of a comparison; or "parity", "undecided". */
const char *repl_verdict_text(const struct comparison *comparison, char text[REPL_VERDICT_SIZE]);

/* Forgets it: another golden, other tokens. */
void repl_forget_comparison(struct repl *repl);

/* Step and position of the first divergence, as the prompt counts them. false: the comparison found none. */
bool repl_first_divergence(const struct repl *repl, const struct comparison *comparison, uint32_t *step,
                           uint32_t *position);

/* Whether an error that the prompt met is one for the comparison, too: it may know of roundings that explain it. */
bool repl_is_introduced(const struct repl *repl, const struct comparison *comparison,
                        const struct repl_introduced *introduced);

#endif
