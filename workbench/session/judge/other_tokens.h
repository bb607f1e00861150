/* Logits that choose other tokens than the golden's, where nothing before them is recorded: a divergence whose place is
 * unknown, if no rounding explains it.
 *
 * How far roundings move logits from the tokens on, through all layers, no bound says. It is tried: the reference runs
 * the tokens twice, in float32 and with everything rounded to the type of the source (operands, weights, attention,
 * what is stored), and the rms over the vocabulary of what differs is the standard deviation s of a logit at that
 * position. A source that declares nothing, and whose ops cannot be judged, counts as bfloat16, the coarsest type.
 *
 * Where the trace chooses token a and the golden b, the two disagree by D = (trace_a - trace_b) + (golden_b -
 * golden_a), whose deviation is sqrt(2 (s_trace^2 + s_golden^2)). More than BOUND_LAMBDA times that is a divergence. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_JUDGE_OTHER_TOKENS_H
#define LOCKSTEP_WORKBENCH_SESSION_JUDGE_OTHER_TOKENS_H

#include "workbench/session/comparison.h"

/* Makes the logits of traces fail that choose other tokens so. To be called when all is audited. Returns whether any
 * does. */
bool other_tokens_judge(struct comparison *comparison);

/* Adds what is to be said of them. */
void other_tokens_tell(struct comparison *comparison);

#endif
