/* Single kernels by themselves, for `bench --kernels`: an op, or ops that the engine fuses, at one size, as a small
 * plan with random weights and inputs, so that engine and reference run it as they run any plan. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_KERNEL_H
#define LOCKSTEP_WORKBENCH_BENCH_KERNEL_H

#include "model/backend.h"

#define KERNEL_MAX_STEPS 1024

struct kernel;

/* A layer's shape, for groups of ops. */
struct kernel_model {
    uint32_t hidden, ffn, vocab;
    struct attention_params attention;
    bool norms_after; /* of attention and FFN, ahead of the residual's add; with the +1 of Gemma's norms */
    bool norms_heads; /* q and k */
    uint32_t activation;
    float final_softcap; /* 0: none */
    float theta;
};

/* One row of kernel_table.c: a kernel at one size, in every format and for every number of rows that it lists. */
struct kernel_case {
    const char *name;                                                    /* "matmul 6912x1152" */
    void (*build)(struct kernel *kernel, const struct kernel_case *row); /* kernel_build.c */
    union step_params params;                                            /* of one op */
    const struct kernel_model *model;                                    /* of a group */
    uint32_t formats; /* bit DTYPE_: of the weights; 0: those that it has are F32 */
    uint32_t rows;    /* KERNEL_ bits */
    uint32_t n_keys;  /* positions up to the last row's, for decode; 0: as many as there are rows */
};

#define KERNEL_1 1u /* decode */
#define KERNEL_128 2u
#define KERNEL_512 4u

extern const struct kernel_case kernel_cases[];
extern const uint32_t n_kernel_cases;

/* A case in one format, for one number of rows. */
struct kernel {
    char name[96]; /* "matmul 6912x1152 Q4_0 decode" */
    struct plan plan;
    uint32_t dtype;                  /* of the matrix */
    uint32_t n_rows;                 /* of a batch */
    uint32_t n_positions;            /* the batch is the last n_rows of them */
    int32_t *tokens;                 /* [n_rows] */
    float *rows[KERNEL_MAX_STEPS];   /* [n_positions, width] of each step */
    bool is_given[KERNEL_MAX_STEPS]; /* its rows are random; else the engine makes those of the batch */
    uint32_t first, n_steps;         /* what is measured */
    uint32_t copied;                 /* step from which on a copy has its own; those before it are shared */
    uint32_t n_copies, stride;       /* each with weights of its own, of the same values */
    double bytes, flops;             /* of one time: read (weights, keys and values, rows), computed */
    uint64_t seed;
};

/* Names a case: "matmul 6912x1152 Q4_0 decode". */
void kernel_name(char *name, size_t size, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows);

/* n_copies: as many as take cold_bytes together, so that by the time a copy's turn comes again no cache holds it. */
void kernel_open(struct kernel *kernel, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows,
                 uint64_t cold_bytes);
void kernel_close(struct kernel *kernel);

/* For the functions that build cases. A step whose rows are random numbers; whose rows are distinct places below
 * `below`; an op, the first one of which begins what is measured, with inputs (-1: none) and weights as they come. */
uint32_t kernel_values(struct kernel *kernel, uint32_t width);
uint32_t kernel_places(struct kernel *kernel, uint32_t width, uint32_t below);
const struct tensor *kernel_tensor(struct kernel *kernel, uint32_t dtype, uint64_t rows, uint64_t columns);
uint32_t kernel_step(struct kernel *kernel, const struct step *step);

/* kernel_check.c: begins the batch on an engine that was opened on the kernel's plan (or on an edit of it), with all
 * that comes before it, and writes the inputs. */
enum status kernel_begin(const struct kernel *kernel, struct backend *engine, struct error *err);

/* Runs every copy once. *ratio: the worst error of the first one in units of its bound, by the reference; infinity
 * where a value is not finite. *same: whether the other copies gave the same bits. */
enum status kernel_check(struct kernel *kernel, struct backend *engine, double *ratio, bool *same, struct error *err);

#endif
