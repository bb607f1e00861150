/* What bench --kernels measures: the kernels of real models, at the models' sizes. */
#include "workbench/bench/kernels/kernel_build.h"

#define BIT(dtype) (1u << DTYPE_##dtype)
#define BLOCKS_OF_32 (BIT(Q4_0) | BIT(Q4_1) | BIT(Q5_0) | BIT(Q8_0))
#define K_BLOCKS (BIT(Q4_K) | BIT(Q6_K))
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    | (uint32_t)(benched) << (code)
enum { ALL_FORMATS = 0 DTYPES(X) };
#undef X
#define ALL_ROWS (KERNEL_1 | KERNEL_128 | KERNEL_512)

/* From the models' config.json. */
static const struct kernel_model gemma3_1b = {
    .hidden = 1152,
    .ffn = 6912,
    .vocab = 262144,
    .attention = {.heads = 4, .kv_heads = 1, .dim = 256, .scale = 0.0625f},
    .norms_after = true,
    .norms_heads = true,
    .activation = ACTIVATION_GELU_TANH,
    .theta = 1000000,
};
static const struct kernel_model gemma2_2b = {
    .hidden = 2304,
    .ffn = 9216,
    .vocab = 256000,
    .attention = {.heads = 8, .kv_heads = 4, .dim = 256, .scale = 0.0625f, .softcap = 50},
    .norms_after = true,
    .activation = ACTIVATION_GELU_TANH,
    .final_softcap = 30,
    .theta = 10000,
};
static const struct kernel_model smollm2 = {
    .hidden = 576,
    .ffn = 1536,
    .vocab = 49152,
    .attention = {.heads = 9, .kv_heads = 3, .dim = 64, .scale = 0.125f},
    .activation = ACTIVATION_SILU,
    .theta = 100000,
};

#define MATMUL(n_out, n_in, formats, rows)                                                             \
    {                                                                                                  \
        "matmul " #n_out "x" #n_in, build_matmul, {.matmul = {n_in, n_out, 0}}, NULL, formats, rows, 0 \
    }
#define ONE(name, op, rows, keys, ...)                               \
    {                                                                \
        name, build_##op, {.op = {__VA_ARGS__}}, NULL, 0, rows, keys \
    }
#define GROUP(name, build, model, rows, keys)                                      \
    {                                                                              \
        name, build, {{0}}, &(model), BIT(F16) | BIT(Q8_0) | BIT(Q4_0), rows, keys \
    }

