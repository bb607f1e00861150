/* Relations: what a failing step's output may equal, when no mutant of the op reproduces it. Each is a small function;
 * a new one is a row in the table of relations.c. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_RELATIONS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_RELATIONS_H

#include "workbench/diagnose/diagnose.h"

/* The failing rows of a step, or as many of them as fit the memory, with what was expected. */
struct evidence {
    const struct plan *plan;
    uint32_t step_index;
    const struct step *step;
    const struct trace *trace;
    const struct trace_stage *stage;
    uint32_t n;                /* failing rows here */
    const struct op_row *rows; /* [n] */
    const double *expected;    /* [n, width] */
    const double *bound;       /* [n, width] */
};

/* Row i of the evidence: as recorded, and as expected. */
const float *evidence_actual(const struct evidence *evidence, uint32_t i);
const double *evidence_expected(const struct evidence *evidence, uint32_t i);
const double *evidence_bound(const struct evidence *evidence, uint32_t i);

/* The only dim that fails in any row, or -1 if there are several. */
int64_t evidence_only_dim(const struct evidence *evidence);

/* Whether the relation holds for all failing rows; if so, text is the evidence in words. */
typedef bool relation_function(const struct evidence *evidence, char text[512]);

relation_function relation_zeros, relation_constant, relation_copied_input, relation_other_stage, relation_other_row,
    relation_tail_unwritten;
relation_function relation_sign_flipped, relation_constant_multiple, relation_constant_offset, relation_row_multiples,
    relation_permutation;
relation_function relation_pad_chosen, relation_pair_order, relation_heads_exchanged, relation_stages_exchanged,
    relation_columns_mixed, relation_part_scaled;
relation_function relation_one_weight, relation_one_dim_multiple, relation_one_dim, relation_storage_overflow,
    relation_nonfinite;

/* Writes every relation that holds to found[max], in the order of the table: the most telling first. */
uint32_t relations_find(const struct evidence *evidence, struct diagnosis *found, uint32_t max);

#endif
