#include "reference/attention_rounded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "reference/bounds.h"

/* Values of Q4_0 that may be off: each may be a step off. Which value is the largest, and so the sign of the scale, may
 * be open. */
static void block_step_errors(const float *values, double *error, uint64_t n)
{
    for (uint64_t first = 0; first < n; first += INTEGER_BLOCK) {
        double most = 0;
        for (uint64_t i = first; i < first + INTEGER_BLOCK && i < n; i++) {
            most = fmax(most, fabs(values[i]) + error[i]);
        }
        for (uint64_t i = first; i < first + INTEGER_BLOCK && i < n; i++) {
            error[i] += error[i] > 0 ? most / 8 : 0;
        }
    }
}

/* n values that may be off by error[n], rounded: in place. */
static void round_inexact(enum rounding_type type, bool to_even, float *values, double *error, uint64_t n)
{
    static const struct roundings blocks = {.operands = ROUNDING_Q8_0};
    if (type == ROUNDING_Q8_0) {
        quantised_errors(&blocks, values, error, n, error, NULL);
    } else if (type == ROUNDING_Q4_0) {
        block_step_errors(values, error, n);
    } else {
        for (uint64_t i = 0; i < n; i++) {
            error[i] = rounded_float_error(type, values[i], error[i]);
        }
    }
    round_stored(type, to_even, values, n);
}

static void *keep(struct rounded_rows *rounded, const void *from, uint64_t bytes)
{
    void *copy = xmalloc(bytes);
    memcpy(copy, from, bytes);
    rounded->copies = xrealloc(rounded->copies, (rounded->n_copies + 1) * sizeof(*rounded->copies));
    return rounded->copies[rounded->n_copies++] = copy;
}

/* An input that is being rounded, position by position: blocks of 32 begin anew at each. ggml keeps a cache so, and has
 * only whole blocks in a head (llama.cpp refuses an 8-bit cache where head_dim is no multiple of 32); where a row is no
 * multiple of 32, its last block is shorter. */
struct rounded_input {
    enum rounding_type type;
    uint64_t n;
    uint32_t dim; /* of a head */
    uint64_t row; /* values of a position */
    bool to_even, in_pairs;
};

/* The place in the order of adjacent pairs of value i in the order of halves. */
static uint64_t place_in_pairs(uint64_t i, uint32_t dim)
{
    uint64_t in_head = i % dim, half = dim / 2;
    return i - in_head + 2 * (in_head % half) + in_head / half;
}

/* values[n] and their errors (NULL: exact), in place. */
static void round_in_order(const struct rounded_input *input, float *values, double *error)
{
    for (uint64_t first = 0; first < input->n; first += input->row) {
        if (error) {
            round_inexact(input->type, input->to_even, values + first, error + first, input->row);
        } else {
            round_stored(input->type, input->to_even, values + first, input->row);
        }
    }
}

static void round_in_pairs(const struct rounded_input *input, float *values, double *error)
{
    uint64_t n = input->n;
    float *paired = xmalloc(n * sizeof(*paired));
    double *paired_error = error ? xmalloc(n * sizeof(*paired_error)) : NULL;
    for (uint64_t i = 0; i < n; i++) {
        paired[place_in_pairs(i, input->dim)] = values[i];
        if (error) {
            paired_error[place_in_pairs(i, input->dim)] = error[i];
        }
    }
    round_in_order(input, paired, paired_error);
    for (uint64_t i = 0; i < n; i++) {
        values[i] = paired[place_in_pairs(i, input->dim)];
        if (error) {
            error[i] = paired_error[place_in_pairs(i, input->dim)];
        }
    }
    free(paired);
    free(paired_error);
}

/* An input of one row. */
static void round_input(struct rounded_rows *rounded, struct op_row *row, unsigned which,
                        const struct rounded_input *input)
{
    if (!row->in[which] || input->type == ROUNDING_NONE) {
        return;
    }
    float *values = keep(rounded, row->in[which], input->n * sizeof(*values));
    double *error = row->error[which] ? keep(rounded, row->error[which], input->n * sizeof(*error)) : NULL;
    row->in[which] = values;
    row->error[which] = error;
    if (input->in_pairs && input->type > ROUNDING_BF16 && input->dim % 2 == 0) {
        round_in_pairs(input, values, error);
    } else {
        round_in_order(input, values, error);
    }
}