const struct kernel_case kernel_cases[] = {
    /* Gemma 3 1B: gate and up; down; q; k and v; o; and doppler's square one (its performance notes list 1x1152x1152,
     * 1x6912x1152, 1x262144x1152). Rows of 1152 in K blocks are doppler's test matmul-q4k-large. */
    MATMUL(6912, 1152, ALL_FORMATS, ALL_ROWS),
    MATMUL(1152, 6912, ALL_FORMATS, ALL_ROWS),
    MATMUL(1024, 1152, ALL_FORMATS, ALL_ROWS),
    MATMUL(256, 1152, BIT(F16) | BIT(Q8_0) | BIT(Q4_0), ALL_ROWS),
    MATMUL(1152, 1024, BIT(F16) | BIT(Q8_0) | BIT(Q4_0), ALL_ROWS),
    MATMUL(1152, 1152, ALL_FORMATS, KERNEL_1),
    MATMUL(262144, 1152, BIT(F16) | BIT(BF16) | BLOCKS_OF_32 | BIT(Q6_K), KERNEL_1),
    /* Gemma 2 2B: rows of 2304 are whole K blocks. */
    MATMUL(9216, 2304, BIT(F16) | BIT(Q8_0) | BIT(Q4_0) | K_BLOCKS, KERNEL_1 | KERNEL_512),
    MATMUL(2304, 9216, BIT(F16) | BIT(Q8_0) | BIT(Q4_0) | K_BLOCKS, KERNEL_1 | KERNEL_512),
    MATMUL(256000, 2304, BIT(Q4_0) | BIT(Q6_K), KERNEL_1),
    /* GPT-OSS 20B: q; o; the router; the head. Its experts are below. */
    MATMUL(4096, 2880, BIT(BF16) | BIT(Q8_0), KERNEL_1 | KERNEL_512),
    MATMUL(2880, 4096, BIT(BF16) | BIT(Q8_0), KERNEL_1 | KERNEL_512),
    MATMUL(32, 2880, BIT(F32) | BIT(BF16), KERNEL_1 | KERNEL_512),
    MATMUL(201088, 2880, BIT(Q8_0), KERNEL_1),
    /* SmolLM2 135M, a Llama. */
    MATMUL(1536, 576, BIT(F16) | BIT(Q4_1), KERNEL_1 | KERNEL_512),
    MATMUL(576, 1536, BIT(F16) | BIT(Q4_1), KERNEL_1 | KERNEL_512),
    MATMUL(49152, 576, BIT(Q8_0), KERNEL_1),

    /* Experts: 4 of 32 each token, gate and up, then down. */
    {"expert_matmul 4/32x5760x2880",
     build_expert_matmul,
     {.expert_matmul = {32, 4, 2880, 5760, 1, 1}},
     NULL,
     BIT(MXFP4),
     KERNEL_1 | KERNEL_128,
     0},
    {"expert_matmul 4/32x2880x2880",
     build_expert_matmul,
     {.expert_matmul = {32, 4, 2880, 2880, 0, 1}},
     NULL,
     BIT(MXFP4),
     KERNEL_1 | KERNEL_128,
     0},
    ONE("topk 4/32", topk, KERNEL_1 | KERNEL_512, 0, 32, 4),
    ONE("topk_softmax 4/32", topk_softmax, KERNEL_1 | KERNEL_512, 0, 32, 4),
    ONE("swiglu 4x2880", swiglu, KERNEL_1 | KERNEL_512, 0, 4 * 2880, 7, 1.702f, 2880),
    ONE("expert_sum 4x2880", expert_sum, KERNEL_1 | KERNEL_512, 0, 4, 2880),

    /* Attention, softmax included. Gemma 3 (doppler: 4 heads, 256 dim, 512 KV), also with its window; Gemma 2 with its
     * softcap; GPT-OSS with window and sinks; SmolLM2. */
    ONE("attention 4/1x256 512 keys", attention, KERNEL_1, 512, 4, 1, 256, 0.0625f, 0, 0, 0),
    ONE("attention 4/1x256 4096 keys", attention, KERNEL_1, 4096, 4, 1, 256, 0.0625f, 0, 0, 0),
    ONE("attention 4/1x256 4096 keys window 512", attention, KERNEL_1, 4096, 4, 1, 256, 0.0625f, 0, 512, 0),
    ONE("attention 4/1x256", attention, KERNEL_128 | KERNEL_512, 0, 4, 1, 256, 0.0625f, 0, 0, 0),
    ONE("attention 8/4x256 512 keys softcap", attention, KERNEL_1, 512, 8, 4, 256, 0.0625f, 50, 0, 0),
    ONE("attention 8/4x256 softcap", attention, KERNEL_128 | KERNEL_512, 0, 8, 4, 256, 0.0625f, 50, 0, 0),
    ONE("attention 64/8x64 512 keys sinks", attention, KERNEL_1, 512, 64, 8, 64, 0.125f, 0, 0, 1),
    ONE("attention 64/8x64 512 keys sinks window 128", attention, KERNEL_1, 512, 64, 8, 64, 0.125f, 0, 128, 1),
    ONE("attention 64/8x64 sinks", attention, KERNEL_128 | KERNEL_512, 0, 64, 8, 64, 0.125f, 0, 0, 1),
    ONE("attention 9/3x64 512 keys", attention, KERNEL_1, 512, 9, 3, 64, 0.125f, 0, 0, 0),
    ONE("attention 9/3x64", attention, KERNEL_128 | KERNEL_512, 0, 9, 3, 64, 0.125f, 0, 0, 0),

    /* Norms of rows and of heads, rope, the activations, the residual, the logits' softcap, the gather of embeddings.
     */
    ONE("rms_norm 1x1152", rms_norm, KERNEL_1 | KERNEL_512, 0, 1, 1152, 1e-6f, 1),
    ONE("rms_norm 1x2880", rms_norm, KERNEL_1 | KERNEL_512, 0, 1, 2880, 1e-5f, 0),
    ONE("rms_norm 4x256", rms_norm, KERNEL_1 | KERNEL_512, 0, 4, 256, 1e-6f, 1),
    ONE("rope 4x256", rope, KERNEL_1 | KERNEL_512, 512, 4, 256, ROPE_TYPE_DEFAULT, 1000000, 1, 0, 0, 0, 0, 1),
    ONE("rope 64x64 yarn", rope, KERNEL_1 | KERNEL_512, 512, 64, 64, ROPE_TYPE_YARN, 150000, 32, 1, 32, 4096, 0,
        1.3465736f),
    ONE("glu 6912 gelu", glu, KERNEL_1 | KERNEL_512, 0, 6912, ACTIVATION_GELU_TANH),
    ONE("glu 6912 silu", glu, KERNEL_1 | KERNEL_512, 0, 6912, ACTIVATION_SILU),
    ONE("add 1152", add, KERNEL_1 | KERNEL_512, 0, 1152),
    ONE("softcap 256000", softcap, KERNEL_1, 0, 256000, 30),
    {"embed 262144x1152",
     build_embed,
     {.embed = {1152, 262144, 34}},
     NULL,
     BIT(F16) | BIT(Q8_0) | BIT(Q4_0),
     KERNEL_1 | KERNEL_512,
     0},

    /* What the engine fuses of a layer. */
    GROUP("norms+qkv gemma3-1b", build_qkv_group, gemma3_1b, KERNEL_1 | KERNEL_512, 0),
    GROUP("rope+attention+o gemma3-1b 512 keys", build_attention_group, gemma3_1b, KERNEL_1, 512),
    GROUP("rope+attention+o gemma3-1b", build_attention_group, gemma3_1b, KERNEL_512, 0),
    GROUP("norms+gate+up+act gemma3-1b", build_ffn_group, gemma3_1b, KERNEL_1 | KERNEL_512, 0),
    GROUP("norms+head gemma3-1b", build_head_group, gemma3_1b, KERNEL_1, 0),
    GROUP("norms+qkv gemma2-2b", build_qkv_group, gemma2_2b, KERNEL_1, 0),
    GROUP("rope+attention+o gemma2-2b 512 keys", build_attention_group, gemma2_2b, KERNEL_1, 512),
    GROUP("norms+gate+up+act gemma2-2b", build_ffn_group, gemma2_2b, KERNEL_1, 0),
    GROUP("norms+qkv smollm2", build_qkv_group, smollm2, KERNEL_1, 0),
    GROUP("rope+attention+o smollm2 512 keys", build_attention_group, smollm2, KERNEL_1, 512),
    GROUP("norms+gate+up+act smollm2", build_ffn_group, smollm2, KERNEL_1, 0),
};
const uint32_t n_kernel_cases = sizeof(kernel_cases) / sizeof(kernel_cases[0]);
