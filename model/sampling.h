/* How a token is chosen from a row of logits. workbench/trace/sample.h has the formula. */
#ifndef LOCKSTEP_MODEL_SAMPLING_H
#define LOCKSTEP_MODEL_SAMPLING_H

#include <stdint.h>

/* As a user asks for it, or a trace declares it. {0}: greedy. */
struct sampling {
    float temperature; /* 0: greedy; the other fields are ignored */
    uint32_t top_k;    /* number of tokens; 0: all */
    float top_p;       /* sum of probabilities, in (0, 1]; 0: all */
    uint64_t seed;
};

#endif
