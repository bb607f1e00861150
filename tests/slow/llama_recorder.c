/* What a C program does to record llama.cpp, as a function that llama_cpp.py calls: record/lockstep_llama.h, compiled
 * with llama.cpp's own headers. */
#define LOCKSTEP_RECORD_IMPLEMENTATION
#include "lockstep_llama.h"

static bool decode(struct llama_context *context, int32_t *tokens, int32_t n)
{
    return llama_decode(context, llama_batch_get_one(tokens, n)) == 0;
}

/* Runs n_prompt tokens in micro-batches of n_ubatch, then the others one by one. 0, or 1 on any failure. */
int record_tokens(const char *gguf, const char *path, int32_t *tokens, int32_t n_prompt, int32_t n, int32_t n_ubatch)
{
    struct lockstep_llama recorder;
    struct llama_model *model = llama_model_load_from_file(gguf, llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    if (!model || lockstep_llama_begin(&recorder, path, model)) {
        return 1;
    }
    params.n_ubatch = (uint32_t)n_ubatch;
    params.cb_eval = lockstep_llama_eval;
    params.cb_eval_user_data = &recorder;
    struct llama_context *context = llama_init_from_model(model, params);
    bool done = context && decode(context, tokens, n_prompt);
    for (int32_t i = n_prompt; done && i < n; i++) {
        done = decode(context, tokens + i, 1);
    }
    llama_free(context);
    llama_model_free(model);
    return lockstep_llama_end(&recorder) == 0 && done ? 0 : 1;
}
