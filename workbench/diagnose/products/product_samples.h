/* A few outputs of the failing rows of a matrix product, matmul or expert_matmul, or of an embedding, which is a
 * product with unit vectors. Many explanations are tried on them quickly; the one that fits is then proved on all rows.
 */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_PRODUCT_SAMPLES_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_PRODUCT_SAMPLES_H

#include "workbench/diagnose/solver.h"

struct product_sample {
    uint32_t row, at;    /* of the evidence; output of that row */
    uint64_t weight_row; /* of the matrix */
    uint32_t expert;     /* row of a bias [experts, n_out]; 0 for a matmul */
    uint32_t output;     /* of the matrix: column of the bias */
    const float *x;      /* [n_in] */
    double bias, recorded;
};

struct product_samples {
    const struct step *step;
    uint32_t n, n_in;
    struct product_sample *samples;
    double right_miss; /* sum of squares: recorded - expected */
    float *units;      /* of an embedding: [n, n_in]; else NULL */
};

/* false: the step has no matrix, or fewer than two outputs fail. */
bool product_samples_open(struct product_samples *samples, const struct evidence *evidence);
void product_samples_close(struct product_samples *samples);

/* A row of weights: w[n_in]. */
typedef void weights_function(const void *context, const struct tensor *matrix, uint64_t row, float *w);

/* Whether these weights miss the samples by far less than the right ones do. */
bool product_samples_fit(const struct product_samples *samples, const struct tensor *matrix, weights_function *weights,
                         const void *context);

/* Whether other inputs do: those of the trial's rows, of which the failing ones stand first. */
bool product_samples_fit_inputs(const struct product_samples *samples, const struct op_row *rows);

/* The rows of a tensor as they are. */
weights_function weights_as_stored;

/* The rows of a trial, or of the evidence, that an expanded matrix is for. */
struct product_rows {
    struct op_row *rows; /* edited: an embedding's tokens become rows of its matrix */
    uint32_t n;
};

/* A step whose matrix is computed by a function, and the rows that go with it: an embedding's matrix has only the rows
 * of the tokens that occur. *step: the right step, which is edited. false: it would be too large. */
bool product_expand(struct step *step, struct arena *arena, weights_function *weights, const void *context,
                    const struct product_rows *rows);

/* A tensor of F32 values in the arena, of the matrix's shape, from a function. */
struct tensor *weights_expand(struct arena *arena, const struct tensor *matrix, weights_function *weights,
                              const void *context);

#endif
