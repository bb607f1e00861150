/* Which kernel makes a stage, as --kernel STAGE=KERNEL and the prompt's `set kernel` choose it. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_KERNEL_OPTIONS_H
#define LOCKSTEP_WORKBENCH_SESSION_KERNEL_OPTIONS_H

#include <stdio.h>

#include "engine/engine.h"

/* The numbers of rows of a run's batches. */
struct batch_sizes {
    uint32_t rows[3];
    uint32_t n;
};

/* The prompt goes into batches as large as possible, up to most_rows; a decoded token is a batch. */
struct batch_sizes batch_sizes_of(uint32_t n_prompt, uint32_t n_decoded, uint32_t most_rows);

/* Chooses a kernel, or "auto", for a stage. STATUS_USAGE: a name is unknown. name: of the option, for the error. */
enum status kernel_option_set(struct kernel_choices *choices, const char *name, const char *stage, const char *kernel,
                              struct error *err);

/* Reads texts "STAGE=KERNEL". */
enum status kernel_options_parse(const char *const *texts, uint32_t n, struct kernel_choices *choices,
                                 struct error *err);

/* Refuses a choice that no batch of the run follows (STATUS_USAGE), with the kernels that can make the stage. */
enum status kernel_options_check(const struct backend *engine, const struct kernel_choices *choices,
                                 const struct batch_sizes *sizes, const char *name, struct error *err);

/* Prints the stages that several kernels can make, and which make them now: a line a stage and size of a batch. */
enum status kernel_options_list(const struct backend *engine, const struct batch_sizes *sizes, FILE *out,
                                struct error *err);

/* Prints which kernels make one stage: "q_proj: matmul_tile in batches of 10 rows, matmul of 1 row". */
enum status kernel_option_tell(const struct backend *engine, enum stage stage, const struct batch_sizes *sizes,
                               FILE *out, struct error *err);

#endif
