/* The C reference: every op as its formula, in plain loops with f64 accumulators, with a bound on how far rounding can
 * move its output. The same functions serve three callers: the reference backend (stores y, rounded to f32), the audit
 * (compares y with a trace's recorded values, within the bound) and the mutants (the same op with its step changed to a
 * known bug).
 *
 * Compiled with -ffp-contract=off and never with fast-math. */
#ifndef LOCKSTEP_REFERENCE_REFERENCE_H
#define LOCKSTEP_REFERENCE_REFERENCE_H

#include "model/backend.h"
#include "model/plan.h"
#include "model/sampling.h"
#include "reference/roundings.h"

/* The arithmetic that a trace declares: how stored values are rounded, how sums are kept, and what is rounded inside
 * ops. Unit roundoffs: 2^-24 f32, 2^-11 f16, 2^-8 bf16. */
struct arith {
    double u_sum;     /* of sums */
    double u_storage; /* of stored stage values */
    double eta;       /* smallest normal number of the stored type */
    double
        u_rounded; /* of the recorded values, that were rounded for the file alone; 0: none. Inputs then have errors */
    struct roundings roundings; /* inside ops, simulated; zero: none */
    bool exact_inside; /* what attention makes of scores and probabilities is float32, or simulated; false: it may be
                          stored as stages are */
};

/* float32 throughout, as the engine, the reference and transformers' float32 runs declare it. */
extern const struct arith arith_float32;

/* Finds the unit roundoff and the smallest normal number of "float32", "float16", "bfloat16" or "float64". false:
 * unknown name. */
bool float_type(const char *name, double *unit_roundoff, double *smallest_normal);

/* An attention other than the right one, which a diagnosis tries. Zero: the right one. */
struct attention_trial {
    const uint32_t *keys; /* [n_keys] positions of the keys that are seen, in any order, repeated or not; NULL: those
                             that are visible. in[1] and in[2] continue to the last of them */
    uint32_t n_keys;
    const double *scores; /* [n_keys] scores in place of those of q and k, the same for all heads; NAN: no other one */
    const double *added;  /* [heads, n_keys] to the scores; NULL: nothing */
    const double *sinks;  /* [heads] in place of the weights' sinks: one more score that has a share and no value.
                             -INFINITY: none; NULL: the weights' */
    const double *times;  /* [heads] the output is multiplied by it; NULL: 1 */
    const uint32_t *heads[2]; /* [heads] the head of the keys, and of the values, that a head of q reads; NULL: the
                                 right one */
};

/* A rope other than the right one, which a diagnosis tries. Zero: the right one. */
struct rope_trial {
    double shift;                              /* the row is rotated as position + shift */
    const double *frequencies;                 /* [dim/2] radians a position; NULL: the right ones */
    uint8_t position, frequency, angle, table; /* enum rounding_type: F16 or BF16; table: of cos and sin */
};

/* One output row to compute: a position of a trace. */
struct op_row {
    const struct arith *arith; /* for the bound; NULL: no bound is wanted */
    /* Recorded inputs: the row of this position. An attention's inputs 1 and 2 (keys, values) point to position 0's row
     * instead and continue, row after row, to this position's. */
    const float *in[OP_MAX_INPUTS];
    /* Largest error of each input value, laid out like the input; NULL: the input is exact. Inputs have errors when
     * they were not recorded but computed (a span of several ops). Every op passes them into its bound: through a sum
     * of products as sqrt(sum of (w error)^2), because the errors are independent; through a function of one value by
     * its slope. */
    const double *error[OP_MAX_INPUTS];
    const float *recorded; /* the recorded output, because topk has several right answers; NULL: unknown */
    /* attention: this row's recorded probabilities, [heads, n_positions], or NULL. If they differ from those of q and
     * k, the output is judged by them. in[0] may be NULL then: q or k was not recorded, and only these are known. */
    const float *probs;
    const float *places; /* topk_softmax: the places that were recorded of this row, [k]: its weights follow their
                            order; NULL: unknown, in descending order then */
    const double
        *inverse; /* rms_norm: 1 / sqrt(mean(x^2) + eps) of each group as a diagnosis assumes it; NULL: computed */
    uint32_t n_positions;
    const struct attention_trial *attention; /* NULL: the right attention */
    const struct rope_trial *rope;           /* NULL: the right rope */
    const struct sampling *sampling;         /* sample_probs, sample_token: as the trace declares it; NULL: greedy */
    uint32_t position;
    int32_t token; /* embed: a valid id */
    bool decode;   /* some faults affect decode rows only */
    bool has_next; /* attention: the next position belongs to the same prefill, and keys and values continue to its row
                    */
};

/* Rows of one step, from any number of traces, so that each weight is decoded once for all of them. */
struct op_batch {
    const struct step *step;
    uint32_t weights_dtype; /* DTYPE_F16, DTYPE_BF16: weights are rounded to it before use; DTYPE_F32: they are not */
    uint32_t n_rows;
    const struct op_row *rows;
    double *y;     /* out [n_rows, step width]: the exact result, to f64's precision */
    double *bound; /* out [n_rows, step width]: the most that rounding can move y; NULL: not wanted */
};

/* Computes a batch. Each row's result depends on that row alone, bit for bit: not on other rows, the number of threads
 * or the machine's vector width. If stop_asked() (model/stop.h) becomes true meanwhile, y is incomplete; callers check
 * it. A row with a nonfinite input gets whatever f64 makes of it; callers judge that. */
void op_run(const struct op_batch *batch);

/* Scores [heads][n] of the keys that one row of attention or attention_probs sees: scaled, capped. n: row_keys. */
void row_scores(const struct step *step, const struct op_row *row, double *scores);
uint32_t row_keys(const struct step *step, const struct op_row *row);

/* Rounds x, to nearest even, to DTYPE_F16 or DTYPE_BF16; DTYPE_F32 returns x. */
float round_to_dtype(float x, uint32_t dtype);

/* The same of n values, in place. */
void round_all_to_dtype(float *values, uint64_t n, uint32_t dtype);

/* Bits of x as f16, rounded to nearest even. */
uint16_t half_of(float x);

/* Decodes elements [first, first + count) of a row of a tensor to f32, in any layout. Exact: the values are
 * representable, or rounded as ggml's dequantiser rounds. */
void weights_decode(const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count, float *values);

/* Opens the reference as a backend. max_positions: size of the KV cache. Never needs a device. The plan must outlive
 * it. */
enum status reference_open(struct backend *backend, const struct plan *plan, uint32_t max_positions, struct error *err);

#endif
