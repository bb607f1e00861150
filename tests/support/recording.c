#include "tests/support/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "reference/reference.h"
#include "tests/support/scratch.h"

void small_open(struct small_model *small, const char *name, const char *folder)
{
    char path[512];
    struct error err = {0};
    snprintf(path, sizeof(path), "%s/%s", folder ? folder : LOCKSTEP_SOURCE_DIR "/golden", name);
    enum status status = model_open(&small->model, path, &err);
    if (status == STATUS_OK) {
        status = plan_build(&small->plan, &small->model, &err);
    }
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/%s.h5", name);
    if (status == STATUS_OK) {
        status = trace_read(&small->golden, path, &err);
    }
    if (status != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
    }
    ASSERT(status == STATUS_OK);
}

void small_close(struct small_model *small)
{
    trace_free(&small->golden);
    plan_free(&small->plan);
    model_close(&small->model);
}

static void record_batch(struct trace *trace, struct backend *backend, const struct batch *batch)
{
    for (uint32_t s = 0; s < backend->plan->n_steps; s++) {
        const struct step *step = &backend->plan->steps[s];
        struct trace_stage *stage = trace_add(trace, step->layer, step->stage, step->width);
        float *rows = xcalloc((uint64_t)batch->n_rows * step->width, sizeof(*rows));
        enum status status = backend->ops->read(backend, s, rows, NULL);
        ASSERT(status == STATUS_OK);
        for (uint32_t i = 0; i < batch->n_rows; i++) {
            trace_set_row(trace, stage, batch->first_position + i, rows + (uint64_t)i * step->width);
        }
        free(rows);
    }
}

void record_run(struct trace *trace, const struct plan *plan, const struct trace *golden)
{
    struct backend backend;
    enum status status = reference_open(&backend, plan, golden->n_positions, NULL);
    ASSERT(status == STATUS_OK);
    trace_init(trace, "engine", "tiny", plan->n_layers, golden->n_positions, golden->tokens, golden->phase);
    uint32_t n_prompt = 0;
    while (n_prompt < golden->n_positions && golden->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    ASSERT(n_prompt > 0 && n_prompt <= backend.max_rows);
    for (uint32_t first = 0; first < golden->n_positions;) {
        struct batch batch = {first, first == 0 ? n_prompt : 1, golden->tokens + first, first > 0};
        status = backend.ops->begin(&backend, &batch, NULL);
        ASSERT(status == STATUS_OK);
        status = backend.ops->run(&backend, 0, plan->n_steps, NULL);
        ASSERT(status == STATUS_OK);
        record_batch(trace, &backend, &batch);
        first += batch.n_rows;
    }
    backend.ops->close(&backend);
}

void small_copy_flipped(const char *name, const char *folder, const char *tensor_name, uint64_t element, unsigned bit)
{
    char from[512], to[512], source[512], path[512];
    scratch_path(from, LOCKSTEP_SOURCE_DIR "/golden", name);
    scratch_path(to, folder, name);
    int made = mkdir(to, 0777);
    ASSERT(!made);
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        scratch_copy(scratch_path(source, from, files[i]), scratch_path(path, to, files[i]));
    }
    struct model model;
    enum status status = model_open(&model, to, NULL);
    ASSERT(status == STATUS_OK);
    const struct tensor *tensor = model_tensor(&model, tensor_name);
    ASSERT(tensor && tensor->dtype == DTYPE_F32);
    uint64_t at = element * sizeof(float) + bit / 8;
    ASSERT(at < tensor->n_bytes);
    size_t offset = tensor->offset + at;
    uint8_t byte = tensor->bytes[at] ^ (uint8_t)(1u << bit % 8);
    model_close(&model);
    scratch_patch(scratch_path(path, to, "model.safetensors"), offset, byte);
}

struct trace_stage *stage_at(const struct trace *trace, int32_t layer, enum stage stage)
{
    struct trace_stage *found = trace_find(trace, layer, stage);
    ASSERT(found);
    return found;
}

void healthy_trace_write(const char *path)
{
    static const int32_t tokens[] = {5, 6, 7, 8};
    static const uint8_t phase[] = {0, 0, 0, 1};
    static const float row[] = {1, 2, 3};
    struct trace trace;
    trace_init(&trace, "made", "llama", 2, 4, tokens, phase);
    struct trace_stage *stage = trace_add(&trace, 1, STAGE_q_proj, 3);
    for (uint32_t p = 0; p < 4; p++) {
        trace_set_row(&trace, stage, p, row);
    }
    stage = trace_add(&trace, LAYER_NONE, STAGE_embed, 2);
    trace_set_row(&trace, stage, 0, row);
    trace_set_row(&trace, stage, 2, row);
    enum status status = trace_write(&trace, path, NULL);
    ASSERT(status == STATUS_OK);
    trace_free(&trace);
}