/* Positions of keys and values that rows with the same cache as row r read. */
static uint32_t positions_read(const struct op_batch *batch, uint32_t r)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < batch->n_rows; i++) {
        const struct op_row *row = &batch->rows[i];
        uint32_t end = row->position + 1 + row->has_next;
        for (uint32_t k = 0; row->attention && k < row->attention->n_keys; k++) {
            end = row->attention->keys[k] >= end ? row->attention->keys[k] + 1 : end;
        }
        most = row->in[1] == batch->rows[r].in[1] && end > most ? end : most;
    }
    return most;
}

/* Queries as an engine rounds them that multiplies them by the scale first, in float32: here divided by it again, so
 * that scores are computed as ever. The product may be off by an ulp, for the scale is that of another float32, too. */
static void round_scaled(struct rounded_rows *rounded, struct op_row *row, const struct rounded_input *input,
                         double scale)
{
    const double ulp = 0x1p-23;
    if (!row->in[0] || scale == 0) {
        return;
    }
    float *values = keep(rounded, row->in[0], input->n * sizeof(*values));
    double *error = xcalloc(input->n, sizeof(*error));
    for (uint64_t i = 0; i < input->n; i++) {
        values[i] = (float)(values[i] * (double)(float)scale);
        error[i] = (row->error[0] ? row->error[0][i] * fabs(scale) : 0) + ulp * fabs((double)values[i]);
    }
    round_in_order(input, values, error);
    for (uint64_t i = 0; i < input->n; i++) {
        values[i] = (float)(values[i] / scale);
        error[i] = error[i] / fabs(scale) + ulp / 2 * fabs((double)values[i]);
    }
    row->in[0] = values;
    row->error[0] = keep(rounded, error, input->n * sizeof(*error));
    free(error);
}

/* What queries (or keys and values) are rounded to: what is said of them, else of operands, where those are floats. */
static enum rounding_type operand_type(uint8_t said, uint8_t operands)
{
    return (enum rounding_type)(said != ROUNDING_NONE || operands > ROUNDING_BF16 ? said : operands);
}

void rounded_rows_open(struct rounded_rows *rounded, const struct op_batch *batch, const struct attention_params *p)
{
    *rounded = (struct rounded_rows){.rows = xmalloc((batch->n_rows + 1) * sizeof(*rounded->rows))};
    uint64_t q_width = (uint64_t)p->heads * p->dim, kv_width = (uint64_t)p->kv_heads * p->dim;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct roundings *roundings = &batch->rows[r].arith->roundings;
        struct op_row *row = &rounded->rows[r];
        *row = batch->rows[r];
        struct rounded_input input = {.type = operand_type(roundings->queries, roundings->operands),
                                      .n = q_width,
                                      .dim = p->dim,
                                      .row = q_width,
                                      .to_even = roundings->to_even,
                                      .in_pairs = roundings->in_pairs};
        if (roundings->scaled_queries && (input.type == ROUNDING_F16 || input.type == ROUNDING_BF16)) {
            round_scaled(rounded, row, &input, p->scale);
        } else {
            round_input(rounded, row, 0, &input);
        }
        uint32_t same = 0;
        while (batch->rows[same].in[1] != batch->rows[r].in[1] || batch->rows[same].in[2] != batch->rows[r].in[2]) {
            same++;
        }
        input.n = positions_read(batch, r) * kv_width;
        input.row = kv_width;
        for (unsigned which = 1; which <= 2; which++) {
            input.in_pairs = roundings->in_pairs && which == 1;
            input.type = operand_type(which == 2 && roundings->values ? roundings->values : roundings->keys_values,
                                      roundings->operands);
            if (same < r) {
                row->in[which] = rounded->rows[same].in[which];
                row->error[which] = rounded->rows[same].error[which];
            } else {
                round_input(rounded, row, which, &input);
            }
        }
    }
}

void rounded_rows_close(struct rounded_rows *rounded)
{
    for (uint32_t i = 0; i < rounded->n_copies; i++) {
        free(rounded->copies[i]);
    }
    free(rounded->copies);
    free(rounded->rows);
}
