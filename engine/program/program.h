/* Shaders to pipelines: the SPIR-V that the build embedded, or GLSL compiled at run time through libglslang. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_H
#define LOCKSTEP_ENGINE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "engine/device/device.h"

/* What the build embeds (cmake/embed.cmake): both tables end with a row of zeros. */
struct shader_binary {
    const char *name; /* "matmul" */
    const uint32_t *words;
    size_t n_bytes;
};
extern const struct shader_binary shader_binaries[];

struct shader_text {
    const char *name; /* "matmul.comp", "params.h" */
    const char *text;
};
extern const struct shader_text shader_texts[];

/* Specialisation constants, in the order of their constant_id. A shader that lacks one ignores it. */
struct program_constants {
    uint32_t local_size; /* lanes a workgroup */
    uint32_t cached;     /* 1: results go to the KV cache as well */
    uint32_t dtype;      /* DTYPE_ code of the weights */
    uint32_t bias_dtype;
    uint32_t tile;        /* matmul: rows of x for each weight decoded */
    uint32_t head_dim;    /* attention */
    uint32_t rows;        /* matmul: rows of the matrix for each x loaded; attention_tile: rows of a workgroup */
    uint32_t layout;      /* LAYOUT_ code of the weights */
    uint32_t native_half; /* 1: the device's own conversion of halves is exact */
    uint32_t by_block;    /* matmul: 1: a lane takes whole blocks of a quantised row */
    uint32_t wide;        /* matmul: 1: rows start at multiples of 16 bytes */
    uint32_t prologue;    /* matvec, attention_part: PROLOGUE_ code */
    uint32_t epilogue;    /* matvec: EPILOGUE_ code */
    uint32_t capture;     /* matvec, attention_part: 1: stages that nobody else reads are stored */
    uint32_t n_in;        /* matvec */
    uint32_t team;        /* matvec: lanes a row; attention_part: lanes a key */
    uint32_t loops;       /* matvec: how often a team takes `rows` rows */
    uint32_t by_four;     /* rms_norm: 1: in the order of matvec */
    uint32_t chunks;      /* matvec: how often it does its loops */
    uint32_t grouped;     /* 1: the matrix lies as groups.c arranges it */
    uint32_t split;       /* matvec: teams a row */
    uint32_t x_shared;    /* matvec: 1: x lies in shared memory */
    uint32_t activation;  /* matvec: ACTIVATION_ code */
    uint32_t piece;       /* attention_tile: vec4s of a key that a part of its lanes has at a time */
};

/* What a pipeline is made of. The layout is the caller's, and the shader's must agree with it. */
struct program_key {
    const char *shader;  /* "matmul"; borrowed, a literal */
    const char *twin;    /* NULL, or a shader with the same bindings, from the same file, that is checked in its place:
                          * what SPIRV-Cross cannot read */
    uint32_t variant;    /* VARIANT_ code: other than VARIANT_NONE is compiled at run time */
    uint32_t n_bindings; /* storage buffers 0 … n_bindings - 1 of set 0 */
    uint32_t n_push;     /* bytes of push constants: sizeof of the structs in params.h */
    uint32_t subgroup;   /* whole subgroups of so many lanes, as cooperative.c enables them; 0: as the device likes */
    struct program_constants constants;
};

struct program {
    struct program_key key;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    bool statistics; /* the driver kept them */
};

struct programs {
    struct device *device;
    char *shader_dir; /* NULL: what is embedded */
    VkPipelineCache cache;
    struct program **items; /* each allocated by itself, so that pointers to them stay good */
    uint32_t n_items;
};

/* shader_dir: NULL, or where GLSL is read and compiled at run time. Loads the pipeline cache from the disk. */
enum status programs_open(struct programs *programs, struct device *device, const char *shader_dir, struct error *err);

/* The pipeline of a key, made when first asked for. */
enum status programs_get(struct programs *programs, const struct program_key *key, const struct program **program,
                         struct error *err);

/* Saves the pipeline cache (a failure to is no error) and frees everything. Nothing may be running. */
void programs_close(struct programs *programs);

/* compile.c: GLSL to SPIR-V, with VARIANT defined; from shader_dir, or the embedded text if NULL. *words is malloc'ed.
 * A compile error is STATUS_BAD_INPUT with file and line. */
enum status shader_compile(const char *name, uint32_t variant, const char *shader_dir, uint32_t **words,
                           size_t *n_bytes, struct error *err);

/* matrix_types.c: finishes the types of VK_KHR_cooperative_matrix's matrices, if the SPIR-V has any. *words is
 * malloc'ed, and may be another afterwards. */
enum status shader_resolve_matrices(const char *shader, uint32_t **words, size_t *n_bytes, struct error *err);

/* reflect.c: STATUS_BAD_INPUT unless the SPIR-V is sound and declares exactly the key's bindings and push constants
 * (postmortem 2025-12-22 moe-explicit-layout, and 2025-12-17 softmax-uniform-buffer). */
enum status shader_check(const struct program_key *key, const uint32_t *words, size_t n_bytes, struct error *err);

/* statistics.c: what the driver says of a program: registers, spills, bytes, by the driver's own names. Nothing, if it
 * kept none. *n: at most ENGINE_STATISTICS. */
enum status program_statistics(const struct device *device, const struct program *program,
                               struct engine_statistic *statistics, uint32_t *n, struct error *err);

/* bandwidth.c: how fast a shader reads a large buffer, in bytes a second; the best of several runs. */
enum status bandwidth_measure(struct device *device, struct programs *programs, double *bytes_per_second,
                              struct error *err);

/* pipeline_cache.c: the cache file of a device, under $XDG_CACHE_HOME or ~/.cache. A file that is missing, foreign or
 * corrupt is an empty cache. */
enum status pipeline_cache_load(struct device *device, VkPipelineCache *cache, struct error *err);
void pipeline_cache_save(struct device *device, VkPipelineCache cache);

#endif
