/* The cure of values that were rounded for the file alone. */
#include <math.h>
#include <stddef.h>

#include "workbench/diagnose/recording/cure.h"
#include "workbench/diagnose/recording/recording.h"

/* Whether a stage's values are those that the model stores. What is sampled from is computed of logits by a program of
 * its own, mostly in float32. */
static bool is_stored(const struct trace_stage *stage)
{
    return !stage_is_integer(stage->stage) && stage->stage != STAGE_sample_probs;
}

const char *recording_narrow_type(const struct trace *trace)
{
    static const struct {
        const char *name;
        enum rounding_type type;
    } types[] = {{"bfloat16", ROUNDING_BF16}, {"float16", ROUNDING_F16}};
    for (unsigned k = 0; k < sizeof(types) / sizeof(*types); k++) {
        bool narrow = true, any = false;
        for (uint32_t i = 0; i < trace->n_stages && narrow; i++) {
            const struct trace_stage *stage = &trace->stages[i];
            for (uint32_t p = 0; p < trace->n_positions && narrow && is_stored(stage); p++) {
                const float *row = trace_row(stage, p);
                for (uint32_t d = 0; row && d < stage->width && narrow; d++) {
                    narrow = !isfinite(row[d]) || round_number(types[k].type, row[d]) == row[d];
                    any = true;
                }
            }
        }
        if (narrow && any) {
            return types[k].name;
        }
    }
    return NULL;
}

bool cure_rounding(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    (void)plan;
    (void)cure;
    const char *type = recording_narrow_type(trace);
    double u, smallest;
    if (!type || !float_type(type, &u, &smallest)) {
        return false;
    }
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        trace->stages[i].arith.u_storage = arith_float32.u_storage;
        trace->stages[i].arith.eta = arith_float32.eta;
        stage_set_rounded(&trace->stages[i], trace->n_positions, u);
    }
    trace->arith.u_storage = arith_float32.u_storage;
    trace->arith.eta = arith_float32.eta;
    return true;
}
