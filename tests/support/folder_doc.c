#include "tests/support/folder_doc.h"

#include <stdio.h>
#include <string.h>

#include "model/error.h"

static const char llama_config[] = "{\n"
                                   "\"model_type\": \"llama\",\n"
                                   "\"num_hidden_layers\": 2,\n"
                                   "\"hidden_size\": 32,\n"
                                   "\"num_attention_heads\": 2,\n"
                                   "\"num_key_value_heads\": 1,\n"
                                   "\"head_dim\": 16,\n"
                                   "\"intermediate_size\": 48,\n"
                                   "\"vocab_size\": 40,\n"
                                   "\"max_position_embeddings\": 64,\n"
                                   "\"rms_norm_eps\": 1e-05,\n"
                                   "\"hidden_act\": \"silu\",\n"
                                   "\"attention_bias\": false,\n"
                                   "\"mlp_bias\": false,\n"
                                   "\"tie_word_embeddings\": true,\n"
                                   "\"rope_parameters\": {\"rope_theta\": 50000.0, \"rope_type\": \"default\"},\n"
                                   "\"bos_token_id\": 1,\n"
                                   "\"eos_token_id\": [2, 3],\n"
                                   "\"pad_token_id\": null\n"
                                   "}\n";

static const char gemma3_config[] =
    "{\n"
    "\"model_type\": \"gemma3_text\",\n"
    "\"num_hidden_layers\": 3,\n"
    "\"hidden_size\": 32,\n"
    "\"num_attention_heads\": 2,\n"
    "\"num_key_value_heads\": 1,\n"
    "\"head_dim\": 16,\n"
    "\"intermediate_size\": 48,\n"
    "\"vocab_size\": 40,\n"
    "\"rms_norm_eps\": 1e-06,\n"
    "\"query_pre_attn_scalar\": 64,\n"
    "\"hidden_activation\": \"gelu_pytorch_tanh\",\n"
    "\"layer_types\": [\"sliding_attention\", \"sliding_attention\", \"full_attention\"],\n"
    "\"sliding_window\": 5,\n"
    "\"attn_logit_softcapping\": null,\n"
    "\"final_logit_softcapping\": null,\n"
    "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1000000.0, \"rope_type\": \"default\"},\n"
    " \"sliding_attention\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}},\n"
    "\"bos_token_id\": 2,\n"
    "\"eos_token_id\": 1,\n"
    "\"pad_token_id\": 0\n"
    "}\n";

void text_replace(char *text, size_t capacity, const char *find, const char *replace)
{
    char *at = strstr(text, find);
    ASSERT(at);
    size_t tail = strlen(at + strlen(find)) + 1;
    ASSERT((size_t)(at - text) + strlen(replace) + tail <= capacity);
    memmove(at + strlen(replace), at + strlen(find), tail);
    memcpy(at, replace, strlen(replace));
}

void folder_doc_add(struct folder_doc *doc, const char *name, const char *dtype, const char *shape, uint64_t n)
{
    size_t width = strcmp(dtype, "F32") == 0 ? 4 : 2, length = strlen(doc->header);
    uint64_t begin = doc->data.size;
    uint32_t seed = (uint32_t)begin + 1;
    for (uint64_t i = 0; i < n; i++) {
        float value = strstr(name, "norm") ? 1 + scratch_random(&seed) / 2 : scratch_random(&seed) / 4;
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        bits >>= width == 2 ? 16 : 0; /* right for bf16; as f16 it is another finite number */
        buffer_add(&doc->data, &bits, width);
    }
    doc->header[length - 1] = '\0'; /* removes the closing brace */
    length = strlen(doc->header);
    int added =
        snprintf(doc->header + length, sizeof(doc->header) - length,
                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}}", length > 1 ? "," : "", name,
                 dtype, shape, (unsigned long long)begin, (unsigned long long)doc->data.size);
    ASSERT(length + (size_t)added < sizeof(doc->header));
}

