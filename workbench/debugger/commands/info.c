/* info, faults: describe what is loaded, and the known bugs. */
#include <stdio.h>
#include <string.h>

#include "model/family.h"
#include "workbench/debugger/command.h"
#include "workbench/session/step_kernel.h"

static void info_model(const struct repl *repl)
{
    const struct model *model = &repl->session->model;
    const struct config *config = &model->config;
    printf("%s: %s (family %s), %u layers, %u tensors, mostly %s\n", model->path, config->model_type,
           config->family->name, config->n_layers, model->n_tensors, model->weights_dtype);
    printf("  hidden %u, %u heads and %u kv heads of %u, ffn %u, vocab %u\n", config->hidden, config->n_heads,
           config->n_kv_heads, config->head_dim, config->ffn, config->vocab);
    if (repl->golden != NULL) {
        printf("golden %s: by %s, %u positions, %u stages\n", repl->golden->path, repl->golden->producer,
               repl->golden->n_positions, repl->golden->n_stages);
    }
}

static void info_device(const struct repl *repl)
{
    if (!repl->session->on[SOURCE_ENGINE]) {
        printf("no engine in this session; the reference runs on the CPU\n");
        return;
    }
    const struct device_info *device = engine_device(&repl->session->backend[SOURCE_ENGINE]);
    printf("%s (%s), %s, Vulkan %s, subgroups of %u, %.1f GiB\n", device->name, device->type, device->driver,
           device->api, device->subgroup, (double)device->memory / (1 << 30));
}

/* Prints the steps outside the layers and those of layer 0, with the kernels of the current batch, or of decoding.
 * Other layers have the same steps, and the same kernels but where a fault is planted. */
static void info_plan(const struct repl *repl)
{
    bool has_engine = repl->session->on[SOURCE_ENGINE];
    uint32_t n_rows = repl->n_rows > 0 ? repl->n_rows : 1;
    printf("%u steps, %u layers", repl->plan->n_steps, repl->plan->n_layers);
    if (has_engine) {
        printf("; kernels of a batch of %u row%s, %s", n_rows, n_rows == 1 ? "" : "s",
               repl->settings.no_fuse ? "each op by itself (set fuse off)" : "as run and diff use them");
    }
    printf("\n  %-15s %-10s %9s\n", "stage", "op", "width");
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        const struct step *step = &repl->plan->steps[s];
        char kernel[STEP_KERNEL_SIZE] = "";
        if (step->layer > 0) {
            continue;
        }
        printf("  %-15s %-10s %9u  %s%s\n", stage_name(step->stage), op_info(step->op)->name, step->width,
               stage_what(step->stage), step->layer == 0 ? ", in each layer" : "");
        if (has_engine) {
            const struct backend *engine = &repl->session->backend[SOURCE_ENGINE];
            printf("  %-15s %s\n", "", step_kernel_text(engine, n_rows, step, repl->settings.no_fuse, kernel));
        }
    }
}

static void info_memory(const struct repl *repl)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct trace *trace = repl->sides[i].trace;
        uint64_t n_bytes = 0;
        for (uint32_t s = 0; s < trace->n_stages; s++) {
            n_bytes += (uint64_t)trace->stages[s].n_recorded * trace->stages[s].width * sizeof(float);
        }
        printf("  %-9s %10.3f MiB recorded, %u of %u positions\n", source_name(repl->sides[i].source),
               (double)n_bytes / (1 << 20), trace->n_positions, repl->capacity);
    }
    uint64_t weights = 0;
    for (uint32_t t = 0; t < repl->session->model.n_tensors; t++) {
        weights += repl->session->model.tensors[t].n_bytes;
    }
    printf("  %-9s %10.3f MiB, mapped\n", "weights", (double)weights / (1 << 20));
}

enum status do_info(struct repl *repl, const struct words *words, struct error *err)
{
    const struct {
        const char *name;
        void (*show)(const struct repl *repl);
    } topics[] = {{"model", info_model},
                  {"device", info_device},
                  {"plan", info_plan},
                  {"memory", info_memory},
                  {"breakpoints", print_breakpoints}};
    size_t found = 0, n_found = 0;
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        if (strncmp(topics[i].name, words->word[0], strlen(words->word[0])) == 0) { /* a beginning is enough: info b */
            found = i;
            n_found++;
        }
    }
    if (n_found != 1) {
        return words_refuse(words, 0, err);
    }
    topics[found].show(repl);
    return STATUS_OK;
}

enum status do_faults(struct repl *repl, const struct words *words, struct error *err)
{
    (void)repl;
    if (words->n == 1) {
        const struct fault *fault = fault_by_name(words->word[0]);
        if (fault == NULL) {
            char suggestion[SUGGEST_SIZE];
            return error_set(err, STATUS_USAGE, NULL, "fault", ERROR_NO_OFFSET,
                             "\"%s\" is unknown, expected a name that faults lists%s", words->word[0],
                             fault_suggest(words->word[0], suggestion));
        }
        printf("%s: %s\n  from %s\n", fault->name, fault->story, fault->postmortem);
        return STATUS_OK;
    }
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        printf("  %-24s %s\n", faults[i].name, faults[i].story);
    }
    return STATUS_OK;
}
