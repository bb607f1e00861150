/* Cooperative matrices: hardware that multiplies small matrices of halves, one product a subgroup. Two extensions offer
 * them, and some devices have both. The kernels that use them are in shaders/matmul_coop.glsl. */
#ifndef LOCKSTEP_ENGINE_DEVICE_COOPERATIVE_H
#define LOCKSTEP_ENGINE_DEVICE_COOPERATIVE_H

#include "engine/device/instance.h"
#include "engine/device/khr_cooperative_matrix.h"

#define COOPERATIVE_KHR 1u
#define COOPERATIVE_NV 2u
#define COOPERATIVE_SUBGROUP 32 /* lanes of a subgroup in these kernels; every subgroup is full */

/* Returns the COOPERATIVE_ bits of the extensions that the device supports for matrices of 16 x 16 x 16 halves with f32
 * sums. 0: none, or the device lacks something else that the kernels need. */
unsigned cooperative_find(const struct instance *instance, VkPhysicalDevice physical,
                          const VkPhysicalDeviceLimits *limits);

/* What VkDeviceCreateInfo needs to enable cooperative matrices. It must not move until the device is created. */
struct cooperative_features {
    void *chain;               /* for pNext; NULL: nothing */
    const char *extensions[4]; /* the last one is spare, for the caller's own extension */
    uint32_t n_extensions;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR khr;
    VkPhysicalDeviceCooperativeMatrixFeaturesNV nv;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup;
};

/* bits: COOPERATIVE_ bits to enable. */
void cooperative_enable(unsigned bits, struct cooperative_features *features);

#endif
