/* Relations: what a failing step's output may equal where no mutant of the op reproduces it. A new relation is one row
 * of RELATIONS and the function that it names, relation_NAME, in one of the relations_*.c. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_RELATIONS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_RELATIONS_H

#include "workbench/diagnose/diagnose.h"

/* Name in reports, function, kind of bug (KIND_), and what it proves: HOW_RELATION where every value lies within its
 * bound, HOW_CONSISTENT where it only describes what is seen. The most telling ones come first. */
#define RELATIONS(X)                                                           \
    X("zeros", zeros, UNTOUCHED, HOW_RELATION)                                 \
    X("constant", constant, UNTOUCHED, HOW_RELATION)                           \
    X("copied-input", copied_input, WIRING, HOW_RELATION)                      \
    X("equals-other-stage", other_stage, WIRING, HOW_RELATION)                 \
    X("equals-other-row", other_row, UNTOUCHED, HOW_RELATION)                  \
    X("tail-unwritten", tail_unwritten, UNTOUCHED, HOW_RELATION)               \
    X("part-unwritten", part_unwritten, UNTOUCHED, HOW_RELATION)               \
    X("stages-exchanged", stages_exchanged, WIRING, HOW_RELATION)              \
    X("sign-flipped", sign_flipped, FORMULA, HOW_RELATION)                     \
    X("constant-multiple", constant_multiple, CONSTANT_MULTIPLE, HOW_RELATION) \
    X("constant-offset", constant_offset, ADDITIVE, HOW_RELATION)              \
    X("row-multiples", row_multiples, ROW_MULTIPLES, HOW_RELATION)             \
    X("pair-order", pair_order, LAYOUT, HOW_RELATION)                          \
    X("heads-exchanged", heads_exchanged, LAYOUT, HOW_RELATION)                \
    X("permutation", permutation, LAYOUT, HOW_RELATION)                        \
    X("one-weight", one_weight, WEIGHTS_DECODING, HOW_RELATION)                \
    X("one-dim-multiple", one_dim_multiple, CONSTANT_MULTIPLE, HOW_RELATION)   \
    X("part-scaled", part_scaled, CONSTANT_MULTIPLE, HOW_RELATION)             \
    X("columns-mixed", columns_mixed, MISSING_TERMS, HOW_RELATION)             \
    X("storage-overflow", storage_overflow, SATURATION, HOW_RELATION)          \
    X("nonfinite", nonfinite, NONFINITE, HOW_RELATION)                         \
    X("pad-chosen", pad_chosen, FORMULA, HOW_CONSISTENT)                       \
    X("one-dim", one_dim, SYMPTOM, HOW_CONSISTENT)                             \
    X("some-nonfinite", some_nonfinite, NONFINITE, HOW_CONSISTENT)

/* The failing rows of a step, or as many of them as memory allows, and what was expected of them. */
struct evidence {
    const struct plan *plan;
    uint32_t step_index;
    const struct step *step;
    const struct trace *trace;
    const struct trace_stage *stage;
    uint32_t n;                /* failing rows here */
    const struct op_row *rows; /* [n] */
    double *expected;          /* [n, width]; owned */
    double *bound;             /* [n, width]; owned */
};

/* Row i of the evidence: recorded values, expected values, and their bounds, [width] each. */
const float *evidence_actual(const struct evidence *evidence, uint32_t i);
const double *evidence_expected(const struct evidence *evidence, uint32_t i);
const double *evidence_bound(const struct evidence *evidence, uint32_t i);

/* The only dim that fails in any row, or -1 if there are several. */
int64_t evidence_only_dim(const struct evidence *evidence);

/* Whether the relation holds for all failing rows. If so, text is the evidence in words. */
typedef bool relation_function(const struct evidence *evidence, char text[512]);

#define RELATION_PROTOTYPE(name, function, kind, how) relation_function relation_##function;
RELATIONS(RELATION_PROTOTYPE)
#undef RELATION_PROTOTYPE

/* Writes every relation that holds to found[max], in the order of the table. Returns how many. */
uint32_t relations_find(const struct evidence *evidence, struct diagnosis *found, uint32_t max);

/* Gives relations the names of the faults whose mark they are. */
void relations_name(const struct evidence *evidence, struct diagnosis *found, uint32_t n);

/* What a relation proves. false: no relation has this name. */
bool relation_proves(const char *name, enum diagnosis_how *how);

#endif
