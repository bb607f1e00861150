#include "workbench/audit/weights/factor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/bounds.h"
#include "workbench/audit/weights/rounding_evidence.h"

/* One row of inputs of a matrix, and its outputs. */
struct factor_input {
    const float *x;
    const double *error;            /* of x */
    const double *actual, *rounded; /* as recorded, and how far the file's rounding moved it */
    const double *y, *bound;        /* bound: of the op's own arithmetic */
    double size;                    /* sum of y^2 without bias */
    double own, product, stored;    /* sums over the outputs: |bound y|, (actual - y) y, (rounded y)^2 / 3 */
};

/* A matrix: MODEL's, or one expert's. */
struct factor_matrix {
    const struct step *step;
    uint32_t weights_dtype, bias_row;
    uint64_t first_row, n_in, n_out;
    double u_operand;
    uint8_t weights; /* enum rounding_type */
    uint32_t n;
    struct factor_input *inputs;
};

struct factor_sums {
    uint32_t n;
    double error, own, variance;
};

/* A row of weights as the op has it. */
static void load_row(const struct factor_matrix *matrix, const struct tensor *tensor, uint64_t row, uint64_t n,
                     float *w)
{
    weights_decode(tensor, row, 0, n, w);
    for (uint64_t i = 0; matrix->weights_dtype != DTYPE_F32 && i < n; i++) {
        w[i] = round_to_dtype(w[i], matrix->weights_dtype);
    }
}

static void add_output(struct factor_input *input, uint64_t o, double y)
{
    double stored = input->rounded[o] * y;
    input->size += y * y;
    input->own += fabs(input->bound[o] * y);
    input->product += (input->actual[o] - input->y[o]) * y;
    input->stored += stored * stored / 3;
}

static void add_row(struct factor_sums *sums, const struct factor_matrix *matrix, const struct factor_input *input,
                    const double *g)
{
    double inputs = 0;
    for (uint64_t i = 0; i < matrix->n_in; i++) {
        double off = input->error[i] / BOUND_LAMBDA, operand = matrix->u_operand * input->x[i];
        inputs += g[i] * g[i] * (off * off + 2 * operand * operand / 3);
    }
    if (input->size > 0 && isfinite(input->product)) {
        sums->n++;
        sums->error += input->product / input->size;
        sums->own += input->own / input->size;
        sums->variance += (inputs + input->stored) / (input->size * input->size);
    }
}

static void add_matrix(struct factor_sums *sums, const struct factor_matrix *matrix)
{
    float *w = xmalloc(matrix->n_in * sizeof(*w)), *bias = xcalloc(matrix->n_out, sizeof(*bias));
    double *g = xcalloc(matrix->n * matrix->n_in + 1, sizeof(*g));
    if (matrix->step->weight[1]) {
        load_row(matrix, matrix->step->weight[1], matrix->bias_row, matrix->n_out, bias);
    }
    for (uint64_t o = 0; o < matrix->n_out && matrix->n > 0 && !stop_asked(); o++) {
        load_row(matrix, matrix->step->weight[0], matrix->first_row + o, matrix->n_in, w);
        round_values((enum rounding_type)matrix->weights, w, matrix->n_in);
        for (uint32_t r = 0; r < matrix->n; r++) {
            double y = matrix->inputs[r].y[o] - bias[o];
            add_output(&matrix->inputs[r], o, y);
            for (uint64_t i = 0; i < matrix->n_in; i++) {
                g[r * matrix->n_in + i] += w[i] * y;
            }
        }
    }
    for (uint32_t r = 0; r < matrix->n; r++) {
        add_row(sums, matrix, &matrix->inputs[r], g + r * matrix->n_in);
    }
    free(g);
    free(bias);
    free(w);
}

