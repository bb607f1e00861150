#include "workbench/diagnose/relations.h"

#include <string.h>

/* A relation of values is proved within the bound; one that only describes what is seen is HOW_CONSISTENT. */
static const struct relation {
    const char *name;
    relation_function *holds;
    enum diagnosis_how how;
} relations[] = {
    {"zeros", relation_zeros, HOW_RELATION},
    {"constant", relation_constant, HOW_RELATION},
    {"copied-input", relation_copied_input, HOW_RELATION},
    {"equals-other-stage", relation_other_stage, HOW_RELATION},
    {"equals-other-row", relation_other_row, HOW_RELATION},
    {"tail-unwritten", relation_tail_unwritten, HOW_RELATION},
    {"stages-exchanged", relation_stages_exchanged, HOW_RELATION},
    {"sign-flipped", relation_sign_flipped, HOW_RELATION},
    {"constant-multiple", relation_constant_multiple, HOW_RELATION},
    {"constant-offset", relation_constant_offset, HOW_RELATION},
    {"row-multiples", relation_row_multiples, HOW_RELATION},
    {"pair-order", relation_pair_order, HOW_RELATION},
    {"heads-exchanged", relation_heads_exchanged, HOW_RELATION},
    {"permutation", relation_permutation, HOW_RELATION},
    {"one-weight", relation_one_weight, HOW_RELATION},
    {"one-dim-multiple", relation_one_dim_multiple, HOW_RELATION},
    {"part-scaled", relation_part_scaled, HOW_RELATION},
    {"columns-mixed", relation_columns_mixed, HOW_RELATION},
    {"storage-overflow", relation_storage_overflow, HOW_RELATION},
    {"pad-chosen", relation_pad_chosen, HOW_CONSISTENT},
    {"one-dim", relation_one_dim, HOW_CONSISTENT},
    {"nonfinite", relation_nonfinite, HOW_CONSISTENT},
};

const float *evidence_actual(const struct evidence *evidence, uint32_t i)
{
    return evidence->stage->rows + (uint64_t)evidence->rows[i].position * evidence->stage->width;
}

const double *evidence_expected(const struct evidence *evidence, uint32_t i)
{
    return evidence->expected + (uint64_t)i * evidence->stage->width;
}

const double *evidence_bound(const struct evidence *evidence, uint32_t i)
{
    return evidence->bound + (uint64_t)i * evidence->stage->width;
}

int64_t evidence_only_dim(const struct evidence *evidence)
{
    int64_t only = -1;
    for (uint32_t i = 0; i < evidence->n; i++) {
        const float *actual = evidence_actual(evidence, i);
        const double *expected = evidence_expected(evidence, i), *bound = evidence_bound(evidence, i);
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            if (!(judge(expected[d], actual[d], bound[d]) > 1)) {
                continue;
            }
            if (only >= 0 && only != d) {
                return -1;
            }
            only = d;
        }
    }
    return only;
}

uint32_t relations_find(const struct evidence *evidence, struct diagnosis *found, uint32_t max)
{
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof(relations) / sizeof(*relations) && n < max; i++) {
        struct diagnosis *diagnosis = &found[n];
        if (!relations[i].holds(evidence, diagnosis->text)) {
            continue;
        }
        strcpy(diagnosis->fault, relations[i].name);
        diagnosis->how = relations[i].how;
        diagnosis->postmortem = "";
        n++;
    }
    return n;
}
