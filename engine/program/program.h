/* Shaders become programs (pipelines): from the SPIR-V that the build embedded, or from GLSL compiled at run time. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PROGRAM_H
#define LOCKSTEP_ENGINE_PROGRAM_PROGRAM_H

#include "engine/device/device.h"
#include "engine/program/program_key.h"

struct program {
    struct program_key key;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    bool statistics; /* the driver kept statistics of it */
    uint64_t code;   /* hash of its SPIR-V */
};

struct programs {
    struct device *device;
    char *shader_dir; /* NULL: the embedded shaders */
    VkPipelineCache cache;
    struct program **items; /* each is its own allocation, so that pointers to it stay valid */
    uint32_t n_items;
};

/* shader_dir: folder whose GLSL is compiled at run time; NULL: the embedded shaders. Loads the pipeline cache from the
 * disk. */
void programs_open(struct programs *programs, struct device *device, const char *shader_dir);

/* Returns the program of a key in *program, created at the first request. It is freed by programs_close. */
enum status programs_get(struct programs *programs, const struct program_key *key, const struct program **program,
                         struct error *err);

/* Compiles the GLSL of another folder, or of the same one after it was edited. Programs whose SPIR-V is another one get
 * a new pipeline; pointers to them stay valid, but commands that were recorded with them do not. If a shader does not
 * compile, all stays as it is. No program may be running. */
enum status programs_reload(struct programs *programs, const char *shader_dir, struct error *err);

/* Saves the pipeline cache and frees everything. A failure to save is no error. No program may be running. */
void programs_close(struct programs *programs);

#endif
