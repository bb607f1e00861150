/* Kernels for bench --kernels. A kernel is one op, or a group that the engine fuses, at one size: a small plan with
 * random weights and inputs, which engine and reference run like any plan. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_H

#include "model/backend.h"

#define KERNEL_MAX_STEPS 1024

struct kernel;

/* A layer's shape, for groups of ops. */
struct kernel_model {
    uint32_t hidden, ffn, vocab;
    struct attention_params attention;
    bool norms_after; /* Gemma: norms after attention and FFN, before the residual add; each norm's weight is w + 1 */
    bool norms_heads; /* norms of the heads of q and k */
    uint32_t activation;
    float final_softcap; /* 0: none */
    float theta;
};

/* One row of kernel_table.c: a kernel at one size, in all listed formats and for all listed numbers of rows. */
struct kernel_case {
    const char *name;                                                    /* "matmul 6912x1152" */
    void (*build)(struct kernel *kernel, const struct kernel_case *row); /* kernel_build.c */
    union step_params params;                                            /* of a single op */
    const struct kernel_model *model;                                    /* of a group */
    uint32_t formats; /* of the weights, one bit a DTYPE_; 0: no format to choose, any weights are F32 */
    uint32_t rows;    /* numbers of rows, KERNEL_ bits */
    uint32_t n_keys;  /* decode: positions in the KV cache, the row's own included; 0: only that one */
};

#define KERNEL_1 1u /* 1 row: decode */
#define KERNEL_128 2u
#define KERNEL_512 4u

extern const struct kernel_case kernel_cases[];
extern const uint32_t n_kernel_cases;

/* A case in one format, for one number of rows. */
struct kernel {
    char name[96]; /* "matmul 6912x1152 Q4_0 decode" */
    struct plan plan;
    uint32_t dtype;                  /* of the weight matrices */
    uint32_t n_rows;                 /* of the batch */
    uint32_t n_positions;            /* the batch is the last n_rows of them */
    int32_t *tokens;                 /* [n_rows] */
    float *rows[KERNEL_MAX_STEPS];   /* [n_positions, width] of each step */
    bool is_given[KERNEL_MAX_STEPS]; /* [step] its rows are random input; else the engine computes them */
    uint32_t first, n_steps;         /* the steps that are timed */
    uint32_t copied;                 /* steps from here on exist once a copy; those before it are shared */
    uint32_t n_copies, stride;       /* stride: steps a copy; weights of copies are equal but lie apart */
    double bytes, flops;             /* read (weights, keys, values, rows) and computed in one repetition */
    uint64_t seed;
};

/* "matmul 6912x1152 Q4_0 decode" */
void kernel_name(char *name, size_t size, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows);

/* Builds a case, with as many copies as take cold_bytes together, so that no copy is still cached at its next turn. */
void kernel_open(struct kernel *kernel, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows,
                 uint64_t cold_bytes);
void kernel_close(struct kernel *kernel);

/* For the functions that build cases. Each adds a step and returns its index. */

/* A given step with random values. */
uint32_t kernel_add_values(struct kernel *kernel, uint32_t width);

/* A given step whose rows are distinct indices in [0, below). */
uint32_t kernel_add_indices(struct kernel *kernel, uint32_t width, uint32_t below);

/* rows: 0 makes a vector. */
const struct tensor *kernel_add_tensor(struct kernel *kernel, uint32_t dtype, uint64_t rows, uint64_t columns);

/* A computed step, which is timed. */
uint32_t kernel_add_step(struct kernel *kernel, const struct step *step);

/* kernel_check.c: begins the batch on an engine that has the kernel's plan, or an edit of it. First fills the KV cache
 * up to the batch, then writes the batch's given rows. */
enum status kernel_begin_batch(const struct kernel *kernel, struct backend *engine, struct error *err);

/* Runs every copy once. *ratio: the first copy's worst error / its bound, from the reference; infinity if a value is
 * nonfinite. *same: the other copies gave the same bits. */
enum status kernel_check(struct kernel *kernel, struct backend *engine, double *ratio, bool *same, struct error *err);

#endif
