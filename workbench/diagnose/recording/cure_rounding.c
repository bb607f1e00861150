/* The cure of values that were rounded for the file alone. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "workbench/diagnose/recording/cure.h"
#include "workbench/diagnose/recording/recording.h"

/* Whether a stage's values are those that the model stores. What is sampled from is computed of logits by a program of
 * its own, mostly in float32. */
static bool is_stored(const struct trace_stage *stage)
{
    return !stage_is_integer(stage->stage) && stage->stage != STAGE_sample_probs;
}

/* Whether every recorded value of a stage's rows of a phase is one that a type holds. *any: a value is recorded. */
static bool stage_is_narrow(const struct trace *trace, const struct trace_stage *stage, unsigned phase,
                            enum rounding_type type, bool *any)
{
    bool narrow = true;
    *any = false;
    for (uint32_t p = 0; p < trace->n_positions && narrow && is_stored(stage); p++) {
        const float *row = trace->phase[p] == phase ? trace_row(stage, p) : NULL;
        for (uint32_t d = 0; row && d < stage->width && narrow; d++) {
            narrow = !isfinite(row[d]) || round_number(type, row[d]) == row[d];
            *any = true;
        }
    }
    return narrow;
}

/* The same of all stages. */
static bool is_narrow(const struct trace *trace, unsigned phase, enum rounding_type type, bool *any)
{
    bool narrow = true;
    *any = false;
    for (uint32_t i = 0; i < trace->n_stages && narrow; i++) {
        bool here;
        narrow = stage_is_narrow(trace, &trace->stages[i], phase, type, &here);
        *any |= here;
    }
    return narrow;
}

static const struct narrow_type {
    const char *name;
    enum rounding_type type;
} narrow_types[] = {{"bfloat16", ROUNDING_BF16}, {"float16", ROUNDING_F16}};
#define N_NARROW (sizeof(narrow_types) / sizeof(*narrow_types))

const char *recording_narrow_type_of(const struct trace *trace, unsigned phase)
{
    for (unsigned k = 0; k < N_NARROW; k++) {
        uint32_t n = 0, n_narrow = 0;
        for (uint32_t i = 0; i < trace->n_stages; i++) {
            bool any, narrow = stage_is_narrow(trace, &trace->stages[i], phase, narrow_types[k].type, &any);
            n += any;
            n_narrow += any && narrow;
        }
        if (n_narrow > 0 && 2 * n_narrow >= n) {
            return narrow_types[k].name;
        }
    }
    return NULL;
}

bool recording_stage_stores(const struct trace *trace, const struct trace_stage *stage, unsigned phase,
                            const char *name)
{
    bool any, stores = true;
    for (unsigned k = 0; k < N_NARROW; k++) {
        stores &=
            strcmp(name, narrow_types[k].name) != 0 || stage_is_narrow(trace, stage, phase, narrow_types[k].type, &any);
    }
    return stores;
}

const char *recording_narrow_type(const struct trace *trace)
{
    for (unsigned k = 0; k < N_NARROW; k++) {
        bool any[2];
        if (is_narrow(trace, PHASE_PREFILL, narrow_types[k].type, &any[0]) &&
            is_narrow(trace, PHASE_DECODE, narrow_types[k].type, &any[1]) && (any[0] || any[1])) {
            return narrow_types[k].name;
        }
    }
    return NULL;
}

static void store_float32(struct arith *arith)
{
    arith->u_storage = arith_float32.u_storage;
    arith->eta = arith_float32.eta;
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
        store_float32(&trace->stages[i].arith);
        store_float32(&trace->stages[i].decode);
        stage_set_rounded(&trace->stages[i], trace->n_positions, u);
    }
    store_float32(&trace->arith);
    store_float32(&trace->decode);
    return true;
}
