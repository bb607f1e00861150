/* Settings by which tests reach, on any device, the code that other devices run. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_LIMITS_H
#define LOCKSTEP_ENGINE_PLACEMENT_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* How a matrix product of few rows is computed. */
enum matmul_choice {
    MATMUL_CHOSEN, /* as suits the device */
    MATMUL_LANE,   /* a lane computes a row of the matrix */
    MATMUL_REDUCE, /* a workgroup computes it */
};

/* Whether a batch of many rows is computed by the tiled kernels (lowering/prefill.h). */
enum tiles_choice {
    TILES_CHOSEN, /* as suits the device */
    TILES_NEVER,
    TILES_F32,    /* without cooperative matrices */
    TILES_NV,     /* with those of VK_NV_cooperative_matrix, if the device has them */
    TILES_KHR,    /* with those of VK_KHR_cooperative_matrix, if the device has them */
    TILES_ALWAYS, /* from two rows on */
};

/* 0: the device's own value. */
struct engine_limits {
    uint32_t max_binding; /* bytes of the longest storage buffer binding */
    uint32_t max_groups;  /* workgroups along the x axis; more than that are folded into the y axis */
    uint64_t timeout_ns;  /* of a submit */
    uint32_t cores;       /* that the rows of a matrix are divided among */
    bool no_fusing;       /* every step gets a dispatch of its own */
    bool matvec;          /* decode with the kernels for GPUs */
    enum matmul_choice matmul;
    enum tiles_choice tiles;
};

#endif
