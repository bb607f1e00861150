/* Audits what ran: every step of every side, and the token that each side chooses. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_RUN_JUDGE_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_RUN_JUDGE_H

#include "workbench/debugger/repl.h"

/* judge.c: audits a step of a side over the current batch, which is number `batch`, and compares it with the golden. */
void repl_judge_step(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);

/* Audits a step of a side over all its rows. Where the golden's weights are MODEL's in another precision, that is no
 * failure. */
struct finding repl_audit_step(struct repl *repl, const struct repl_side *side, uint32_t step);

/* A judgement that was made. */
struct repl_judgement *repl_judgement_of(const struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);

/* Audits all batches again: the golden's steps, and steps [first, last) of the other sides. Collects the introduced
 * errors and the summaries anew. */
void repl_rejudge(struct repl *repl, uint32_t first, uint32_t last);

/* Adds a batch's judgement of a step to the side's summary; or computes all summaries anew; or is one of no batch. */
void repl_update_summary(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);
void repl_summarize(struct repl *repl);
struct repl_summary repl_no_summary(void);

/* Adds an error to repl->introduced; or adds the judgement of a step if it failed. */
void repl_add_introduced(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step,
                         const struct finding *finding);
void repl_add_introduced_if_failed(struct repl *repl, uint32_t batch, uint32_t side, uint32_t step);

/* choose_token.c: makes repl->judged_plan; and its step that chooses a token. */
void repl_init_judged_plan(struct repl *repl);
uint32_t repl_sample_step(const struct repl *repl);

/* At the end of a batch that is followed by a new token: each running side chooses one, and the choices are judged. */
void repl_choose_tokens(struct repl *repl);
void repl_judge_choices(struct repl *repl, uint32_t batch);

/* Forgets the tokens that a side chose after the position. */
void repl_drop_choices(const struct repl *repl, const struct repl_side *side);

/* Whether a choice at the end of the current batch was judged wrong. */
bool repl_choice_failed(const struct repl *repl);

/* probe_output.c: makes the lines that the debug configuration asks for, for a step of the current batch; prints those
 * made so far. They come after the line that says where the position is. */
void repl_make_probes(struct repl *repl, uint32_t step);
void repl_show_probes(struct repl *repl);

#endif
