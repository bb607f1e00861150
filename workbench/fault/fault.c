#include "workbench/fault/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/trace/stage_list.h"

/* Reads what follows the @: "3" or "3.attn_out". */
static enum status parse_place(struct fault_request *request, const char *text, const char *place, struct error *err)
{
    char *end;
    unsigned long layer = strtoul(place, &end, 10);
    if (end == place || *place == '-' || *place == '+' || *place == ' ' || layer > INT32_MAX || (*end && *end != '.')) {
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "\"%s\", expected NAME, NAME@LAYER or NAME@LAYER.STAGE", text);
    }
    request->layer = (int32_t)layer;
    if (!*end) {
        return STATUS_OK;
    }
    request->stage = stage_by_name(end + 1);
    if (request->stage == STAGE_COUNT) {
        char suggestion[SUGGEST_SIZE];
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET, "\"%s\": no stage is called %s%s", text,
                         end + 1, stage_suggest(end + 1, suggestion));
    }
    return STATUS_OK;
}

const char *fault_suggest(const char *word, char text[SUGGEST_SIZE])
{
    struct suggestion suggestion = {.word = word};
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        suggest_offer(&suggestion, faults[i].name);
    }
    return suggest_text(&suggestion, text);
}

enum status fault_parse(struct fault_request *request, const char *text, struct error *err)
{
    char name[64];
    const char *at = strchr(text, '@');
    snprintf(name, sizeof(name), "%.*s", at ? (int)(at - text) : (int)strlen(text), text);
    *request = (struct fault_request){fault_by_name(name), LAYER_NONE, STAGE_COUNT};
    if (!request->fault) {
        char suggestion[SUGGEST_SIZE];
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "\"%s\" is unknown, expected a fault that `lockstep faults` lists%s", name,
                         fault_suggest(name, suggestion));
    }
    return at ? parse_place(request, text, at + 1, err) : STATUS_OK;
}

static enum status refuse(const struct fault_request *request, struct error *err)
{
    char place[96] = "";
    if (request->layer != LAYER_NONE) {
        snprintf(place, sizeof(place), " at layer %d%s%s", request->layer, request->stage == STAGE_COUNT ? "" : " ",
                 request->stage == STAGE_COUNT ? "" : stage_name(request->stage));
    }
    return error_set(err, STATUS_BAD_INPUT, NULL, request->fault->name, ERROR_NO_OFFSET,
                     "does not apply to this model%s: it would change no step there", place);
}

enum status fault_plant(const struct fault_request *request, struct plan *plan, int32_t *first, struct error *err)
{
    const struct fault *fault = request->fault;
    *first = -1;
    struct plan right; /* edits look at other steps, which must be unedited */
    plan_copy(&right, plan);
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &right.steps[i];
        bool asked = (request->layer == LAYER_NONE || step->layer == request->layer) &&
                     (request->stage == STAGE_COUNT || step->stage == request->stage);
        bool further =
            *first < 0 || fault->every_layer || (fault->whole_layer && step->layer == right.steps[*first].layer);
        if (!asked || !further || !fault_applies(fault, &right, i)) {
            continue;
        }
        plan->steps[i] = fault_mutant(fault, &right, i, &plan->arena);
        if (*first < 0) {
            *first = (int32_t)i;
        }
    }
    plan_free(&right);
    bool planted = *first >= 0 || (fault->pads_buffers && request->layer == LAYER_NONE);
    return planted ? STATUS_OK : refuse(request, err);
}
