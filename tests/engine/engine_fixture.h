/* A plan built by hand, for tests of the engine: any op at any size. Its inputs are written through the backend, and
 * its output is compared with the reference's within the bound. */
#ifndef LOCKSTEP_TESTS_ENGINE_ENGINE_FIXTURE_H
#define LOCKSTEP_TESTS_ENGINE_ENGINE_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/internal.h"
#include "model/tensor.h"
#include "reference/reference.h"

#define FIXTURE_MAX_STEPS 256

struct fixture {
    struct plan plan;
    struct backend engine;
    float *rows[FIXTURE_MAX_STEPS]; /* [max_positions, width] what was written to each input step */
    uint32_t max_positions;
    uint32_t max_rows;   /* of a batch; 0: 16 */
    int32_t tokens[128]; /* [position]; 0 where a test does not need them */
    uint64_t seed;
    double last_bound;  /* of the last value that fixture_ratio judged */
    bool no_validation; /* the validation layer does not know the extension under test */
};

static inline void must(enum status status, const struct error *err)
{
    if (status != STATUS_OK) {
        fail_msg("status %d: %s", (int)status, err->text);
    }
}

/* xorshift64*: the same numbers on every machine. */
static inline uint64_t random_bits(struct fixture *f)
{
    f->seed ^= f->seed >> 12;
    f->seed ^= f->seed << 25;
    f->seed ^= f->seed >> 27;
    return f->seed * 2685821657736338717ull;
}

/* In [-1, 1), to 24 bits. */
static inline float random_unit(struct fixture *f)
{
    return (float)(int64_t)(random_bits(f) >> 40) / 8388608.0f - 1.0f;
}

/* Values of different sizes, some of them large, as activations are. */
static inline float random_value(struct fixture *f)
{
    static const float scales[] = {0.01f, 1, 1, 1, 4, 30};
    return random_unit(f) * scales[random_bits(f) >> 32 & 3] * (random_bits(f) >> 60 ? 1 : scales[5]);
}

static inline void fixture_init(struct fixture *f, uint32_t max_positions)
{
    *f = (struct fixture){.max_positions = max_positions, .seed = 88172645463325252ull};
    f->plan.steps = arena_alloc(&f->plan.arena, FIXTURE_MAX_STEPS * sizeof(struct step));
}

/* A half of moderate size; sometimes a subnormal one. */
static inline uint16_t random_half(struct fixture *f)
{
    uint64_t bits = random_bits(f) >> 20;
    unsigned exponent = bits & 15 ? 7 + (bits >> 4) % 6 : 0;
    return (uint16_t)((bits >> 10 & 0x8000) | exponent << 10 | (bits >> 30 & 0x3ff));
}

static inline void random_block(struct fixture *f, uint32_t dtype, uint8_t *bytes, uint32_t n_bytes)
{
    uint16_t half = random_half(f), other = random_half(f);
    float value = random_unit(f);
    uint32_t word;
    memcpy(&word, &value, 4);
    uint16_t bf16 = (uint16_t)(word >> 16);
    for (uint32_t i = 0; i < n_bytes; i++) {
        bytes[i] = (uint8_t)(random_bits(f) >> 32);
    }
    const struct dtype_info *info = dtype_info(dtype);
    if (dtype == DTYPE_F32) {
        memcpy(bytes, &value, 4);
    } else if (info->scale == SCALE_E8M0) {
        bytes[info->d_at] = (uint8_t)(110 + half % 20);
    } else {
        memcpy(bytes + info->d_at, dtype == DTYPE_BF16 ? &bf16 : &half, 2);
    }
    if (info->m_times > 0) {
        memcpy(bytes + info->m_at, &other, 2);
    }
}

/* A random tensor [rows, columns], or [columns] if rows is 0, in any layout. */
static inline const struct tensor *fixture_tensor_in(struct fixture *f, uint32_t dtype, uint32_t layout, uint64_t rows,
                                                     uint64_t columns)
{
    const struct dtype_info *info = dtype_info(dtype);
    uint64_t n_rows = rows ? rows : 1, n = info->block_elems, n_blocks = n_rows * ((columns + n - 1) / n);
    if (layout == LAYOUT_PACKED) {
        n_blocks = (n_rows * columns + n - 1) / n;
    } else if (layout == LAYOUT_COLUMNS) {
        n_blocks = columns * ((n_rows + n - 1) / n);
    }
    uint8_t *bytes = arena_alloc(&f->plan.arena, n_blocks * info->block_bytes);
    for (uint64_t i = 0; i < n_blocks; i++) {
        random_block(f, dtype, bytes + i * info->block_bytes, info->block_bytes);
    }
    for (uint64_t i = 0; i < n_blocks && info->scale == SCALE_E8M0; i++) {
        bytes[i * info->block_bytes] = (uint8_t)(120 + bytes[i * info->block_bytes] % 9); /* the exponent */
    }
    struct tensor *tensor = arena_alloc(&f->plan.arena, sizeof(*tensor));
    *tensor = (struct tensor){
        .name = "test.weight",
        .stored_name = "test.weight",
        .file = "memory",
        .dtype = dtype,
        .layout = layout,
        .n_dims = rows ? 2 : 1,
        .shape = {rows ? rows : columns, columns},
        .bytes = bytes,
        .n_bytes = n_blocks * info->block_bytes,
    };
    return tensor;
}

