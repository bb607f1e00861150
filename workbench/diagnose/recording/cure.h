/* Inside recording/: cures, changes that put a trace right. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_RECORDING_CURE_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_RECORDING_CURE_H

#include "workbench/trace/trace.h"

/* What a cure did. */
struct cure {
    const char *name; /* of the mistake */
    char text[340];   /* the mistake, and what to do */
    uint8_t *changed; /* [n_steps] 1: the step's values were put right, or what they are judged from besides stages;
                         borrowed */
    const uint8_t *before;       /* [n_steps] what became of each step before: enum step_state; borrowed */
    const struct trace *audited; /* the trace as it was audited, with what was inferred of its arithmetic */
};

/* Puts a trace right. Returns false where it has nothing to change. */
typedef bool cure_function(struct trace *trace, const struct plan *plan, struct cure *cure);

/* cure_layers.c: name and text of these are in the table in recording.c. */
cure_function cure_last_state;  /* transformers' output_hidden_states ends with the state after the final norm */
cure_function cure_shift_down;  /* every layer's stages are those of the layer before */
cure_function cure_shift_up;    /* every layer's stages are those of the next layer */
cure_function cure_states_down; /* layer_out alone is that of the layer before */
cure_function cure_states_up;   /* layer_out alone is that of the next layer */

/* cure_rounding.c; likewise. */
cure_function cure_rounding; /* values were rounded for the file alone */

/* cure_layout.c: rows in another order, of any stages of any layers. */
cure_function cure_layout;

/* cure_scale.c: stages times a factor that no op reads. */
cure_function cure_scale;

/* Whether a step is judged from the recorded stage of another one. */
bool cure_reads(const struct plan *plan, uint32_t reader, uint32_t step, const struct trace *trace);

/* cure_tokens.c: tokens that were recorded are not those of the rows. */
cure_function cure_extra_bos;      /* the engine ran with one more at the front */
cure_function cure_lacking_bos;    /* the engine ran without the first */
cure_function cure_missing_prompt; /* only the decoded tokens are recorded */

#endif
