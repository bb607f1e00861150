#include "workbench/diagnose/relations/relations.h"

#include <string.h>

static const struct relation {
    const char *name;
    relation_function *holds;
    enum fault_kind kind;
    enum diagnosis_how how;
} relations[] = {
#define RELATION_ROW(name, function, kind, how) {name, relation_##function, KIND_##kind, how},
    RELATIONS(RELATION_ROW)
#undef RELATION_ROW
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
        diagnosis->solved = (struct solved){0};
        diagnosis->how = relations[i].how;
        diagnosis->kind = relations[i].kind;
        diagnosis->postmortem = "";
        n++;
    }
    return n;
}

bool relation_proves(const char *name, enum diagnosis_how *how)
{
    for (size_t i = 0; i < sizeof(relations) / sizeof(*relations); i++) {
        if (strcmp(relations[i].name, name) == 0) {
            *how = relations[i].how;
            return true;
        }
    }
    return false;
}