static inline const struct tensor *fixture_tensor(struct fixture *f, uint32_t dtype, uint64_t rows, uint64_t columns)
{
    return fixture_tensor_in(f, dtype, LAYOUT_ROWS, rows, columns);
}

static inline uint32_t fixture_step(struct fixture *f, enum op op, uint32_t width, union step_params params)
{
    assert_true(f->plan.n_steps < FIXTURE_MAX_STEPS);
    f->plan.steps[f->plan.n_steps] = (struct step){
        .op = op, .layer = LAYER_NONE, .stage = STAGE_embed, .width = width, .input = {-1, -1, -1}, .params = params};
    return f->plan.n_steps++;
}

/* A step whose rows the test writes. Its op (an embedding of one token) never runs. */
static inline uint32_t fixture_input(struct fixture *f, uint32_t width)
{
    uint32_t step = fixture_step(f, OP_embed, width, (union step_params){.embed = {width, 1, 1}});
    f->plan.steps[step].weight[0] = fixture_tensor(f, DTYPE_F32, 1, width);
    f->rows[step] = xcalloc((uint64_t)f->max_positions * width, sizeof(float));
    return step;
}

/* An attention whose inputs the test writes; its sinks, if it has them, are F32. */
static inline uint32_t fixture_attention(struct fixture *f, struct attention_params op)
{
    uint32_t width = op.heads * op.dim, kv_width = op.kv_heads * op.dim;
    uint32_t q = fixture_input(f, width), k = fixture_input(f, kv_width), v = fixture_input(f, kv_width);
    uint32_t step = fixture_step(f, OP_attention, width, (union step_params){.attention = op});
    f->plan.steps[step].input[0] = (int32_t)q;
    f->plan.steps[step].input[1] = (int32_t)k;
    f->plan.steps[step].input[2] = (int32_t)v;
    if (op.has_sinks) {
        f->plan.steps[step].weight[0] = fixture_tensor(f, DTYPE_F32, 0, op.heads);
    }
    return step;
}

/* Adds a step of a whole plan: its op, stage, layer, width and parameters, and its first two inputs (-1: none). */
static inline int32_t fixture_stage(struct fixture *f, struct step wanted)
{
    uint32_t step = fixture_step(f, wanted.op, wanted.width, wanted.params);
    f->plan.steps[step].stage = wanted.stage;
    f->plan.steps[step].layer = wanted.layer;
    f->plan.steps[step].input[0] = wanted.input[0];
    f->plan.steps[step].input[1] = wanted.input[1];
    return (int32_t)step;
}

/* A matmul of a whole plan, with random weights. */
struct stage_matmul {
    enum stage stage;
    int32_t layer;
    uint32_t dtype;
    int32_t in; /* step */
    uint32_t n_out;
    bool bias;
};

static inline int32_t fixture_stage_matmul(struct fixture *f, struct stage_matmul matmul)
{
    uint32_t n_in = f->plan.steps[matmul.in].width;
    int32_t step = fixture_stage(f, (struct step){.op = OP_matmul,
                                                  .stage = matmul.stage,
                                                  .layer = matmul.layer,
                                                  .width = matmul.n_out,
                                                  .input = {matmul.in, -1},
                                                  .params = {.matmul = {n_in, matmul.n_out, matmul.bias}}});
    f->plan.steps[step].weight[0] = fixture_tensor(f, matmul.dtype, matmul.n_out, n_in);
    f->plan.steps[step].weight[1] = matmul.bias ? fixture_tensor(f, DTYPE_F32, 0, matmul.n_out) : NULL;
    return step;
}

