/* How a token is chosen from a row of logits. workbench/trace/sample.h has the formula. */
#ifndef LOCKSTEP_MODEL_SAMPLING_H
#define LOCKSTEP_MODEL_SAMPLING_H

#include <stdint.h>

/* What a user asks for, and a trace declares. All zero: greedy. */
struct sampling {
    float temperature; /* 0: greedy, and nothing else counts */
    uint32_t top_k;    /* 0: all */
    float top_p;       /* (0, 1]; 0: all */
    uint64_t seed;
};

#endif
