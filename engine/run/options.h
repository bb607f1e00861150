/* How an engine is opened. */
#ifndef LOCKSTEP_ENGINE_RUN_OPTIONS_H
#define LOCKSTEP_ENGINE_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/placement/stage_kernels.h"

/* Zero-initialised: the default device, every stage captured, no padding. */
struct engine_options {
    const char *device;     /* index, or part of a name; NULL: a discrete GPU if there is one, else any device */
    uint32_t max_positions; /* of the KV cache; 0: 1024, or the model's maximum if that is less */
    uint32_t max_rows;      /* of a prefill batch; 0: chosen */
    bool
        no_capture; /* stages are not copied to the host. Steps behind the last layer compute only a batch's last row */
    bool pad_buffers; /* the fault `pool-padding`: every buffer is larger than its shape, with garbage in the rest */
    bool statistics;  /* keep the driver's statistics of every program, for engine_programs */
    bool validation;  /* Vulkan's validation layers, with synchronisation validation; a message fails the call */
    struct kernel_choices kernels; /* which kernel makes each stage */
    const char *shader_dir;        /* folder of GLSL to compile at run time; NULL: the embedded SPIR-V */
};

#endif
