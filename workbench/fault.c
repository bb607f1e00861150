#include "workbench/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGES_OF(...)           \
    (const enum stage[])         \
    {                            \
        __VA_ARGS__, STAGE_COUNT \
    }

/* A new fault is one row: what it edits, where it may strike, and the story that a diagnosis tells. */
static const struct fault faults[] = {
    {.name = "softmax-sizes-swapped",
     .story =
         "the softmax's innerSize and outerSize are swapped: the scores of a query, [heads][keys], are normalised in "
         "runs of as many values as there are heads, across keys of several heads",
     .postmortem = "2025-12-17-softmax-uniform-buffer",
     .op = OP_attention,
     .stages = STAGES_OF(STAGE_attn_out),
     .edit = EDIT_VARIANT,
     .value = VARIANT_SOFTMAX_SIZES_SWAPPED,
     .every_layer = true},
    {.name = "qk-norm-no-offset",
     .story = "q_norm and k_norm multiply by w where this family multiplies by 1 + w",
     .postmortem = "2025-12-25-gemma3-qknorm-offset",
     .op = OP_rms_norm,
     .stages = STAGES_OF(STAGE_q_norm, STAGE_k_norm),
     .edit = EDIT_NORM_OFFSET,
     .value = 0,
     .every_layer = true},
    {.name = "norm-no-offset",
     .story = "the layer norms multiply by w where this family multiplies by 1 + w",
     .postmortem = "triage: exploding values",
     .op = OP_rms_norm,
     .stages = STAGES_OF(STAGE_attn_norm, STAGE_post_attn_norm, STAGE_ffn_norm, STAGE_post_ffn_norm, STAGE_final_norm),
     .edit = EDIT_NORM_OFFSET,
     .value = 0,
     .every_layer = true},
    {.name = "post-ffn-norm-skipped",
     .story = "the norm after the FFN is skipped, its input is copied: the config says that there is none, "
              "although the tensor exists",
     .postmortem = "2026-01-19-gemma3-postfeedforwardnorm",
     .op = OP_rms_norm,
     .stages = STAGES_OF(STAGE_post_ffn_norm),
     .edit = EDIT_VARIANT,
     .value = VARIANT_COPY,
     .every_layer = true},
    {.name = "embed-scale-missing",
     .story = "the embedding is not multiplied by sqrt(hidden) as this family wants",
     .postmortem = "2025-12-21-gemma3-magnitude-gap",
     .op = OP_embed,
     .stages = STAGES_OF(STAGE_embed),
     .edit = EDIT_EMBED_SCALE,
     .value = 1,
     .every_layer = true},
    {.name = "kv-stale",
     .story = "decode attends the previous token's key in place of its own: the KV cache is read before the new key is "
              "there, and text begins to repeat",
     .postmortem = "triage: repeating tokens",
     .op = OP_attention,
     .stages = STAGES_OF(STAGE_attn_out),
     .edit = EDIT_VARIANT,
     .value = VARIANT_KV_STALE,
     .decode_only = true},
    {.name = "transpose-b",
     .story = "a square weight is read transposed: W^T x in place of W x, which no shape check can see",
     .postmortem = "fix: transposeB",
     .op = OP_matmul,
     .stages = STAGES_OF(STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_o_proj),
     .edit = EDIT_VARIANT,
     .value = VARIANT_TRANSPOSE_B},
    {.name = "pool-padding",
     .story =
         "pooled buffers are larger than their shapes and the rest is garbage: a trace that reads past the shape sees "
         "explosions that are not there",
     .postmortem = "2025-12-30-buffer-pool-trace-false-positives",
     .op = OP_COUNT,
     .stages = (const enum stage[]){STAGE_COUNT},
     .edit = EDIT_PAD_BUFFERS,
     .silent = true},
};

const struct fault *fault_list(uint32_t *n_faults)
{
    *n_faults = sizeof faults / sizeof *faults;
    return faults;
}

const struct fault *fault_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (strcmp(faults[i].name, name) == 0)
            return &faults[i];
    return NULL;
}

static bool strikes_stage(const struct fault *fault, enum stage stage)
{
    for (const enum stage *at = fault->stages; *at != STAGE_COUNT; at++)
        if (*at == stage)
            return true;
    return false;
}

