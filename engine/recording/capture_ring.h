/* Host copies of captured stages: the current batch and the last CAPTURE_RING - 1 tokens. A read waits only for its own
 * copy. */
#ifndef LOCKSTEP_ENGINE_RECORDING_CAPTURE_RING_H
#define LOCKSTEP_ENGINE_RECORDING_CAPTURE_RING_H

#include "engine/recording/shape_types.h"

/* What one place of the ring holds. */
struct captured_token {
    bool whole;           /* every captured stage of one decoded token; its copy may still run */
    uint32_t position;    /* of that token */
    uint64_t copied;      /* number of the copy that brings the stages to the host; 0: none */
    uint64_t copied_last; /* the same for the last step's rows */
};

struct capture_ring {
    uint32_t place; /* of the current batch */
    struct captured_token tokens[CAPTURE_RING];
};

/* Chooses the place of a new batch. A decoded token takes the place after the last one's, so that the tokens before it
 * stay for a while. A larger batch covers all places. */
void capture_ring_advance(struct capture_ring *ring, uint32_t n_rows);

/* Forgets all tokens. */
void capture_ring_forget(struct capture_ring *ring);

/* The place of a decoded token's stages, through *place. false: they are not kept. */
bool capture_ring_find(const struct capture_ring *ring, uint32_t position, uint32_t *place);

/* Copies the rows of a step from a place of the ring. end: the position behind the batch's last one. STATUS_DEVICE if
 * the step is not captured, or if a row was never written. */
struct capture_read {
    uint32_t place, step, end;
};
enum status capture_ring_read(const struct capture_ring *ring, const struct shape *shape,
                              const struct capture_read *read, float *rows, struct error *err);

#endif
