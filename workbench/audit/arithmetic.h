/* The arithmetic of a source: what it rounds inside its ops, beyond float32 sums and the stores that its file declares.
 *
 * An engine may round the operands of its matrix products, keep its KV cache in f16, or accumulate attention in f16.
 * That is no bug. Where a file does not declare it, it is inferred from a closed list: for each class of steps (op,
 * dtype of the weights, phase) the simplest hypothesis that explains the class. A hypothesis is simulated: the
 * roundings really happen (reference/roundings.h), and float32's derived bounds judge the rest. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_ARITHMETIC_H
#define LOCKSTEP_WORKBENCH_AUDIT_ARITHMETIC_H

#include "workbench/audit/audit.h"

/* What was found of one class of steps. */
struct arithmetic_class {
    enum op op;
    uint32_t weights; /* DTYPE_ code; DTYPE_COUNT: the op has none */
    bool phase[2];    /* PHASE_PREFILL, PHASE_DECODE: it holds for these */
    struct roundings roundings;
    uint32_t n_explained, n_steps; /* steps whose every row the roundings explain; steps of the class */
    bool spans; /* the class's stages are not recorded: the steps are those that were judged over others */
};

#define ARITHMETIC_MOST 64
struct arithmetic {
    uint32_t n;
    struct arithmetic_class classes[ARITHMETIC_MOST];
};

/* Whether a step that fails is of those whose arithmetic can be inferred. Others fail whatever is inferred. */
bool arithmetic_may_explain(const struct step *step, const struct finding *finding);

/* Whether a span that fails does so by little enough that roundings inside it may be the reason. */
bool arithmetic_may_explain_span(const struct finding *finding);

/* Whether an arithmetic that explains all but so many of n steps is taken, and these are findings: one, or one in ten.
 * Most models have few layers or many. */
bool arithmetic_may_miss(uint32_t n_missed, uint32_t n);

/* Infers the arithmetic of audited trace t, sets it in the trace's stages, and audits those steps again. A step that
 * its class's hypothesis does not explain stays a finding, judged in that arithmetic. */
void arithmetic_infer(struct arithmetic *arithmetic, struct audit *audit, const struct trace *const *traces, uint32_t t,
                      struct trace *trace);

/* The part of arithmetic_infer that is about ops whose stages the trace lacks. Infers what the ops round over which
 * spans are judged, sets it in the trace, and audits the spans again. A class of steps of which some are recorded with
 * their inputs rounds as those do. Of the other classes, those roundings are taken that come nearest to the recorded
 * values. They must explain every span but those that then are findings, two spans at least; and simulating them must
 * remove half of the squared error that float32 leaves (geometric mean of the spans), so that a wide bound alone
 * explains nothing. */
void arithmetic_infer_spans(struct arithmetic *arithmetic, struct audit *audit, const struct trace *const *traces,
                            uint32_t t, struct trace *trace);

/* Adds a class; two that differ in nothing but their phases become one. */
void arithmetic_add(struct arithmetic *arithmetic, const struct arithmetic_class *class);

/* The roundings of a class as attributes of a trace: calls each(context, attribute, value) for every one. */
void arithmetic_attributes(const struct arithmetic_class *class,
                           void (*each)(void *context, const char *attribute, const char *value), void *context);

#endif
