/* Invariants: runs that must agree and often do not. Prefill against decode, a prompt in chunks, batch sizes that
 * select other kernels, one run against the next; of the session's engine, or of two traces of a stranger's.
 *
 * Each run is audited by itself, so that what the kernels round is no difference: two runs agree if every op of both
 * follows from its own inputs. Where one does not, its first error is located and diagnosed as in `audit`. A run that
 * is repeated must be bit-identical. */
#ifndef LOCKSTEP_WORKBENCH_INVARIANTS_INVARIANTS_H
#define LOCKSTEP_WORKBENCH_INVARIANTS_INVARIANTS_H

#include "workbench/session/comparison.h"
#include "workbench/session/session.h"

#define INVARIANTS_MOST_RUNS 8

struct invariant_run {
    char name[64];    /* "prefill", "chunks of 3"; of a stranger's trace: its path */
    char batches[64]; /* how its tokens ran: "16 prefill", "10 prefill, 6 decode" */
    struct comparison comparison;
};

/* A run beside the first one. */
struct invariant_pair {
    uint32_t n_positions, shift; /* that both have; the first run's position p is this one's p + shift */
    bool must_be_identical;      /* the same batches ran again */
    bool identical;
    double relative_rms; /* the largest of any stage */
    int32_t layer;       /* of that stage */
    enum stage stage;
    uint32_t n_choices, n_same_choices; /* rows of logits in both, and those that choose the same token */
    bool comparable;                    /* some row is in both */
    bool sees_padding; /* its ops are right if the padding before its tokens belongs to the text: nothing hides it */
};

struct invariants {
    uint32_t n_runs;
    struct invariant_run runs[INVARIANTS_MOST_RUNS];
    struct invariant_pair pairs[INVARIANTS_MOST_RUNS]; /* [n_runs]; the first is not used */
};

/* Runs tokens[n_tokens] on the session's engine in several ways, and judges each. */
enum status invariants_run(struct invariants *invariants, struct session *session, const int32_t *tokens,
                           uint32_t n_tokens, struct error *err);

/* Judges two traces by the plan, and compares them where their tokens agree: a common beginning; or all tokens of `a`
 * behind others at the beginning of `b`, the padding, which `b` must not see. Takes both over. STATUS_BAD_INPUT: no
 * token is common, or a trace cannot be one of the plan. On failure nothing is left to free. */
enum status invariants_compare(struct invariants *invariants, const struct plan *plan, struct trace *a, struct trace *b,
                               struct error *err);

/* Parity: they hold. */
enum conclusion invariants_conclude(const struct invariants *invariants);

/* The first run that does not hold; n_runs: all do. */
uint32_t invariants_first(const struct invariants *invariants);

void invariants_print(const struct invariants *invariants);

/* The format "lockstep-invariants", version 1. The caller releases it. */
json_t *invariants_json(const struct invariants *invariants);
void invariants_free(struct invariants *invariants);

#endif
