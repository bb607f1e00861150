/* Traces of healthy engines that others made: golden/real. */
#ifndef LOCKSTEP_TESTS_SUPPORT_REAL_ENGINES_H
#define LOCKSTEP_TESTS_SUPPORT_REAL_ENGINES_H

#include "model/model.h"
#include "workbench/trace/trace.h"

#define N_REAL_ENGINES 5
extern const struct real_engine {
    const char *model, *trace;
    uint32_t n_classes;     /* whose arithmetic has to be inferred */
    struct roundings first; /* of the first class */
} real_engines[N_REAL_ENGINES];

void real_engine_open(const struct real_engine *engine, struct model *model, struct plan *plan, struct trace *trace);

/* Copies a matrix of F32 or Q4_1 and makes it about one per cent larger. Free *bytes. */
struct tensor matrix_larger(const struct tensor *matrix, uint8_t **bytes);

#endif