static inline void fixture_open(struct fixture *f, const struct engine_limits *limits, bool pad_buffers)
{
    struct error err;
    struct engine_options options = {
        .max_positions = f->max_positions, .validation = !f->no_validation, .pad_buffers = pad_buffers};
    options.max_rows = f->max_rows ? f->max_rows : 16;
    must(backend_open(&f->engine, &f->plan, &options, limits, &err), &err);
}

static inline void fixture_close(struct fixture *f)
{
    if (f->engine.ops) {
        f->engine.ops->close(&f->engine);
    }
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        free(f->rows[i]);
    }
    arena_free(&f->plan.arena);
}

/* Begins a batch and gives every input step new random rows. */
static inline void fixture_begin(struct fixture *f, uint32_t first_position, uint32_t n_rows, bool decode)
{
    struct error err;
    struct batch batch = {first_position, n_rows, f->tokens, decode};
    must(f->engine.ops->begin(&f->engine, &batch, &err), &err);
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        uint32_t width = f->plan.steps[i].width;
        if (!f->rows[i]) {
            continue;
        }
        float *rows = f->rows[i] + (uint64_t)first_position * width;
        for (uint64_t k = 0; k < (uint64_t)n_rows * width; k++) {
            rows[k] = random_value(f);
        }
        must(f->engine.ops->write(&f->engine, i, rows, &err), &err);
    }
}

/* Runs one step by itself and reads its rows, which are malloc'ed. */
static inline float *fixture_run(struct fixture *f, uint32_t step, uint32_t n_rows)
{
    struct error err;
    float *rows = xcalloc((uint64_t)n_rows * f->plan.steps[step].width, sizeof(float));
    must(f->engine.ops->run(&f->engine, step, step + 1, &err), &err);
    must(f->engine.ops->read(&f->engine, step, rows, &err), &err);
    return rows;
}

/* The worst error of rows as a ratio to the bound. `judge`, the step or an edit of it, gives the expected values.
 * Infinity if a value is not finite and should be. Sets f->last_bound. */
static inline double fixture_ratio(struct fixture *f, const struct step *judge, const float *rows,
                                   uint32_t first_position, uint32_t n_rows, bool decode)
{
    struct op_row *in = xcalloc(n_rows, sizeof(*in));
    double *y = xcalloc((uint64_t)n_rows * judge->width, sizeof(double));
    double *bound = xcalloc((uint64_t)n_rows * judge->width, sizeof(double)), worst = 0;
    for (uint32_t r = 0; r < n_rows; r++) {
        in[r] = (struct op_row){.arith = &arith_float32, .position = first_position + r, .decode = decode};
        in[r].has_next = !decode && r + 1 < n_rows;
        in[r].token = f->tokens[(first_position + r) % 64];
        for (unsigned i = 0; i < op_info(judge->op)->n_inputs; i++) {
            int32_t source = judge->input[i];
            bool history = judge->op == OP_attention && i > 0;
            uint64_t at = history ? 0 : (uint64_t)(first_position + r) * f->plan.steps[source].width;
            in[r].in[i] = f->rows[source] + at;
        }
    }
    op_run(&(struct op_batch){
        .step = judge, .weights_dtype = DTYPE_F32, .n_rows = n_rows, .rows = in, .y = y, .bound = bound});
    for (uint64_t i = 0; i < (uint64_t)n_rows * judge->width; i++) {
        double error = fabs(rows[i] - y[i]);
        double ratio = error == 0 ? 0 : error / bound[i];
        worst = isfinite(rows[i]) && ratio <= worst ? worst : isfinite(rows[i]) && ratio > worst ? ratio : INFINITY;
    }
    f->last_bound = bound[(uint64_t)n_rows * judge->width - 1];
    free(in);
    free(y);
    free(bound);
    return worst;
}

/* Runs every step that is not an input for n_rows from a position, and checks that it is within its bound. Returns the
 * worst ratio. */
static inline double fixture_check(struct fixture *f, uint32_t first_position, uint32_t n_rows, bool decode)
{
    double worst = 0;
    fixture_begin(f, first_position, n_rows, decode);
    for (uint32_t i = 0; i < f->plan.n_steps; i++) {
        const struct step *step = &f->plan.steps[i];
        if (f->rows[i]) {
            continue;
        }
        float *rows = fixture_run(f, i, n_rows);
        double ratio = fixture_ratio(f, step, rows, first_position, n_rows, decode);
        free(rows);
        if (!(ratio <= 1)) {
            fail_msg("step %u (%s, width %u), %u rows from %u: ratio %g", i, op_info(step->op)->name, step->width,
                     n_rows, first_position, ratio);
        }
        worst = ratio > worst ? ratio : worst;
    }
    return worst;
}

#endif
