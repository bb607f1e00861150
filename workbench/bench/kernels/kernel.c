/* Builds a kernel's plan: steps, random weights and inputs, copies; and counts what it reads and computes. */
#include "workbench/bench/kernels/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/bench/kernels/kernel_random.h"

void kernel_name(char *name, size_t size, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows)
{
    const char *format = row->formats ? dtype_info(dtype)->name : "";
    if (n_rows == 1) {
        snprintf(name, size, "%s%s%s decode", row->name, *format ? " " : "", format);
    } else {
        snprintf(name, size, "%s%s%s prefill %u", row->name, *format ? " " : "", format, n_rows);
    }
}

/* Adds a step without parameters, with room for its rows. */
static struct step *add_empty_step(struct kernel *kernel, enum op op, uint32_t width)
{
    struct plan *plan = &kernel->plan;
    ASSERT(plan->n_steps < KERNEL_MAX_STEPS);
    struct step *step = &plan->steps[plan->n_steps];
    *step = (struct step){.op = op, .layer = 0, .stage = STAGE_sample_token, .width = width, .input = {-1, -1, -1}};
    kernel->rows[plan->n_steps++] = xcalloc((uint64_t)kernel->n_positions * width, sizeof(float));
    return step;
}

const struct tensor *kernel_add_tensor(struct kernel *kernel, uint32_t dtype, uint64_t rows, uint64_t columns)
{
    struct tensor *tensor = arena_alloc(&kernel->plan.arena, sizeof(*tensor));
    *tensor = (struct tensor){.name = "random.weight",
                              .stored_name = "random.weight",
                              .file = kernel->name,
                              .dtype = dtype,
                              .layout = LAYOUT_ROWS,
                              .n_dims = rows ? 2 : 1,
                              .shape = {rows ? rows : columns, columns},
                              .n_bytes = (rows ? rows : 1) * dtype_bytes(dtype, columns)};
    uint8_t *bytes = arena_alloc(&kernel->plan.arena, tensor->n_bytes);
    random_weight_bytes(&kernel->seed, dtype, bytes, tensor->n_bytes);
    tensor->bytes = bytes;
    return tensor;
}

/* Adds a step that is never run; its rows are written to the backend. */
static uint32_t add_given(struct kernel *kernel, uint32_t width)
{
    struct step *step = add_empty_step(kernel, OP_embed, width);
    uint32_t index = (uint32_t)(step - kernel->plan.steps);
    step->params.embed = (struct embed_params){width, 1, 1};
    step->weight[0] = kernel_add_tensor(kernel, DTYPE_F32, 1, width);
    kernel->is_given[index] = true;
    return index;
}

static void fill_random(struct kernel *kernel, uint32_t index)
{
    uint64_t n = (uint64_t)kernel->n_positions * kernel->plan.steps[index].width;
    for (uint64_t i = 0; i < n; i++) {
        kernel->rows[index][i] = random_unit(&kernel->seed) * 2;
    }
}

uint32_t kernel_add_values(struct kernel *kernel, uint32_t width)
{
    uint32_t index = add_given(kernel, width);
    fill_random(kernel, index);
    return index;
}

uint32_t kernel_add_indices(struct kernel *kernel, uint32_t width, uint32_t below)
{
    uint32_t index = add_given(kernel, width);
    for (uint32_t row = 0; row < kernel->n_positions; row++) {
        uint32_t place = (uint32_t)(random_bits(&kernel->seed) >> 32) % below;
        for (uint32_t i = 0; i < width; i++) {
            kernel->rows[index][(uint64_t)row * width + i] = (float)((place + i) % below);
        }
    }
    return index;
}

uint32_t kernel_add_step(struct kernel *kernel, const struct step *step)
{
    uint32_t index = (uint32_t)(add_empty_step(kernel, step->op, step->width) - kernel->plan.steps);
    kernel->plan.steps[index] = *step;
    if (kernel->n_steps++ == 0) {
        kernel->first = index;
    }
    ASSERT(index == kernel->first + kernel->n_steps - 1);
    if (kernel->n_positions > kernel->n_rows) {
        fill_random(kernel, index); /* an attention may read its rows of earlier positions */
    }
    return index;
}

/* Bytes that belong to one copy: weights, given rows (keys and values), and computed rows. 0: the copy reads nothing of
 * its own, so more copies would change nothing. */
static uint64_t own_bytes(const struct kernel *kernel)
{
    uint64_t given = 0, computed = 0;
    for (uint32_t i = kernel->copied; i < kernel->plan.n_steps; i++) {
        const struct step *step = &kernel->plan.steps[i];
        if (kernel->is_given[i]) {
            given += (uint64_t)kernel->n_positions * step->width * sizeof(float);
        } else {
            computed += (uint64_t)kernel->n_rows * step->width * sizeof(float);
        }
        for (unsigned w = 0; !kernel->is_given[i] && w < OP_MAX_WEIGHTS; w++) {
            given += step->weight[w] ? step->weight[w]->n_bytes : 0;
        }
    }
    return given > 0 ? given + computed : 0;
}