static void start(struct folder_doc *doc, const char *config)
{
    memset(doc, 0, sizeof(*doc));
    snprintf(doc->config, sizeof(doc->config), "%s", config);
    snprintf(doc->header, sizeof(doc->header), "{}");
    doc->header_said = -1;
    folder_doc_add(doc, "model.embed_tokens.weight", "F32", "[40,32]", 1280);
}

static void add_layer(struct folder_doc *doc, unsigned layer, const char *const *norms, const char *const *head_norms)
{
    static const struct {
        const char *name, *shape;
        uint64_t n;
    } matrices[] = {
        {"self_attn.q_proj", "[32,32]", 1024}, {"self_attn.k_proj", "[16,32]", 512},
        {"self_attn.v_proj", "[16,32]", 512},  {"self_attn.o_proj", "[32,32]", 1024},
        {"mlp.gate_proj", "[48,32]", 1536},    {"mlp.up_proj", "[48,32]", 1536},
        {"mlp.down_proj", "[32,48]", 1536},
    };
    char name[128];
    for (size_t i = 0; i < sizeof(matrices) / sizeof(matrices[0]); i++) {
        snprintf(name, sizeof(name), "model.layers.%u.%s.weight", layer, matrices[i].name);
        folder_doc_add(doc, name, "F32", matrices[i].shape, matrices[i].n);
    }
    for (; *norms; norms++) {
        snprintf(name, sizeof(name), "model.layers.%u.%s.weight", layer, *norms);
        folder_doc_add(doc, name, "F32", "[32]", 32);
    }
    for (; *head_norms; head_norms++) {
        snprintf(name, sizeof(name), "model.layers.%u.%s.weight", layer, *head_norms);
        folder_doc_add(doc, name, "F32", "[16]", 16);
    }
}

void folder_doc_llama(struct folder_doc *doc)
{
    folder_doc_deep_llama(doc, 2);
}

void folder_doc_deep_llama(struct folder_doc *doc, unsigned n_layers)
{
    char said[64];
    static const char *const norms[] = {"input_layernorm", "post_attention_layernorm", NULL};
    static const char *const none[] = {NULL};
    start(doc, llama_config);
    snprintf(said, sizeof(said), "\"num_hidden_layers\": %u,", n_layers);
    text_replace(doc->config, sizeof(doc->config), "\"num_hidden_layers\": 2,", said);
    for (unsigned layer = 0; layer < n_layers; layer++) {
        add_layer(doc, layer, norms, none);
    }
    folder_doc_add(doc, "model.norm.weight", "F32", "[32]", 32);
}

void folder_doc_gemma3(struct folder_doc *doc)
{
    static const char *const norms[] = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                                        "post_feedforward_layernorm", NULL};
    static const char *const head_norms[] = {"self_attn.q_norm", "self_attn.k_norm", NULL};
    start(doc, gemma3_config);
    for (unsigned layer = 0; layer < 3; layer++) {
        add_layer(doc, layer, norms, head_norms);
    }
    folder_doc_add(doc, "model.norm.weight", "F32", "[32]", 32);
}

void folder_doc_free(struct folder_doc *doc)
{
    buffer_free(&doc->data);
}

void folder_doc_write_weights(const struct folder_doc *doc, const char *path)
{
    struct buffer file = {0};
    buffer_u64(&file, doc->header_said < 0 ? strlen(doc->header) : (uint64_t)doc->header_said);
    buffer_add(&file, doc->header, strlen(doc->header));
    buffer_add(&file, doc->data.bytes, doc->data.size);
    scratch_write(path, file.bytes, file.size);
    buffer_free(&file);
}

void folder_doc_write(const struct folder_doc *doc, const char *folder)
{
    char path[512];
    scratch_write(scratch_path(path, folder, "config.json"), doc->config, strlen(doc->config));
    folder_doc_write_weights(doc, scratch_path(path, folder, "model.safetensors"));
}
