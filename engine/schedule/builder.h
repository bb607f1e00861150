/* A schedule under construction: what alone.c and products.c, a step by itself, fuse.c and decode.c, several in one
 * dispatch, and prefill.c share. */
#ifndef LOCKSTEP_ENGINE_BUILD_H
#define LOCKSTEP_ENGINE_BUILD_H

#include "engine/schedule/schedule.h"

struct builder {
    struct schedule *schedule;
    const struct store *store;
    struct programs *programs;
    struct error *err;
    uint32_t step;   /* index */
    uint32_t n_rows; /* that this step makes of the batch; store_step_rows */
};

static inline const struct step *builder_step(const struct builder *b)
{
    return &b->store->plan->steps[b->step];
}

struct binding slot_binding(const struct builder *b, uint32_t step, bool write);
struct binding table_binding(const struct builder *b, uint32_t step);

/* The rows of a step in the KV cache. */
struct binding cache_binding(const struct builder *b, uint32_t step, bool write);

/* What a shader is told of how a matrix lies on the device: dtype, layout, grouped, wide. */
struct program_constants weight_constants(const struct builder *b, const struct tensor *tensor);

/* Rows [first, first + count) of a tensor. */
struct binding weight_binding(const struct builder *b, const struct tensor *tensor, uint64_t first, uint64_t count);

/* A new dispatch whose bindings 0 to 2 are there: batch, slot and cache of the step that `output` names. */
struct dispatch *builder_add(struct builder *b, uint32_t output);

/* What remains when the bindings are there: program, push constants (part, then the op's or the fused op's parameters)
 * and workgroups. variant: VARIANT_ code. */
struct finish {
    const char *shader, *twin; /* as in struct program_key */
    uint32_t variant, n_bindings;
    uint32_t subgroup; /* lanes, as in struct program_key */
    struct dispatch_params part;
    const void *params;
    uint32_t params_bytes;
    struct program_constants constants;
    uint64_t n_groups;
};
enum status builder_finish(struct builder *b, struct dispatch *dispatch, uint32_t output, const struct finish *finish);

/* The same for a dispatch that runs the current step alone: its output, variant and parameters. */
enum status builder_finish_alone(struct builder *b, struct dispatch *dispatch, const char *shader, uint32_t n_bindings,
                                 struct dispatch_params part, struct program_constants constants, uint64_t n_groups);

/* alone.c: adds the dispatches of the current step by itself. */
enum status step_alone(struct builder *b);

/* llvmpipe silently stops an invocation after 65,535 loop iterations in all. */
#define CPU_MAX_ITERATIONS 60000

/* Whether workgroups are those of a CPU driver: one small subgroup, and more work a lane. */
static inline bool uses_cpu_shapes(const struct builder *b)
{
    return b->store->device->info.is_cpu;
}

/* That the workgroups of a dispatch are spread over. */
static inline uint32_t builder_cores(const struct builder *b)
{
    return b->store->limits.cores ? b->store->limits.cores : b->store->device->cores;
}

/* Lanes of a workgroup that normalises a run of `dim` values: one choice, so that fused or not the sums are the same.
 */
uint32_t norm_lanes(const struct builder *b, uint32_t dim);

/* A matrix product over the rows of one matrix: shader ("matmul", "matmul_glu" …), and what fused ones bind and say
 * besides.
 */
struct matmul {
    const char *lane_shader, *reduce_shader;
    const struct tensor *matrix, *bias;
    int32_t input;
    uint32_t output, variant;
    const struct binding *more; /* [n_more], behind those of every matmul */
    uint32_t n_more;
    uint32_t matrices;   /* whose rows a lane or group takes together: 2 for gate and up */
    uint64_t more_bytes; /* of the matrix's binding: how far the second one reaches beyond the first */
    const void *params;
    uint32_t params_bytes;
};
enum status builder_matmul(struct builder *b, const struct matmul *matmul);

/* products.c: the dispatches of the current step, which is one. */
enum status matmul_alone(struct builder *b);
enum status expert_matmul_alone(struct builder *b);

/* prefill.c: many rows of x by tiles, on a GPU. Whether a matrix product or an attention is made so; the step then runs
 * alone, as a dispatch (or one a slice) of its own. */
bool prefill_has_matmul(const struct builder *b, const struct matmul *matmul);
enum status prefill_matmul(struct builder *b, const struct matmul *matmul, uint64_t slice);
bool prefill_has_attention(const struct builder *b, const struct attention_params *op);
uint64_t prefill_attention(const struct builder *b, const struct attention_params *op,
                           struct program_constants *constants); /* the groups of attention_tile.comp */

/* The most rows of a matrix that one binding holds. */
enum status slice_rows(const struct builder *b, const struct tensor *tensor, uint64_t *rows);

static inline uint64_t divide_up(uint64_t value, uint64_t by)
{
    return (value + by - 1) / by;
}

/* One row, on a GPU: matvec.h. */
#define MATVEC_LANES 256
#define MATVEC_NORM_MOST 3584 /* values of a row that a prologue normalises: x lies in shared memory */
#define MATVEC_SHARED_BYTES 32768
static inline bool uses_matvec(const struct builder *b)
{
    const struct device *device = b->store->device;
    return b->schedule->n_rows == 1 && store_decodes_as_gpu(b->store) &&
           device->limits.maxComputeWorkGroupInvocations >= 2 * MATVEC_LANES &&
           device->limits.maxComputeWorkGroupSize[0] >= 2 * MATVEC_LANES &&
           device->limits.maxComputeSharedMemorySize >= MATVEC_SHARED_BYTES;
}

/* The dispatches of the current step, if it is one for them. */
enum status matvec_alone(struct builder *b, bool *done);
enum status parts_alone(struct builder *b, bool *done);
bool matvec_fits(const struct builder *b, const struct step *matmul);

/* The fused dispatches that start at b->step, if there are any; entry->n_steps stays 0 if there are none. */
enum status fuse_decode(struct builder *b, struct entry *entry);

/* chain.c: adds the dispatches that choose the next token. */
enum status chain_build(struct builder *b);

/* fuse.c: bytes from gate's first row to up's, if one binding reaches over both. */
bool fuse_find_second(const struct builder *b, const struct tensor *gate, const struct tensor *up, uint64_t *bytes);

/* Step i, if it is this op, right, and reads step `input` first (-1: whatever). */
const struct step *fuse_match(const struct builder *b, uint32_t i, enum op op, int64_t input);

/* fuse.c: the fused dispatches that start at b->step, if there are any; *n_steps: how many steps they cover, 0: none.
 */
enum status fuse(struct builder *b, uint32_t *n_steps);

#endif
