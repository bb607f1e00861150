/* The C reference: every op as its formula, in plain loops with f64 accumulators, and beside each op the bound on
 * how far rounding can move its output. One function serves three callers: the reference backend (rounds y to
 * f32 and stores it), the audit (compares y with what a trace recorded, within the bound), and the mutants (the
 * same op with a step edited to a known bug).
 *
 * Compiled with -ffp-contract=off and never with fast-math. */
#ifndef LOCKSTEP_REFERENCE_REFERENCE_H
#define LOCKSTEP_REFERENCE_REFERENCE_H

#include "model/backend.h"
#include "model/plan.h"
#include "model/sampling.h"
#include "reference/roundings.h"

/* The arithmetic that a trace declares: what its values are rounded to when stored, how its sums are kept,
 * and whether operands are rounded on the way into a product. Unit roundoffs: 2^-24 f32, 2^-11 f16, 2^-8 bf16. */
struct arith {
    double u_sum;     /* of sums */
    double u_storage; /* of stored stage values */
    double u_operand; /* of operands rounded into a product; 0: none */
    double eta;       /* smallest normal number of the stored type */
    double
        u_rounded; /* of the recorded values, that were rounded for the file alone; 0: none. Inputs then have errors */
    struct roundings roundings; /* inside ops, simulated; zero: none */
};

/* float32 throughout: what the engine, the reference and transformers' float32 runs declare. */
extern const struct arith arith_float32;

/* The unit roundoff and the smallest normal of "float32", "float16", "bfloat16" or "float64". false: unknown name. */
bool float_type(const char *name, double *unit_roundoff, double *smallest_normal);

/* One output row to compute: of one position of one trace. */
struct op_row {
    const struct arith *arith; /* for the bound; NULL where none is wanted */
    /* Inputs as recorded. The row of this position, except attention's input 1 and 2 (keys, values), which point to
     * position 0's row and go on, row after row, to this position's. */
    const float *in[OP_MAX_INPUTS];
    /* The most that an input can be off, value by value, laid out as the input; NULL: it is exact. Of inputs that were
     * not recorded but computed from what was (a span of several ops). Every op passes it on into its bound: through a
     * sum of products as sqrt(sum of (w error)^2), for the errors of the parts are independent; through a function of
     * one value by its slope. */
    const double *error[OP_MAX_INPUTS];
    const float *recorded; /* the output as recorded, where it is judged: topk has several right ones. NULL: unknown */
    /* attention: the probabilities that were recorded of this row, [heads, n_positions], or NULL. Where they stray from
     * those of q and k the output is made of them; in[0] may then be NULL: q or k was not recorded, and they are all
     * that is known. */
    const float *probs;
    const float *places; /* topk_softmax: the places that were recorded of this row, [k]: its weights follow their
                            order; NULL: unknown, in descending order then */
    uint32_t n_positions;
    const struct sampling *sampling; /* sample_probs, sample_token: as the trace declares; NULL: greedy */
    uint32_t position;
    int32_t token; /* embed; within the vocabulary */
    bool decode;   /* some faults strike in decode alone */
    bool has_next; /* attention: the next position is of the same prefill, and keys and values go on to its row */
};

/* A batch of rows of one step; from any number of traces, so that each weight is decoded once for all of them. */
struct op_batch {
    const struct step *step;
    uint32_t weights_dtype; /* DTYPE_F16, DTYPE_BF16: weights are rounded to it before use; DTYPE_F32: as they are */
    uint32_t n_rows;
    const struct op_row *rows;
    double *y;     /* out [n_rows, step width]: the exact result, as far as f64 goes */
    double *bound; /* out, likewise: the most that rounding can move y; NULL: not wanted */
};

/* Each row's result depends on that row alone, bit for bit: not on the rest of the batch, the number of threads or the
 * machine's vector width. If stop_asked() (model/stop.h) meanwhile, y is incomplete: the caller looks. A row with a
 * nonfinite input gets whatever f64 makes of it; judging that is the caller's. */
void op_run(const struct op_batch *batch);

/* x rounded to nearest even to a DTYPE_ of floats: F16, BF16, or F32 (as it is). */
float round_to_dtype(float x, uint32_t dtype);

/* The bits of x as f16, rounded to nearest even. */
uint16_t half_of(float x);

/* Decodes elements [first, first + count) of row `row` of a tensor to f32, whatever its layout. Exact: every format's
 * values are representable, or rounded as ggml's dequantiser rounds. */
void weights_decode(const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count, float *values);

/* Opens the reference as a backend. max_positions: the KV cache's size. Never needs a device. */
enum status reference_open(struct backend *backend, const struct plan *plan, uint32_t max_positions, struct error *err);

#endif