/* Adds the steps from `copied` on once more, with tensors of their own over the same bytes. */
static void add_copy(struct kernel *kernel, uint32_t copy)
{
    for (uint32_t i = 0; i < kernel->stride; i++) {
        uint32_t from = kernel->copied + i, to = kernel->plan.n_steps;
        const struct step *old = &kernel->plan.steps[from];
        struct step *step = add_empty_step(kernel, old->op, old->width);
        *step = *old;
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            step->input[k] += old->input[k] >= (int32_t)kernel->copied ? (int32_t)(copy * kernel->stride) : 0;
        }
        for (unsigned w = 0; w < OP_MAX_WEIGHTS; w++) {
            if (!old->weight[w]) {
                continue;
            }
            struct tensor *tensor = arena_alloc(&kernel->plan.arena, sizeof(*tensor));
            *tensor = *old->weight[w];
            step->weight[w] = tensor;
        }
        kernel->is_given[to] = kernel->is_given[from];
        memcpy(kernel->rows[to], kernel->rows[from], (uint64_t)kernel->n_positions * step->width * sizeof(float));
    }
}

/* How many positions have keys that at least one row of the batch sees. */
static uint32_t visible_keys(const struct kernel *kernel, const struct step *attention)
{
    uint32_t window = attention->params.attention.window, most = window + kernel->n_rows - 1;
    return window && most < kernel->n_positions ? most : kernel->n_positions;
}

/* Bytes read in one repetition. An embedding reads only its tokens' rows, an expert op only its chosen experts. */
static double bytes_read(const struct kernel *kernel)
{
    double n = 0;
    for (uint32_t i = kernel->first; i < kernel->first + kernel->n_steps; i++) {
        const struct step *step = &kernel->plan.steps[i];
        double share = 1;
        if (step->op == OP_embed) {
            share = (double)kernel->n_rows / step->params.embed.vocab;
        }
        if (step->op == OP_expert_matmul) {
            share = (double)kernel->n_rows * step->params.expert_matmul.k / step->params.expert_matmul.n_experts;
        }
        for (unsigned w = 0; w < OP_MAX_WEIGHTS; w++) {
            n += step->weight[w] ? (double)step->weight[w]->n_bytes * (share < 1 ? share : 1) : 0;
        }
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            bool earlier = op_reads_earlier(step->op, k);
            if (step->input[k] >= 0 && (earlier || kernel->is_given[step->input[k]])) {
                n += (double)(earlier ? visible_keys(kernel, step) : kernel->n_rows) *
                     kernel->plan.steps[step->input[k]].width * sizeof(float);
            }
        }
    }
    return n;
}

static double count_flops(const struct kernel *kernel)
{
    double n = 0;
    for (uint32_t i = kernel->first; i < kernel->first + kernel->n_steps; i++) {
        const union step_params *params = &kernel->plan.steps[i].params;
        const struct attention_params *attention = &params->attention;
        const struct expert_matmul_params *expert = &params->expert_matmul;
        double keys = kernel->n_positions - (kernel->n_rows - 1) / 2.0; /* seen by a row on average */
        switch (kernel->plan.steps[i].op) {
        case OP_matmul:
            n += 2.0 * params->matmul.n_in * params->matmul.n_out;
            break;
        case OP_expert_matmul:
            n += 2.0 * expert->k * expert->n_in * expert->n_out;
            break;
        case OP_attention:
            n += 4.0 * attention->heads * attention->dim *
                 (attention->window && attention->window < keys ? attention->window : keys);
            break;
        default: /* a few operations for each value read: not counted */
            break;
        }
    }
    return n * kernel->n_rows;
}

void kernel_open(struct kernel *kernel, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows,
                 uint64_t cold_bytes)
{
    *kernel = (struct kernel){.dtype = dtype, .n_rows = n_rows, .n_copies = 1, .seed = 88172645463325252ull};
    kernel_name(kernel->name, sizeof(kernel->name), row, dtype, n_rows);
    kernel->n_positions = n_rows == 1 && row->n_keys ? row->n_keys : n_rows;
    kernel->plan.steps = arena_alloc(&kernel->plan.arena, KERNEL_MAX_STEPS * sizeof(struct step));
    kernel->plan.n_layers = 1;
    kernel->tokens = xcalloc(n_rows, sizeof(*kernel->tokens));
    row->build(kernel, row);
    kernel->stride = kernel->plan.n_steps - kernel->copied;
    kernel->bytes = bytes_read(kernel);
    kernel->flops = count_flops(kernel);
    uint64_t own = own_bytes(kernel), most = (KERNEL_MAX_STEPS - kernel->copied) / kernel->stride;
    uint64_t n = own ? (cold_bytes + own - 1) / own : 1;
    kernel->n_copies = (uint32_t)(n < 1 ? 1 : n < most ? n : most);
    for (uint32_t copy = 1; copy < kernel->n_copies; copy++) {
        add_copy(kernel, copy);
    }
}

void kernel_close(struct kernel *kernel)
{
    for (uint32_t i = 0; i < kernel->plan.n_steps; i++) {
        free(kernel->rows[i]);
    }
    free(kernel->tokens);
    plan_free(&kernel->plan);
}