/* Adds the inputs of a matrix, but for those that repeat an earlier one. */
static void take_input(struct factor_matrix *matrix, const struct factor_input *input)
{
    for (uint32_t r = 0; r < matrix->n; r++) {
        if (memcmp(matrix->inputs[r].x, input->x, matrix->n_in * sizeof(*input->x)) == 0) {
            return;
        }
    }
    matrix->inputs[matrix->n++] = *input;
}

/* The rows of a product with what it makes of them in its own arithmetic alone. */
struct factor_rows {
    const struct step *step;         /* the product */
    const struct trace_stage *input; /* recorded, and rounded for the file */
    uint32_t n;
    struct op_row *rows;
    struct arith arith[2];                /* [phase] as recorded without a rounding for the file */
    double *y, *bound, *actual, *rounded; /* [n, width] as in struct factor_input */
};

/* The product whose outputs a step records: itself, or the head, where only logits_final is recorded. NULL: none. */
static const struct step *product_of(const struct plan *plan, const struct step *step, const struct trace *trace)
{
    bool is_head = step->op == OP_softcap && !trace_find_step(trace, &plan->steps[step->input[0]]);
    const struct step *product = is_head ? &plan->steps[step->input[0]] : step;
    return product->op == OP_matmul || product->op == OP_expert_matmul ? product : NULL;
}

/* Fills in what is recorded of a row, as the product made it: without the final softcap. */
static void take_recorded(const struct factor_rows *of, const struct step *step, const struct trace_stage *stage,
                          uint32_t r)
{
    double cap = step == of->step ? 0 : step->params.softcap.cap;
    const float *recorded = trace_row(stage, of->rows[r].position);
    for (uint64_t o = 0, at = (uint64_t)r * step->width; o < step->width; o++, at++) {
        double t = cap != 0 ? recorded[o] / cap : 0;
        of->actual[at] = cap != 0 ? cap * atanh(t) : recorded[o];
        of->rounded[at] = bound_rounded(stage->arith.u_rounded, fabs((double)recorded[o])) / (1 - t * t);
    }
}

/* Takes the rows whose inputs are recorded and rounded for the file. */
static void rows_open(struct factor_rows *of, const struct step *step, const struct trace *trace,
                      const struct rows *rows)
{
    const struct trace_stage *stage = trace_find_step(trace, step);
    of->rows = xcalloc(rows->n + 1, sizeof(*of->rows));
    for (uint32_t r = 0; r < rows->n; r++) {
        const struct op_row *row = &rows->rows[r];
        const float *x = trace_row(of->input, row->position);
        if (x && (of->step != step || row->in[0] == x)) {
            of->arith[row->decode] = *row->arith;
            of->arith[row->decode].u_rounded = 0;
            of->rows[of->n] = *row;
            of->rows[of->n].in[0] = x;
            of->rows[of->n].error[0] = NULL;
            of->rows[of->n++].arith = &of->arith[row->decode];
        }
    }
    uint64_t n_values = (uint64_t)of->n * step->width;
    of->y = xmalloc((4 * n_values + 1) * sizeof(*of->y));
    of->bound = of->y + n_values;
    of->actual = of->bound + n_values;
    of->rounded = of->actual + n_values;
    for (uint32_t r = 0; r < of->n; r++) {
        take_recorded(of, step, stage, r);
    }
    op_run(&(struct op_batch){.step = of->step,
                              .weights_dtype = stage->weights_dtype,
                              .n_rows = of->n,
                              .rows = of->rows,
                              .y = of->y,
                              .bound = of->bound});
}

