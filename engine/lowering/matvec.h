/* Decoding on a GPU: one row of x times a matrix, with what comes before and after it fused in. fuse_decode.c finds in
 * the plan what to fuse. A product gives the same bits by itself and fused. */
#ifndef LOCKSTEP_ENGINE_LOWERING_MATVEC_H
#define LOCKSTEP_ENGINE_LOWERING_MATVEC_H

#include "engine/schedule/builder.h"

#define MATVEC_FIRST_BINDING 3
#define MATVEC_BINDINGS 14

/* The steps that compute x, from b->step on. */
struct prologue {
    uint32_t kind;    /* PROLOGUE_ code */
    uint32_t n_steps; /* that it covers */
    uint32_t first;   /* step: the norm of the branch */
    uint32_t sum;     /* step: the add */
    uint32_t last;    /* step: the norm behind it */
};

struct matvec {
    const struct tensor *matrix, *bias;
    uint32_t output;     /* step */
    uint32_t epilogue;   /* EPILOGUE_ code */
    uint32_t activation; /* ACTIVATION_ code, for EPILOGUE_GLU */
    uint32_t matrices;   /* that a team reads a row of at a time: 1, or 2 for gate and up */
    uint64_t more_bytes; /* as in struct matmul */
    struct prologue prologue;
    bool stores;                              /* store what the prologue computes */
    bool capture;                             /* also store stages that no other dispatch reads */
    bool waits;                               /* as in struct dispatch */
    struct binding bindings[MATVEC_BINDINGS]; /* from MATVEC_FIRST_BINDING on; used where buffer is set */
    struct matvec_params params;
};

/* The most lanes that a workgroup can have, up to `wanted`; whole subgroups. */
uint32_t matvec_most_lanes(const struct builder *b, uint32_t wanted);

/* Whether a matmul step can be computed this way. */
bool matvec_fits(const struct builder *b, const struct step *matmul);

/* Adds the dispatches of a product, one for each slice of its matrix. */
enum status matvec_add(struct builder *b, const struct matvec *matvec);

/* Adds the dispatches of the current step, if it fits. */
enum status matvec_lower(struct builder *b, bool *done);

#endif
