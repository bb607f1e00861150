/* What a run that stores its stages in 16 bits rounds, where its file does not declare it. */
#include <math.h>
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

/* The type that rows of each phase are stored in; NULL: as the file declares. */
struct storage {
    const char *of[2]; /* [phase] */
};

/* Declares what rows of a phase store (NULL: nothing narrow), and what their ops round besides to the run's type. */
static void declare_phase(struct arith *arith, const char *stored, const char *type, enum narrow_run run)
{
    if (stored) {
        bool known = float_type(stored, &arith->u_storage, &arith->eta);
        ASSERT(known);
    }
    if (type && run == NARROW_OPERANDS) {
        arith->roundings.operands = arith->roundings.weights = (uint8_t)rounding_by_name(type);
    }
}

/* The same of both phases. stored: of a stage, or of the trace; storage: of the trace. */
static void declare(struct declaration *declaration, const struct storage *stored, const struct storage *storage,
                    enum narrow_run run)
{
    const char *prefill = stored->of[PHASE_PREFILL], *decode = stored->of[PHASE_DECODE];
    struct arith of_decode = declaration->decode_differs ? declaration->decode : declaration->arith;
    declare_phase(&declaration->arith, prefill, storage->of[PHASE_PREFILL], run);
    declare_phase(&of_decode, decode, storage->of[PHASE_DECODE], run);
    /* Of phases alike, one word is enough; a phase without rows stores what the other one does. */
    declaration->decode_differs |= (prefill == NULL) != (decode == NULL) || (prefill && strcmp(prefill, decode) != 0) ||
                                   (storage->of[0] == NULL) != (storage->of[1] == NULL);
    declaration->decode = of_decode;
    if (run == NARROW_WEIGHTS) {
        const char *name = storage->of[0] ? storage->of[0] : storage->of[1];
        declaration->weights_dtype = rounding_by_name(name) == ROUNDING_F16 ? DTYPE_F16 : DTYPE_BF16;
    }
}

/* What one stage stores of it: nothing where its values are of a wider type, unless they were rounded for the file. */
static struct storage of_stage(const struct trace *trace, const struct trace_stage *stage,
                               const struct storage *storage)
{
    struct storage own = *storage;
    for (unsigned phase = PHASE_PREFILL; phase <= PHASE_DECODE; phase++) {
        const char *name = own.of[phase];
        if (name && stage->arith.u_rounded == 0 && !recording_stage_stores(trace, stage, phase, name)) {
            own.of[phase] = NULL;
        }
    }
    return own;
}

/* Declares it of a trace and all its stages. */
static void declare_trace(struct trace *trace, const struct storage *storage, enum narrow_run run)
{
    struct declaration whole = trace_declaration(trace);
    declare(&whole, storage, storage, run);
    trace_declare(trace, &whole);
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        struct declaration own = stage_declaration(&trace->stages[i]);
        const struct storage stored = of_stage(trace, &trace->stages[i], storage);
        declare(&own, &stored, storage, run);
        stage_declare(&trace->stages[i], &own);
    }
}

/* The trace that is tried, and the best so far. */
struct trial_of_storage {
    const struct plan *plan;
    const struct trace *trace;
    bool findings; /* the fewest steps may fail, which then are findings; else none */
    struct trace taken;
    uint32_t fewest; /* that fail in it; UINT32_MAX: nothing was taken */
    uint8_t *states; /* [n_steps] */
};

/* Tries a storage with one way to run. */
static void try_storage(struct trial_of_storage *trial, const struct storage *storage, enum narrow_run run)
{
    struct trace copy;
    trace_copy(&copy, trial->trace);
    declare_trace(&copy, storage, run);
    struct recording_outcome outcome = recording_audit(trial->plan, &copy, trial->findings ? trial->states : NULL);
    bool will_do = trial->findings ? outcome.n_judged >= 2 && arithmetic_may_miss(outcome.n_failing, outcome.n_judged)
                                   : outcome.n_failing == 0 && outcome.n_judged > 0;
    if (will_do && outcome.n_failing < trial->fewest) {
        trace_free(&trial->taken);
        trial->taken = copy;
        trial->fewest = outcome.n_failing;
    } else {
        trace_free(&copy);
    }
}

