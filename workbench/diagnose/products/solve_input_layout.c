/* A product whose input lies in another order than its matrix expects: heads exchanged or transposed, or all rolled. */
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/diagnose/products/product_samples.h"
#include "workbench/diagnose/proof.h"

#define MOST_ROLLS 1024 /* wider inputs are rolled by whole heads alone */
#define MOST_HEADS 64   /* of which any two may be exchanged */

struct input_layout {
    const struct solve *solve;
    const struct product_samples *samples;
    uint32_t n;
    uint32_t *from; /* [n] input i takes value from[i] */
    struct op_row *rows;
    float *copy;
};

/* Whether the rows come out with the inputs in this order. */
static bool holds(struct input_layout *layout, struct proof *proof)
{
    uint32_t n_rows = layout->solve->trial->rows.n;
    bool same = true;
    for (uint32_t i = 0; i < layout->n && same; i++) {
        same = layout->from[i] == i;
    }
    if (same || stop_asked()) {
        return false;
    }
    for (uint32_t r = 0; r < n_rows; r++) {
        const float *x = layout->solve->trial->rows.rows[r].in[0];
        float *row = layout->copy + (uint64_t)r * layout->n;
        for (uint32_t i = 0; i < layout->n; i++) {
            row[i] = x[layout->from[i]];
        }
        layout->rows[r].in[0] = row;
    }
    struct candidate candidate = trial_candidate(layout->solve->trial, layout->solve->evidence->step);
    candidate.rows = layout->rows;
    return product_samples_fit_inputs(layout->samples, layout->rows) && proof_find(layout->solve, &candidate, proof);
}

/* Blocks of dim values, a table [a][b] of them, are read as [b][a]. */
static void transpose(struct input_layout *layout, uint32_t a, uint32_t dim)
{
    uint32_t b = layout->n / dim / a;
    for (uint32_t i = 0; i < layout->n; i++) {
        uint32_t block = i / dim;
        layout->from[i] = (block % a * b + block / a) * dim + i % dim;
    }
}

static bool is_transposed(struct input_layout *layout, uint32_t dim, struct diagnosis *found)
{
    struct proof proof;
    uint32_t n = layout->n / dim;
    for (uint32_t a = 2; a < layout->n; a++) {
        for (unsigned whole = 0; whole < 2; whole++) { /* heads as a whole, or single values */
            uint32_t of = whole ? dim : 1, count = whole ? n : layout->n;
            if (count % a != 0 || count / a < 2 || (!whole && a != n && a != dim)) {
                continue;
            }
            transpose(layout, a, of);
            if (holds(layout, &proof)) {
                proof_tell(layout->solve, &proof, found,
                           "The op's input lies transposed: a table of %u x %u %s is read as %u x %u.", a, count / a,
                           whole ? "heads" : "values", count / a, a);
                return true;
            }
        }
    }
    return false;
}

static bool is_rolled(struct input_layout *layout, uint32_t dim, struct diagnosis *found)
{
    struct proof proof;
    for (uint32_t by = 1; by < layout->n; by++) {
        if (layout->n > MOST_ROLLS && by % dim != 0) {
            continue;
        }
        for (uint32_t i = 0; i < layout->n; i++) {
            layout->from[i] = (i + by) % layout->n;
        }
        if (holds(layout, &proof)) {
            found->solved = solved_number("input that the first column multiplies", 0, by);
            proof_tell(layout->solve, &proof, found,
                       "The op's input is rolled: column c multiplies value (c + %u) mod %u.", by, layout->n);
            return true;
        }
    }
    return false;
}

static bool are_heads_exchanged(struct input_layout *layout, uint32_t dim, struct diagnosis *found)
{
    struct proof proof;
    uint32_t heads = layout->n / dim;
    for (uint32_t a = 0; a < heads && heads <= MOST_HEADS; a++) {
        for (uint32_t b = a + 1; b <= heads; b++) { /* b = heads, once: all are reversed */
            if (b == heads && a > 0) {
                continue;
            }
            for (uint32_t i = 0; i < layout->n; i++) {
                uint32_t head = i / dim;
                uint32_t taken = b == heads ? heads - 1 - head : head == a ? b : head == b ? a : head;
                layout->from[i] = taken * dim + i % dim;
            }
            if (holds(layout, &proof)) {
                proof_tell(layout->solve, &proof, found,
                           b == heads ? "The op's input has its heads in reverse order."
                                      : "The op's input has heads %u and %u exchanged.",
                           a, b);
                return true;
            }
        }
    }
    return false;
}

/* Values of a head, if the input is made of heads; else 1. */
static uint32_t head_dim(const struct evidence *evidence)
{
    const struct step *input = &evidence->plan->steps[evidence->step->input[0]];
    return input->op == OP_attention ? input->params.attention.dim : 1;
}

bool solve_input_layout(const struct solve *solve, struct diagnosis *found)
{
    struct product_samples samples;
    uint32_t n_rows = solve->trial->rows.n, dim = head_dim(solve->evidence);
    bool explains = false;
    if (product_samples_open(&samples, solve->evidence)) {
        struct input_layout layout = {
            .solve = solve, .samples = &samples, .n = samples.n_in, .rows = proof_rows(solve)};
        layout.from = xcalloc(layout.n, sizeof(*layout.from));
        layout.copy = xmalloc((uint64_t)n_rows * layout.n * sizeof(*layout.copy));
        explains = (dim > 1 && (are_heads_exchanged(&layout, dim, found) || is_transposed(&layout, dim, found))) ||
                   is_rolled(&layout, dim, found);
        free(layout.copy);
        free(layout.from);
        free(layout.rows);
    }
    product_samples_close(&samples);
    return explains;
}
