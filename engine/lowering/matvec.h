/* The dispatches that decoding on a GPU is made of: a row of x times a matrix (matvec.c), and one row's attention in
 * parts (parts.c). decode.c finds in a plan what they cover. Alone or fused, a step's bits are the same. */
#ifndef LOCKSTEP_ENGINE_MATVEC_H
#define LOCKSTEP_ENGINE_MATVEC_H

#include "engine/schedule/builder.h"

#define MATVEC_FIRST_BINDING 3
#define MATVEC_BINDINGS 14

/* What makes x, of the steps from b->step on. */
struct prologue {
    uint32_t kind;             /* PROLOGUE_ code */
    uint32_t n_steps;          /* that it covers */
    uint32_t first, sum, last; /* steps: the branch's norm, the add, the norm */
};

struct matvec {
    const struct tensor *matrix, *bias;
    uint32_t output, epilogue, activation, matrices; /* matrices: whose rows a team takes together */
    uint64_t more_bytes;                             /* as struct matmul's */
    struct prologue prologue;
    bool stores, capture, waits;
    struct binding bindings[MATVEC_BINDINGS]; /* 3 on, where buffer is set */
    struct matvec_params params;
};

/* Lanes of a workgroup: so many, or what the device has; whole subgroups. */
uint32_t matvec_most_lanes(const struct builder *b, uint32_t wanted);

/* A stage as the shaders read it, in vec4s; slots are far enough apart. */
struct binding matvec_input(const struct builder *b, int32_t step);

/* The dispatches of a product, one a slice of its matrix. */
enum status matvec_add(struct builder *b, const struct matvec *matvec);

/* One row's attention, and what is done of its q and k with it. Steps; n_steps 0: it stands alone. */
struct heads {
    uint32_t n_steps, attention, prologue;
    uint32_t q_norm, k_norm, q_rope, k_rope;
};

/* [q_norm k_norm] q_rope k_rope attention at b->step, if that is what stands there. */
bool parts_match(const struct builder *b, struct heads *heads);

/* The dispatch that makes the parts; capture: it stores what it makes on the way. */
enum status parts_add(struct builder *b, const struct heads *heads, bool capture);

/* The dispatch that puts the parts of step `attention` together, where no product behind it does so; the parts. */
enum status parts_join(struct builder *b, uint32_t attention);
struct binding parts_binding(const struct builder *b, uint32_t attention, bool write);

#endif
