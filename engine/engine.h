/* The Vulkan engine as a backend. model/backend.h describes what a backend does; this header adds how the engine is
 * opened, and what only the engine can do. */
#ifndef LOCKSTEP_ENGINE_ENGINE_H
#define LOCKSTEP_ENGINE_ENGINE_H

#include "engine/device/device_info.h"
#include "engine/program/program_statistic.h"
#include "engine/recording/repeat.h"
#include "engine/run/generate.h"
#include "engine/run/options.h"
#include "model/backend.h"

/* Lists the devices; *devices is malloc'ed, and the caller frees it. No driver or no loader: STATUS_ABSENT. */
enum status engine_devices(struct device_info **devices, uint32_t *n_devices, struct error *err);

/* Uploads the weights and prepares the plan. Its steps may carry a fault: the shader of a step with a variant is
 * compiled at run time with VARIANT defined. No device: STATUS_ABSENT. */
enum status engine_open(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                        struct error *err);

/* Makes an open engine run another plan, of the same model or another one. The device and the compiled shaders are
 * kept; device, validation, statistics and shader_dir of the options are ignored. On failure the engine is closed. */
enum status engine_replan(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                          struct error *err);

/* From now on, only the rows of these steps are copied to the host ([n_steps]; NULL: all steps); others cannot be read.
 * Dispatches and barriers stay the same. A batch that was begun has to be begun again. Not allowed after no_capture. */
enum status engine_capture(struct backend *backend, const bool *steps, struct error *err);

/* Compiles the GLSL of a folder, and runs it from now on. If it does not compile, all stays as it is. A batch that was
 * begun has to be begun again. */
enum status engine_reload(struct backend *backend, const char *shader_dir, struct error *err);

/* The fewest rows of a batch that tiled kernels compute (matrix products, attention); 0: this device never uses them.
 */
uint32_t engine_many_rows(const struct backend *backend);

/* Whether this device can choose tokens, which engine_decode and engine_stream need. */
bool engine_can_choose(const struct backend *backend);

/* The most tokens that engine_decode computes in one submit. */
#define ENGINE_TOKENS_A_SUBMIT 16

/* Decodes n tokens greedily. Each is chosen on the device and fed back there, many in one submit; only the ids are
 * copied to the host. Among equal logits the lowest id wins; NaN is never chosen. A batch that was begun has to be
 * begun again. */
enum status engine_decode(struct backend *backend, const struct engine_decoding *decoding, struct error *err);

/* Tokens whose captured stages stay on the host: the token decoded last and those before it. */
#define ENGINE_TOKENS_KEPT 2

/* The same, one token a submit. While a token is computed, the captured stages of the one before are copied to the host
 * and `each` is called for it. */
enum status engine_stream(struct backend *backend, const struct engine_decoding *decoding, engine_token_function *each,
                          void *context, struct error *err);

/* Reads the row of a step of one of the last ENGINE_TOKENS_KEPT tokens. The token was decoded by engine_stream, or by
 * begin and a run of the whole plan: such a run waits only for the last step's row, and the other rows are copied
 * meanwhile. This call waits for the copy of that token and no other. A batch of several rows, engine_capture and
 * engine_replan forget all tokens. */
enum status engine_read_at(const struct backend *backend, uint32_t position, uint32_t step, float *row,
                           struct error *err);

/* What decoding a token costs, and what the engine used so far. */
struct engine_costs {
    uint32_t dispatches;     /* of one token */
    uint32_t barriers;       /* of one token, between dispatches: the number of dependent levels minus one */
    uint64_t weight_bytes;   /* read for one token: every weight once, but only one row of the embedding */
    uint64_t cache_bytes;    /* of keys and values that one token reads for each visible position, in all layers */
    uint64_t readback_bytes; /* copied to the host for one token */
    uint64_t submits;        /* since the engine was opened */
    uint64_t memory_bytes;   /* peak of device memory */
};
void engine_costs(const struct backend *backend, struct engine_costs *costs);

/* Runs the current batch again and measures its ops on the device. ns: [n_steps]. ns[step] is the time of the dispatch
 * that ends with this step, which may cover earlier steps as well; 0 where a later step's dispatch covers it. */
enum status engine_time_ops(struct backend *backend, double *ns, struct error *err);

/* Runs copies of a kernel on the current batch in one submit. *ns: from the first one's start to the last one's end, on
 * the device. Their results are not copied to the host. A device without timestamps is STATUS_ABSENT. */
enum status engine_time_repeat(struct backend *backend, const struct engine_repeat *repeat, double *ns,
                               struct error *err);

/* The program of one dispatch. */
struct engine_program {
    const char *shader;
    uint32_t lanes;        /* of a workgroup */
    uint32_t groups;       /* workgroups */
    uint32_t n_statistics; /* 0 without options.statistics, or if the driver has none */
    struct engine_statistic statistics[ENGINE_STATISTICS];
};

/* A caller's list of programs. */
struct engine_programs {
    struct engine_program *programs; /* [most] */
    uint32_t most;
    uint32_t n; /* filled in: how many there are; those beyond `most` are left out */
};

/* Lists the programs of the dispatches of steps [first, last) of the current batch. */
enum status engine_list_programs(struct backend *backend, uint32_t first, uint32_t last, struct engine_programs *list,
                                 struct error *err);

/* The dispatch that makes a step's rows in a run of the whole plan. */
struct engine_kernel {
    const char *shader;           /* "head_norm_rope": file shaders/head_norm_rope.comp */
    const char *variant;          /* name of the faulty variant; NULL: none */
    uint32_t dispatch;            /* its number in the run, from 0 */
    uint32_t first_step, n_steps; /* the steps that it covers, with others of its group */
    uint32_t lanes, groups;       /* of a workgroup; workgroups */
};

/* Which kernels can make each stage in batches of n_rows. possible[STAGE_COUNT]: 1 << KERNEL_ for each that can in some
 * layer; 0: the plan has no such stage. */
enum status engine_possible_kernels(const struct backend *backend, uint32_t n_rows, uint32_t *possible,
                                    struct error *err);

/* Which kernels would make each stage with these choices; likewise. */
enum status engine_used_kernels(const struct backend *backend, uint32_t n_rows, const struct kernel_choices *choices,
                                uint32_t *used, struct error *err);

/* From now on, these kernels make the stages. On failure all stays as it is. A batch that was begun has to be begun
 * again. */
enum status engine_choose_kernels(struct backend *backend, const struct kernel_choices *kernels, struct error *err);
const struct kernel_choices *engine_chosen_kernels(const struct backend *backend);

/* The text of a shader's source file as it was built into the program, by number; NULL past the last one. */
const char *engine_shader_source(uint32_t i, const char **file);

/* Finds the dispatch of a step for batches of n_rows. by_itself: as the step runs alone, with its place in the group of
 * one. false: no batch of so many rows ran lately. */
bool engine_kernel_of(const struct backend *backend, uint32_t n_rows, uint32_t step, bool by_itself,
                      struct engine_kernel *kernel);

/* Measures how fast this device reads a large buffer. */
enum status engine_read_bandwidth(struct backend *backend, double *bytes_per_second, struct error *err);

/* The device that the engine runs on. Valid while the engine is open. */
const struct device_info *engine_device(const struct backend *backend);

#endif
