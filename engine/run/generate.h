/* Greedy decoding on the device: tokens are chosen there and fed back. */
#ifndef LOCKSTEP_ENGINE_RUN_GENERATE_H
#define LOCKSTEP_ENGINE_RUN_GENERATE_H

#include "model/backend.h"

/* What to decode. */
struct engine_decoding {
    uint32_t first_position; /* of `token` */
    int32_t token;           /* the first input; its keys and values are not in the cache yet */
    int32_t masked;          /* an id that is never chosen; -1: none */
    uint32_t n;              /* tokens to choose */
    int32_t *ids;            /* [n] filled in: ids[i] follows position first_position + i */
};

/* Called for each token, in the order of the positions. id: what follows `position`. The captured stages of `position`
 * can be read with engine_read_at. Any status but STATUS_OK ends the decoding early. */
typedef enum status engine_token_function(void *context, const struct backend *backend, uint32_t position, int32_t id,
                                          struct error *err);

/* See engine_decode and engine_stream. */
enum status generate_chains(struct backend *backend, const struct engine_decoding *decoding, struct error *err);
enum status generate_stream(struct backend *backend, const struct engine_decoding *decoding,
                            engine_token_function *each, void *context, struct error *err);

#endif
