/* Builds the dispatches of a schedule: bindings, push constants, program and workgroups. All of lowering/ uses it. */
#ifndef LOCKSTEP_ENGINE_SCHEDULE_BUILDER_H
#define LOCKSTEP_ENGINE_SCHEDULE_BUILDER_H

#include "engine/placement/round.h"
#include "engine/schedule/schedule.h"

/* llvmpipe silently stops a shader invocation after 65,535 loop iterations in all. Longer loops are refused. */
#define CPU_MAX_ITERATIONS 60000

struct builder {
    struct schedule *schedule;
    const struct buffers *buffers;
    struct programs *programs; /* NULL: dispatches get no program */
    struct error *err;
    uint32_t step;   /* index of the step that is being lowered */
    uint32_t n_rows; /* rows of the batch this step computes */
};

static inline const struct step *builder_step(const struct builder *b)
{
    return &b->buffers->plan->steps[b->step];
}

/* Whether the device is a CPU driver: it has one small subgroup a workgroup, and gets more work a lane. */
static inline bool builder_is_cpu(const struct builder *b)
{
    return b->buffers->device->info.is_cpu;
}

/* Number of cores; workgroups are spread over them. */
static inline uint32_t builder_cores(const struct builder *b)
{
    return b->buffers->limits.cores ? b->buffers->limits.cores : b->buffers->device->cores;
}

/* The slot of a step. If the current step computes only the last row, its last row. */
struct binding slot_binding(const struct builder *b, uint32_t step, bool write);

/* The same, rounded up to whole vec4s, for shaders that read the slot as vec4s. Slots have room for that. */
struct binding slot_vec4_binding(const struct builder *b, uint32_t step);

/* The rows of a step in the KV cache. */
struct binding cache_binding(const struct builder *b, uint32_t step, bool write);

struct binding rope_table_binding(const struct builder *b, uint32_t step);

/* Rows [first, first + count) of a tensor. The range reaches into the slack behind it, because shaders read whole
 * words. */
struct binding weight_binding(const struct builder *b, const struct tensor *tensor, uint64_t first, uint64_t count);

/* The constants that tell a shader how a matrix lies on the device: dtype, layout, grouped, wide. */
struct program_constants weight_constants(const struct builder *b, const struct tensor *tensor);

/* The most rows of a matrix that one binding can hold. A larger matrix is read in slices, one dispatch each. */
enum status builder_slice_rows(const struct builder *b, const struct tensor *tensor, uint64_t *rows);

/* Appends a dispatch with bindings 0 to 2 set: the batch, and the slot and cache rows of step `output`. */
struct dispatch *builder_add(struct builder *b, uint32_t output);

/* What a dispatch needs besides its bindings. */
struct dispatch_desc {
    const char *shader;
    const char *twin; /* as in struct program_key */
    uint32_t variant; /* VARIANT_ code */
    uint32_t n_bindings;
    uint32_t subgroup;           /* as in struct program_key */
    struct dispatch_params part; /* pushed first; n_rows is filled in */
    const void *params;          /* pushed next: the parameters of the op or the fused op */
    uint32_t params_bytes;
    struct program_constants constants;
    uint64_t n_groups; /* workgroups */
};

/* Completes a dispatch that builder_add began. output: the same step. */
enum status builder_finish(struct builder *b, struct dispatch *dispatch, uint32_t output,
                           const struct dispatch_desc *desc);

/* The same for a dispatch of the current step by itself: output, variant and params are those of the step. */
enum status builder_finish_step(struct builder *b, struct dispatch *dispatch, struct dispatch_desc desc);

/* The decoding kernels for GPUs take one row, with workgroups of 256 or 512 lanes and x in shared memory. */
#define MATVEC_LANES 256
#define MATVEC_NORM_MOST \
    3584 /* values of the longest row that a kernel normalises first: it is kept in shared memory */
#define MATVEC_SHARED_BYTES 32768

/* Whether these kernels can compute the batch, and whether they do where the user chose none. */
bool builder_can_matvec(const struct builder *b);
bool builder_uses_matvec(const struct builder *b);

/* Whether a loop of so many iterations in all ends where it should. */
static inline bool builder_loops_fit(const struct builder *b, uint64_t iterations)
{
    return !builder_is_cpu(b) || iterations <= CPU_MAX_ITERATIONS;
}

/* Lanes of a workgroup that normalises `dim` values. Fused and single dispatches use the same number, so that their
 * sums have the same bits. */
uint32_t builder_norm_lanes(const struct builder *b, uint32_t dim);

#endif