/* Adds the inputs that one matrix is multiplied with: of every row, or of its slots that chose the expert. */
static void add_inputs(struct factor_matrix *matrix, const struct factor_rows *of, uint32_t expert)
{
    const struct expert_matmul_params *p = &of->step->params.expert_matmul;
    bool experts = of->step->op == OP_expert_matmul;
    for (uint32_t r = 0; r < of->n; r++) {
        for (uint32_t k = 0; k < (experts ? p->k : 1); k++) {
            if (experts && of->rows[r].in[1][k] != (float)expert) {
                continue;
            }
            uint64_t in = experts && !p->shared_x ? k * matrix->n_in : 0;
            uint64_t out = (uint64_t)r * of->step->width + k * matrix->n_out;
            const double *error = of->input->error + (uint64_t)of->rows[r].position * of->input->width;
            const struct factor_input input = {.x = of->rows[r].in[0] + in,
                                               .error = error + in,
                                               .actual = of->actual + out,
                                               .rounded = of->rounded + out,
                                               .y = of->y + out,
                                               .bound = of->bound + out};
            take_input(matrix, &input);
        }
    }
}

static double unit_of(uint8_t operands)
{
    return operands == ROUNDING_F16 ? 0x1p-11 : operands == ROUNDING_BF16 ? 0x1p-8 : 0;
}

/* Adds up the rows of all matrices of a product. */
static struct factor_sums add_matrices(const struct factor_rows *of, uint32_t weights_dtype)
{
    const struct step *step = of->step;
    const struct roundings *roundings = &of->rows[0].arith->roundings;
    const struct expert_matmul_params *p = &step->params.expert_matmul;
    bool experts = step->op == OP_expert_matmul;
    struct factor_sums sums = {0};
    struct factor_matrix matrix = {.step = step,
                                   .weights_dtype = weights_dtype,
                                   .n_in = experts ? p->n_in : step->params.matmul.n_in,
                                   .n_out = experts ? p->n_out : step->params.matmul.n_out,
                                   .u_operand = unit_of(roundings->operands),
                                   .weights = roundings->weights};
    matrix.inputs = xmalloc((uint64_t)of->n * (experts ? p->k : 1) * sizeof(*matrix.inputs));
    for (uint32_t expert = 0; expert < (experts ? p->n_experts : 1); expert++) {
        matrix.n = 0;
        matrix.bias_row = expert;
        matrix.first_row = (uint64_t)expert * matrix.n_out;
        add_inputs(&matrix, of, expert);
        add_matrix(&sums, &matrix);
    }
    free(matrix.inputs);
    return sums;
}

bool factor_measure(struct factor *factor, const struct plan *plan, uint32_t step_index, const struct trace *trace,
                    const struct rows *rows)
{
    const struct step *step = &plan->steps[step_index];
    const struct trace_stage *stage = trace_find_step(trace, step);
    struct factor_rows of = {.step = product_of(plan, step, trace)};
    struct factor_sums sums = {0};
    *factor = (struct factor){.factor = 1};
    if (!of.step || !stage || stage->arith.u_rounded == 0) {
        return false;
    }
    of.input = trace_find_step(trace, &plan->steps[of.step->input[0]]);
    if (!of.input || !of.input->error) {
        return false;
    }
    rows_open(&of, step, trace, rows);
    if (of.n > 0 && of.rows[0].arith->roundings.operands <= ROUNDING_BF16) {
        sums = add_matrices(&of, stage->weights_dtype);
    }
    free(of.y);
    free(of.rows);
    if (sums.n > 0) {
        *factor =
            (struct factor){sums.n, 1 + sums.error / sums.n, (sqrt(2 * UNLIKELY * sums.variance) + sums.own) / sums.n};
    }
    return sums.n > 0;
}

bool factor_is_off(const struct factor *factor)
{
    return fabs(factor->factor - 1) > factor->off;
}

void factor_judge(struct finding *finding, const struct plan *plan, uint32_t step, const struct trace *trace,
                  const struct rows *rows)
{
    struct factor factor;
    if (finding->state != FINDING_AUDITED || finding->rows_judged == 0 || finding->rows_failed > 0 ||
        !factor_measure(&factor, plan, step, trace, rows) || !factor_is_off(&factor)) {
        return;
    }
    finding->ratio = finding->max_ratio = fabs(factor.factor - 1) / factor.off;
    finding->bound = fabs(finding->expected) * factor.off;
    finding->rows_failed = finding->rows_judged;
}
