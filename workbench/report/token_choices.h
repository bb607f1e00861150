/* The tokens that two traces of one run would go on with. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_TOKEN_CHOICES_H
#define LOCKSTEP_WORKBENCH_REPORT_TOKEN_CHOICES_H

#include "workbench/session/comparison.h"

/* Where every op that could be judged passes and a trace would go on with another token than the golden: a note says
 * how close the two tokens are, how far the traces differ there, and what to try. */
void choices_note(struct comparison *comparison, const struct trace *trace, const struct trace *golden);

#endif
