#include "workbench/session/kernel_options.h"

#include <string.h>

struct batch_sizes batch_sizes_of(uint32_t n_prompt, uint32_t n_decoded, uint32_t most_rows)
{
    struct batch_sizes sizes = {0};
    uint32_t rest = n_prompt % most_rows;
    if (n_prompt >= most_rows) {
        sizes.rows[sizes.n++] = most_rows;
    }
    if (rest > 0) {
        sizes.rows[sizes.n++] = rest;
    }
    if (n_decoded > 0 && (sizes.n == 0 || sizes.rows[sizes.n - 1] != 1)) {
        sizes.rows[sizes.n++] = 1;
    }
    return sizes;
}

enum status kernel_option_set(struct kernel_choices *choices, const char *name, const char *stage, const char *kernel,
                              struct error *err)
{
    enum stage at = stage_by_name(stage);
    enum stage_kernel chosen = stage_kernel_by_name(kernel);
    if (at == STAGE_COUNT) {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "\"%s\", expected a stage", stage);
    }
    if (chosen == KERNEL_COUNT) {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET,
                         "\"%s\" is no kernel, expected auto or one of those that set kernel lists at the prompt",
                         kernel);
    }
    choices->of_stage[at] = (uint8_t)chosen;
    return STATUS_OK;
}

enum status kernel_options_parse(const char *const *texts, uint32_t n, struct kernel_choices *choices,
                                 struct error *err)
{
    *choices = (struct kernel_choices){0};
    for (uint32_t i = 0; i < n; i++) {
        char stage[64];
        const char *equals = strchr(texts[i], '=');
        if (equals == NULL || (size_t)(equals - texts[i]) >= sizeof(stage)) {
            return error_set(err, STATUS_USAGE, NULL, "--kernel", ERROR_NO_OFFSET, "\"%s\", expected STAGE=KERNEL",
                             texts[i]);
        }
        snprintf(stage, sizeof(stage), "%.*s", (int)(equals - texts[i]), texts[i]);
        TRY(kernel_option_set(choices, "--kernel", stage, equals + 1, err));
    }
    return STATUS_OK;
}

/* "matmul, matmul_tile". */
static const char *kernel_names(uint32_t kernels, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (unsigned k = KERNEL_AUTO + 1; k < KERNEL_COUNT && length < size; k++) {
        if (kernels & 1u << k) {
            length += (size_t)snprintf(text + length, size - length, "%s%s", length > 0 ? ", " : "",
                                       stage_kernel_name((enum stage_kernel)k));
        }
    }
    return text;
}

static enum status refuse(const struct backend *engine, const struct kernel_choices *choices, enum stage stage,
                          const struct batch_sizes *sizes, const char *name, struct error *err)
{
    char names[512], rows[48] = "";
    uint32_t possible[STAGE_COUNT], any = 0;
    enum stage_kernel chosen = choices->of_stage[stage];
    for (uint32_t i = 0; i < sizes->n; i++) {
        TRY(engine_possible_kernels(engine, sizes->rows[i], possible, err));
        any |= possible[stage];
        size_t length = strlen(rows);
        snprintf(rows + length, sizeof(rows) - length, "%s%u", i > 0 ? " or " : "", sizes->rows[i]);
    }
    if (any == 0) {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "%s: this model has no such stage",
                         stage_name(stage));
    }
    bool together = (any & 1u << chosen) != 0;
    return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET,
                     "%s cannot be made by %s%s, in batches of %s row(s) on %s, expected one of %s", stage_name(stage),
                     stage_kernel_name(chosen), together ? " beside the other kernels chosen" : "", rows,
                     engine_device(engine)->name, kernel_names(any, names, sizeof(names)));
}

enum status kernel_options_check(const struct backend *engine, const struct kernel_choices *choices,
                                 const struct batch_sizes *sizes, const char *name, struct error *err)
{
    uint32_t used[STAGE_COUNT], any[STAGE_COUNT] = {0};
    for (uint32_t i = 0; i < sizes->n; i++) {
        TRY(engine_used_kernels(engine, sizes->rows[i], choices, used, err));
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
            any[stage] |= used[stage];
        }
    }
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        unsigned chosen = choices->of_stage[stage];
        if (chosen != KERNEL_AUTO && !(any[stage] & 1u << chosen)) {
            return refuse(engine, choices, (enum stage)stage, sizes, name, err);
        }
    }
    return STATUS_OK;
}

enum status kernel_options_list(const struct backend *engine, const struct batch_sizes *sizes, FILE *out,
                                struct error *err)
{
    const struct kernel_choices *choices = engine_chosen_kernels(engine);
    for (uint32_t i = 0; i < sizes->n; i++) {
        uint32_t possible[STAGE_COUNT], used[STAGE_COUNT];
        TRY(engine_possible_kernels(engine, sizes->rows[i], possible, err));
        TRY(engine_used_kernels(engine, sizes->rows[i], choices, used, err));
        fprintf(out, "batches of %u row%s: stage, its kernel, and others that can make it\n", sizes->rows[i],
                sizes->rows[i] == 1 ? "" : "s");
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
            char now[256], others[512];
            uint32_t more = possible[stage] & ~used[stage];
            if (more != 0) {
                fprintf(out, "  %-14s %s%s  others: %s\n", stage_name((enum stage)stage),
                        kernel_names(used[stage], now, sizeof(now)),
                        choices->of_stage[stage] != KERNEL_AUTO ? " (chosen)" : "",
                        kernel_names(more, others, sizeof(others)));
            }
        }
    }
    return STATUS_OK;
}

enum status kernel_option_tell(const struct backend *engine, enum stage stage, const struct batch_sizes *sizes,
                               FILE *out, struct error *err)
{
    fprintf(out, "%s:", stage_name(stage));
    for (uint32_t i = 0; i < sizes->n; i++) {
        uint32_t used[STAGE_COUNT];
        char names[256];
        TRY(engine_used_kernels(engine, sizes->rows[i], engine_chosen_kernels(engine), used, err));
        fprintf(out, "%s %s in batches of %u row%s", i > 0 ? "," : "", kernel_names(used[stage], names, sizeof(names)),
                sizes->rows[i], sizes->rows[i] == 1 ? "" : "s");
    }
    fprintf(out, "\n");
    return STATUS_OK;
}