static bool has_phase(const struct trace *trace, unsigned phase)
{
    bool any = false;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        any |= trace->phase[p] == phase;
    }
    return any;
}

/* The type that all rows of a phase are declared to be stored in; NULL: float32. */
static const char *declared_type(const struct trace *trace, unsigned phase)
{
    static const char *const names[] = {"bfloat16", "float16"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        double u, smallest;
        if (float_type(names[i], &u, &smallest) && trace_declared(trace, phase)->u_storage == u) {
            return names[i];
        }
    }
    return NULL;
}

/* What the values, or the file, say of the storage of a trace. false: that it is float32. */
static bool storage_of(const struct trace *trace, const char *type_of(const struct trace *trace, unsigned phase),
                       struct storage *storage)
{
    for (unsigned phase = PHASE_PREFILL; phase <= PHASE_DECODE; phase++) {
        bool is_there = has_phase(trace, phase), other_is = has_phase(trace, !phase);
        storage->of[phase] = is_there || other_is ? type_of(trace, is_there ? phase : !phase) : NULL;
    }
    return storage->of[0] || storage->of[1];
}

static bool same_storage(const struct storage *a, const struct storage *b)
{
    bool same = true;
    for (unsigned phase = PHASE_PREFILL; phase <= PHASE_DECODE; phase++) {
        same &= (a->of[phase] == NULL) == (b->of[phase] == NULL) &&
                (!a->of[phase] || strcmp(a->of[phase], b->of[phase]) == 0);
    }
    return same;
}

/* The unit roundoff of values that were rounded for the file alone; 0: none were. */
static double rounded_to(const struct trace *trace)
{
    double most = 0;
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        most = fmax(most, trace->stages[i].arith.u_rounded);
    }
    return most;
}

/* What a trace may store, the likeliest first: what its values are of, and what is declared. Values that were rounded
 * to bf16 for the file may have been stored in f16, which does not show in them. Returns the number. */
static unsigned list_storages(const struct trace *trace, struct storage list[2])
{
    static const struct storage half = {{"float16", "float16"}};
    struct storage declared;
    bool is_declared = storage_of(trace, declared_type, &declared);
    double rounded = rounded_to(trace);
    unsigned n = 0;
    if (rounded > 0) {
        list[0] = half;
        return rounded == 0x1p-8;
    }
    if (storage_of(trace, recording_narrow_type_of, &list[0])) {
        for (unsigned phase = PHASE_PREFILL; phase <= PHASE_DECODE; phase++) {
            list[0].of[phase] = list[0].of[phase] ? list[0].of[phase] : declared.of[phase];
        }
        n++;
    }
    if (is_declared && (n == 0 || !same_storage(&list[0], &declared))) {
        list[n++] = declared;
    }
    return n;
}

/* Tries what it may store, each with each way to run. findings false: takes the first that explains every step. true:
 * takes the one that leaves the fewest steps, which then are findings. Returns whether one will do. */
static bool try_storages(const struct plan *plan, struct trace *trace, bool findings)
{
    struct storage list[2], declared;
    unsigned n = list_storages(trace, list);
    storage_of(trace, declared_type, &declared);
    struct trial_of_storage trial = {plan, trace, findings, .fewest = UINT32_MAX, .states = xcalloc(plan->n_steps, 1)};
    for (unsigned run = 0; run < NARROW_RUNS * n && trial.fewest > 0 && !stop_asked(); run++) {
        const struct storage *storage = &list[run % n];
        if (run / n != NARROW_STORES || !same_storage(storage, &declared)) {
            try_storage(&trial, storage, (enum narrow_run)(run / n));
        }
    }
    free(trial.states);
    if (trial.fewest == UINT32_MAX) {
        return false;
    }
    trace_free(trace);
    *trace = trial.taken;
    return true;
}

bool recording_infer_storage(const struct plan *plan, struct trace *trace)
{
    return try_storages(plan, trace, false) || try_storages(plan, trace, true);
}
