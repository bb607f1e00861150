/* The Vulkan engine as a backend. See model/backend.h for what it does; here is how it is opened. */
#ifndef LOCKSTEP_ENGINE_ENGINE_H
#define LOCKSTEP_ENGINE_ENGINE_H

#include "model/backend.h"

/* One Vulkan device, described for people and for `lockstep devices`. */
struct device_info {
    uint32_t index;
    char name[256];
    char driver[256];  /* driver name and version */
    const char *type;  /* "discrete GPU", "CPU", … */
    char api[32];      /* "1.3.230" */
    uint64_t memory;   /* bytes of the largest device-local heap */
    uint32_t subgroup; /* lanes */
    bool is_cpu;       /* Mesa's llvmpipe and the like: few threads, short vectors */
    bool usable;       /* has what the engine needs */
    bool chosen;       /* what engine_open takes when no device is named */
};

/* Lists the devices; *devices is malloc'ed, the caller frees it. No driver or no loader: STATUS_ABSENT. */
enum status engine_devices(struct device_info **devices, uint32_t *n_devices, struct error *err);

/* Zero-initialised: the default device, everything captured, no padding, 1024 positions. */
struct engine_options {
    const char *device;     /* index, or part of a name; NULL: a discrete GPU, else any, llvmpipe if nothing else */
    uint32_t max_positions; /* of the KV cache; 0: 1024, or the model's maximum if that is less */
    uint32_t max_rows;      /* of a prefill batch; 0: chosen */
    bool no_capture;  /* stages are not brought to the host; behind the last layer a batch has its last row alone */
    bool pad_buffers; /* the silent fault `pool-padding`: every buffer is larger than its shape and the rest is garbage
                       */
    bool statistics;  /* the driver's, of every program, are kept for engine_programs */
    bool validation;  /* Vulkan validation layers with synchronisation validation; a message fails the call */
    const char *shader_dir; /* compile the GLSL found here at run time; NULL: the SPIR-V built in */
};

/* Uploads the weights and prepares the plan, whose steps may carry a fault's edits (a step with a variant gets
 * its shader compiled with VARIANT defined, through libglslang). No device: STATUS_ABSENT. */
enum status engine_open(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                        struct error *err);

/* Has an open engine run another plan, of the same model or another: its device and the shaders that it compiled stay.
 * options' device, validation and shader_dir are not looked at. On failure the engine is closed. */
enum status engine_replan(struct backend *backend, const struct plan *plan, const struct engine_options *options,
                          struct error *err);

/* Brings the rows of these steps alone to the host from now on ([n_steps]; NULL: of all); others cannot be read. No
 * dispatch and no barrier comes or goes with it. A batch that was begun is to be begun anew. Not after no_capture. */
enum status engine_capture(struct backend *backend, const bool *steps, struct error *err);

/* Decodes n tokens greedily, each chosen on the device and fed back there: many a submit, and of all that was computed
 * nothing but the ids comes to the host. `token` is at first_position, ids[i] what follows position first_position + i;
 * the lowest id wins among equals, `masked` (-1: none) and NaN never. A batch that was begun is to be begun anew. */
enum status engine_decode(struct backend *backend, uint32_t first_position, int32_t token, int32_t masked, uint32_t n,
                          int32_t *ids, struct error *err);

/* From how many rows on a batch is run by tiled kernels (matrix products, attention), other than those of fewer rows;
 * 0: never on this device. */
uint32_t engine_many_rows(const struct backend *backend);

/* Whether this device can choose tokens. */
bool engine_can_choose(const struct backend *backend);

/* Tokens whose captured stages stay on the host: the one decoded last and those before it. */
#define ENGINE_TOKENS_KEPT 2

/* As engine_decode, a token a submit. While the next token is computed, the captured stages of each come to the host:
 * each(context, backend, position, id, err), called in the order of the positions, reads them with engine_read_at; id
 * is what follows. Ends early where `each` does not return STATUS_OK. */
typedef enum status engine_token_function(void *context, const struct backend *backend, uint32_t position, int32_t id,
                                          struct error *err);
enum status engine_stream(struct backend *backend, uint32_t first_position, int32_t token, int32_t masked, uint32_t n,
                          int32_t *ids, engine_token_function *each, void *context, struct error *err);

/* The row of a step of one of the last ENGINE_TOKENS_KEPT tokens that were decoded by engine_stream, or by begin and a
 * run of the whole plan: such a run waits for the last step's row alone, and a copy brings the others meanwhile. Waits
 * for that token's copy and no other. A batch of several rows, engine_capture and engine_replan forget them. */
enum status engine_read_at(const struct backend *backend, uint32_t position, uint32_t step, float *row,
                           struct error *err);

/* The most tokens that engine_decode puts into one submit. */
#define ENGINE_TOKENS_A_SUBMIT 16

/* What decoding a token costs, and what the engine took so far. */
struct engine_costs {
    uint32_t dispatches,
        barriers;            /* of one decoded token; barriers between dispatches: the dependent levels, less one */
    uint64_t weight_bytes;   /* that it reads: every weight once, but one row of the embedding */
    uint64_t cache_bytes;    /* of keys and values that it reads for each position that all layers see */
    uint64_t readback_bytes; /* brought to the host */
    uint64_t submits;        /* of everything since the engine was opened */
    uint64_t memory_bytes;   /* on the device: the most that was allocated at one time */
};
void engine_costs(const struct backend *backend, struct engine_costs *costs);

/* Runs the current batch once more and times its ops on the device: ns[step] is what that step took, together with
 * those before it that share a dispatch with it; 0 where a step's time is that of a later one. ns: [n_steps]. */
enum status engine_time_ops(struct backend *backend, double *ns, struct error *err);

/* Steps to time by themselves: copies of a kernel with weights of their own, so that no cache holds them by the time
 * that their turn comes again. */
struct engine_repeat {
    uint32_t first, n_steps;   /* of the first copy */
    uint32_t n_copies, stride; /* steps from one copy to the next */
    uint32_t times;            /* of all copies together, by turns */
    bool waits; /* each time for the one before, as dependent steps do; else only if copies share memory */
};

/* Runs them on the current batch in one submit. *ns: from the first one's start to the last one's end, on the device.
 * What they leave in their slots is not brought to the host. A device without timestamps is STATUS_ABSENT. */
enum status engine_time_repeat(struct backend *backend, const struct engine_repeat *repeat, double *ns,
                               struct error *err);

/* What one dispatch of the current batch runs. */
struct engine_statistic {
    char name[64]; /* the driver's own */
    double value;
};
#define ENGINE_STATISTICS 24
struct engine_program {
    const char *shader;
    uint32_t lanes, groups; /* of a workgroup; of them */
    uint32_t n_statistics;  /* 0 without options' statistics, or where the driver has none */
    struct engine_statistic statistics[ENGINE_STATISTICS];
};

/* The dispatches of steps [first, last) of the current batch; *n: how many there are, of which the first `most` are in
 * programs. */
enum status engine_programs(struct backend *backend, uint32_t first, uint32_t last, struct engine_program *programs,
                            uint32_t most, uint32_t *n, struct error *err);

/* How fast this device reads a large buffer, measured now. */
enum status engine_read_bandwidth(struct backend *backend, double *bytes_per_second, struct error *err);

/* What the engine runs on. Valid while it is open. */
const struct device_info *engine_device(const struct backend *backend);

#endif
