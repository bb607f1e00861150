#include "tests/support/real_engines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct real_engine real_engines[N_REAL_ENGINES] = {
    {"tiny-llama",
     "llama.cpp-f16-cache",
     1,
     {.queries = ROUNDING_F16, .keys_values = ROUNDING_F16, .probs = ROUNDING_F16}},
    {"tiny-llama",
     "llama.cpp-flash-attention",
     1,
     {.queries = ROUNDING_F16, .keys_values = ROUNDING_F16, .accumulator = ROUNDING_F16}},
    {"tiny-llama-q4_1.gguf", "llama.cpp-q4_1", 2, {.operands = ROUNDING_Q8_1}},
    {"tiny-llama", "onnxruntime", 0, {0}},
    {"tiny-gemma2",
     "llama.cpp-gemma2",
     1,
     {.queries = ROUNDING_F16, .accumulator = ROUNDING_F16, .scaled_queries = true}}, /* kv_dtype is declared */
};

void real_engine_open(const struct real_engine *engine, struct model *model, struct plan *plan, struct trace *trace)
{
    char path[512];
    struct error err;
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/%s", engine->model);
    assert_int_equal(model_open(model, path, &err), STATUS_OK);
    assert_int_equal(plan_build(plan, model, &err), STATUS_OK);
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/real/%s.h5", engine->trace);
    assert_int_equal(trace_read(trace, path, &err), STATUS_OK);
}

struct tensor matrix_larger(const struct tensor *matrix, uint8_t **bytes)
{
    struct tensor copy = *matrix;
    *bytes = xmalloc(matrix->n_bytes);
    memcpy(*bytes, matrix->bytes, matrix->n_bytes);
    copy.bytes = *bytes;
    if (matrix->dtype == DTYPE_F32) {
        float *values = (float *)*bytes;
        for (uint64_t i = 0; i < matrix->n_bytes / sizeof(*values); i++) {
            values[i] *= 1.01f;
        }
        return copy;
    }
    assert_int_equal(matrix->dtype, DTYPE_Q4_1);
    for (uint64_t at = 0; at < matrix->n_bytes; at += 20) {
        uint16_t scales[2]; /* d and m in f16: 14 units of 2^-10 to 2^-11 */
        memcpy(scales, *bytes + at, sizeof(scales));
        scales[0] = (uint16_t)(scales[0] + 14);
        scales[1] = (uint16_t)(scales[1] + 14);
        memcpy(*bytes + at, scales, sizeof(scales));
    }
    return copy;
}
