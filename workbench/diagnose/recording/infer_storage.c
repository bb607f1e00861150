/* What a run that stores its stages in 16 bits rounds, where its file does not declare it. */
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/arithmetic.h"
#include "workbench/diagnose/recording/recording.h"

/* What a run whose stages are stored in 16 bits may round besides. */
enum narrow_run {
    NARROW_STORES,   /* nothing */
    NARROW_WEIGHTS,  /* the model was loaded in that type: weights, and the scale of the embedding */
    NARROW_OPERANDS, /* operands and weights of matrix products */
    NARROW_RUNS
};

/* Declares for every stage of a trace what it stores, and what is rounded besides. */
static void declare(struct trace *trace, const char *storage, enum narrow_run run)
{
    double u, smallest;
    enum rounding_type type = rounding_by_name(storage);
    bool known = float_type(storage, &u, &smallest);
    ASSERT(known);
    for (uint32_t i = 0; i <= trace->n_stages; i++) {
        struct arith *arith = i < trace->n_stages ? &trace->stages[i].arith : &trace->arith;
        arith->u_storage = u;
        arith->eta = smallest;
        if (run == NARROW_OPERANDS) {
            arith->roundings.operands = arith->roundings.weights = (uint8_t)type;
        }
        if (run == NARROW_WEIGHTS) {
            *(i < trace->n_stages ? &trace->stages[i].weights_dtype : &trace->weights_dtype) =
                type == ROUNDING_F16 ? DTYPE_F16 : DTYPE_BF16;
        }
    }
}

/* Tries each storage with each way to run. findings false: takes the first that explains every step. true: takes the
 * one that leaves the fewest steps, which then are findings. NULL: none will do. */
static const char *try_storages(const struct plan *plan, struct trace *trace, bool findings)
{
    static const char *const types[] = {"bfloat16", "float16"};
    const char *narrow = recording_narrow_type(trace), *best = NULL;
    struct trace taken = {0};
    uint32_t fewest = UINT32_MAX;
    uint8_t *states = xcalloc(plan->n_steps, 1);
    for (unsigned k = 0; k < NARROW_RUNS * sizeof(types) / sizeof(*types) && fewest > 0 && !stop_asked(); k++) {
        const char *type = types[k / NARROW_RUNS];
        enum narrow_run run = (enum narrow_run)(k % NARROW_RUNS);
        double u, smallest;
        bool known = float_type(type, &u, &smallest), declared = trace->arith.u_storage == u;
        if (!known || (!declared && (!narrow || strcmp(narrow, type) != 0)) || (declared && run == NARROW_STORES)) {
            continue;
        }
        struct trace copy;
        trace_copy(&copy, trace);
        declare(&copy, type, run);
        struct recording_outcome outcome = recording_audit(plan, &copy, findings ? states : NULL);
        bool will_do = findings ? outcome.n_judged >= 2 && arithmetic_may_miss(outcome.n_failing, outcome.n_judged)
                                : outcome.n_failing == 0 && outcome.n_judged > 0;
        if (!will_do || outcome.n_failing >= fewest) {
            trace_free(&copy);
            continue;
        }
        trace_free(&taken);
        taken = copy;
        best = type;
        fewest = outcome.n_failing;
    }
    free(states);
    if (best) {
        trace_free(trace);
        *trace = taken;
    }
    return best;
}

const char *recording_infer_storage(const struct plan *plan, struct trace *trace)
{
    if (trace->arith.u_rounded > 0) {
        return NULL; /* its values were rounded for the file */
    }
    const char *type = try_storages(plan, trace, false);
    return type ? type : try_storages(plan, trace, true);
}
