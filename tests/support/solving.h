/* For tests of solvers: a small model's golden, of which one stage is recomputed with a bug, and what the diagnosis
 * says of it. */
#ifndef LOCKSTEP_TESTS_SUPPORT_SOLVING_H
#define LOCKSTEP_TESTS_SUPPORT_SOLVING_H

#include "tests/support/recording.h"
#include "workbench/diagnose/diagnose.h"

struct solving {
    struct small_model small;
    const struct step *step; /* of the stage that has the bug */
    uint32_t n;              /* positions */
    uint32_t width;          /* of the stage */
    float *rows;             /* [n, width] the stage's, to be overwritten */
    const float *in[2];      /* [n, width of the input] */
    uint32_t in_width[2];
};

/* name: of a model with a golden, or of a .gguf, which the reference runs then. */
void solving_open(struct solving *solving, const char *name, int32_t layer, enum stage stage);
void solving_close(struct solving *solving);

/* The step's matrix as f32, [out, in]; the caller frees it. */
float *solving_weights(const struct tensor *tensor);

/* The stage becomes W x + b in double precision. x: [n, n_in]; b may be NULL. */
void solving_product(struct solving *solving, const float *w, const float *x, const float *b);

/* The first diagnosis must be of this kind and say this; solved: the number that it found, NAN: any. */
void solving_expect(struct solving *solving, enum fault_kind kind, const char *says, double solved);

/* The first diagnosis is a symptom: it has this kind, proves nothing, and says so much. */
void solving_expect_symptom(struct solving *solving, enum fault_kind kind, const char *says);

/* The first diagnosis, if any, must not be of this kind. */
void solving_refuse(struct solving *solving, enum fault_kind kind);

#endif