/* Whether a wrong formula can be asked of this step: a matrix that is not square cannot be read transposed. */
static bool variant_applies(uint32_t variant, const struct step *step)
{
    if (step->variant != VARIANT_NONE)
        return false;
    if (variant == VARIANT_SOFTMAX_SIZES_SWAPPED && step->params.attention.has_sinks)
        return false;
    return variant != VARIANT_TRANSPOSE_B || step->params.matmul.n_in == step->params.matmul.n_out;
}

bool fault_applies(const struct fault *fault, const struct step *step)
{
    if (fault->op != step->op || !strikes_stage(fault, step->stage))
        return false;
    switch (fault->edit) {
    case EDIT_NORM_OFFSET:
        return step->params.rms_norm.offset != (float)fault->value;
    case EDIT_EMBED_SCALE:
        return step->params.embed.scale != (float)fault->value;
    case EDIT_VARIANT:
        return variant_applies((uint32_t)fault->value, step);
    case EDIT_PAD_BUFFERS:
        return false;
    }
    return false;
}

struct step fault_mutant(const struct fault *fault, const struct step *step)
{
    ASSERT(fault_applies(fault, step));
    struct step mutant = *step;
    if (fault->edit == EDIT_NORM_OFFSET)
        mutant.params.rms_norm.offset = (float)fault->value;
    else if (fault->edit == EDIT_EMBED_SCALE)
        mutant.params.embed.scale = (float)fault->value;
    else
        mutant.variant = (uint32_t)fault->value;
    return mutant;
}

/* "3" or "3.attn_out", after the @. */
static enum status parse_place(struct fault_request *request, const char *text, const char *place, struct error *err)
{
    char *end;
    unsigned long layer = strtoul(place, &end, 10);
    if (end == place || *place == '-' || *place == '+' || *place == ' ' || layer > INT32_MAX || (*end && *end != '.'))
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "\"%s\", expected NAME, NAME@LAYER or "
                         "NAME@LAYER.STAGE",
                         text);
    request->layer = (int32_t)layer;
    if (!*end)
        return STATUS_OK;
    request->stage = stage_by_name(end + 1);
    if (request->stage == STAGE_COUNT)
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET, "\"%s\": no stage is called %s", text,
                         end + 1);
    return STATUS_OK;
}

enum status fault_parse(struct fault_request *request, const char *text, struct error *err)
{
    char name[64];
    const char *at = strchr(text, '@');
    snprintf(name, sizeof name, "%.*s", at ? (int)(at - text) : (int)strlen(text), text);
    *request = (struct fault_request){fault_by_name(name), LAYER_NONE, STAGE_COUNT};
    if (!request->fault)
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "\"%s\" is no known fault, expected one that `lockstep faults` lists", name);
    return at ? parse_place(request, text, at + 1, err) : STATUS_OK;
}

enum status fault_plant(const struct fault_request *request, struct plan *plan, int32_t *first, struct error *err)
{
    const struct fault *fault = request->fault;
    *first = -1;
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        struct step *step = &plan->steps[i];
        bool asked = (request->layer == LAYER_NONE || step->layer == request->layer) &&
                     (request->stage == STAGE_COUNT || step->stage == request->stage);
        if (!asked || !fault_applies(fault, step))
            continue;
        *step = fault_mutant(fault, step);
        if (*first < 0)
            *first = (int32_t)i;
        if (!fault->every_layer)
            break;
    }
    if (*first >= 0 || (fault->edit == EDIT_PAD_BUFFERS && request->layer == LAYER_NONE))
        return STATUS_OK;
    char place[96] = "";
    if (request->layer != LAYER_NONE)
        snprintf(place, sizeof place, " at layer %d%s%s", request->layer, request->stage == STAGE_COUNT ? "" : " ",
                 request->stage == STAGE_COUNT ? "" : stage_name(request->stage));
    return error_set(err, STATUS_BAD_INPUT, NULL, fault->name, ERROR_NO_OFFSET,
                     "does not apply to this model%s: no step "
                     "there that it would change",
                     place);
}
