/* The answer: what is printed first of a divergence, by `diff`, `audit`, and at the prompt by `until diverge` and
 * `first`. A verdict, then where, how far off, who is wrong, why, what else, and how to go on: at most 22 lines of 80
 * columns. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_ANSWER_H
#define LOCKSTEP_WORKBENCH_REPORT_ANSWER_H

#include <stdio.h>

#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"

#define ANSWER_MOST_LINES 22

struct answer {
    const struct plan *plan;
    /* Of n traces: whose each is, and its rows. */
    uint32_t n;
    const enum source *sources;
    const struct trace *const *traces;
    enum outlier outlier;
    struct introduced first; /* the divergence; `trace` is its index in `traces` */
    /* [n_steps] of the diverging trace, for the steps beside the failing one. NULL: the step did not run. */
    const struct finding *const *findings;
    const uint8_t *cleared; /* [n_steps] as verdict.cleared of that trace; NULL: none */
    /* Those of the first divergence first; n_unexplained: further errors whose cause is not proven. */
    const struct diagnosis *diagnoses;
    uint32_t n_diagnoses, n_unexplained;
    const char *token_text;    /* of the failing position; NULL: not known */
    const char *kernel;        /* that made the failing rows of an engine (session/step_kernel.h); NULL: not known */
    const char *debug_command; /* opens the prompt on the same run, from a shell; NULL: it is open */
    const char *ran;           /* of which run it is; NULL: not said */
    const char *ran_short;     /* the same in one line, for where many bugs leave no more */
    const char *rest;          /* what is left out, and how it is printed; NULL: not said */
    const char *const *notes;  /* those that fit are printed */
    uint32_t n_notes;
};

void answer_print(const struct answer *answer, FILE *out);

/* Names the sources but one, as a sentence has them: "engine, reference and golden". omitted: SOURCE_COUNT omits none.
 */
#define SOURCES_TEXT_SIZE 64 /* bytes */
const char *sources_text(const enum source *sources, uint32_t n, enum source omitted, char text[SOURCES_TEXT_SIZE]);

/* answer_cause.c: the diagnosis of the first divergence, in at most `most` lines; and one line for each further bug.
 * Both add to lines. */
struct text_lines;
void answer_add_cause(const struct answer *answer, uint32_t most, struct text_lines *lines);
void answer_add_further(const struct answer *answer, uint32_t most, struct text_lines *lines);

/* answer_tokens.c: whether logits alone choose other tokens than the golden's; and the lines after the verdict then. */
bool answer_is_of_tokens(const struct answer *answer);
void answer_add_tokens(const struct answer *answer, struct text_lines *lines);

/* The number of lines that each wants. */
uint32_t answer_count_cause(const struct answer *answer);
uint32_t answer_count_further(const struct answer *answer);

/* Whether diagnosis i is the best one of its step. */
bool answer_is_best(const struct answer *answer, uint32_t i);

#endif
