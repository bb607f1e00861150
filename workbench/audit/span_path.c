/* Finds the ops that a span passes over. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/audit/rows.h"

/* The role of a step in a path. */
enum { OUTSIDE, BETWEEN, FROM };

/* Adds to need[input] the positions at which the step needs an input that is not recorded. Inputs come before their
 * steps in the plan: walked backwards, a step is met when all that needs it is known. */
static void follow(const struct plan *plan, uint32_t step_index, const struct trace *trace, uint8_t **need,
                   uint8_t *role)
{
    const struct step *step = &plan->steps[step_index];
    uint8_t *of_input = xcalloc(trace->n_positions, 1);
    for (unsigned i = 0; i < OP_MAX_INPUTS && step->input[i] >= 0; i++) {
        uint32_t input = (uint32_t)step->input[i];
        const struct trace_stage *stage = trace_find_step(trace, &plan->steps[input]);
        rows_needed(step, i, need[step_index], trace->n_positions, of_input);
        bool lacks = false;
        if (!need[input]) {
            need[input] = xcalloc(trace->n_positions, 1);
        }
        for (uint32_t p = 0; p < trace->n_positions; p++) {
            bool here = of_input[p] && !(stage && stage->recorded[p]);
            need[input][p] |= here;
            lacks |= here;
        }
        if (lacks) {
            role[input] = BETWEEN;
        } else if (role[input] == OUTSIDE) {
            role[input] = FROM;
        }
    }
    free(of_input);
}

/* Lists the steps of a role in plan order. *steps is malloc'ed. Returns their number. */
static uint32_t collect(const uint8_t *role, uint32_t n_steps, uint8_t wanted, uint32_t **steps)
{
    uint32_t n = 0;
    *steps = xcalloc((uint64_t)n_steps + 1, sizeof(**steps));
    for (uint32_t s = 0; s < n_steps; s++) {
        if (role[s] == wanted) {
            (*steps)[n++] = s;
        }
    }
    return n;
}

void span_path_find(struct span_path *path, const struct plan *plan, uint32_t step, const struct trace *trace)
{
    const struct trace_stage *output = trace_find_step(trace, &plan->steps[step]);
    uint8_t *role = xcalloc(plan->n_steps, 1), **need = xcalloc(plan->n_steps, sizeof(*need));
    need[step] = xcalloc(trace->n_positions, 1);
    if (output) {
        memcpy(need[step], output->recorded, trace->n_positions);
    }
    follow(plan, step, trace, need, role);
    for (uint32_t s = step; s-- > 0;) {
        if (role[s] == BETWEEN) {
            follow(plan, s, trace, need, role);
        }
    }
    path->n_between = collect(role, plan->n_steps, BETWEEN, &path->between);
    path->n_from = collect(role, plan->n_steps, FROM, &path->from);
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        free(need[s]);
    }
    free(need);
    free(role);
}

void span_path_free(struct span_path *path)
{
    free(path->between);
    free(path->from);
    *path = (struct span_path){0};
}

bool span_path_passes(const struct span_path *path, uint32_t step)
{
    for (uint32_t i = 0; i < path->n_between; i++) {
        if (path->between[i] == step) {
            return true;
        }
    }
    return false;
}

/* Appends to a text of limited size. */
static void add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *format, ...)
{
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

/* Appends the names of steps. The layer stands before a name where it is not *layer, the one named last. */
static void add_steps(const struct plan *plan, const uint32_t *steps, uint32_t n, int32_t *layer, char *text,
                      size_t size)
{
    enum { MOST = 16 };
    for (uint32_t i = 0; i < n && i < MOST; i++) {
        const struct step *step = &plan->steps[steps[i]];
        add(text, size, "%s", i == 0 ? "" : ", ");
        if (step->layer != *layer && step->layer != LAYER_NONE) {
            add(text, size, "layer %d ", step->layer);
        }
        add(text, size, "%s", stage_name(step->stage));
        *layer = step->layer != LAYER_NONE ? step->layer : *layer;
    }
    if (n > MOST) {
        add(text, size, " and %u more", n - MOST);
    }
}

const char *span_steps_text(const struct span_path *path, const struct plan *plan, uint32_t step, char *text,
                            size_t size)
{
    int32_t layer = plan->steps[step].layer;
    add_steps(plan, path->between, path->n_between, &layer, text, size);
    return text;
}

const char *span_path_text(const struct span_path *path, const struct plan *plan, uint32_t step, char *text,
                           size_t size)
{
    int32_t layer = plan->steps[step].layer;
    text[0] = 0;
    if (path->n_between == 0) {
        return text;
    }
    add(text, size, "between ");
    if (path->n_from == 0) {
        add(text, size, "the tokens");
    }
    add_steps(plan, path->from, path->n_from, &layer, text, size);
    add(text, size, " and %s: ", stage_name(plan->steps[step].stage));
    return span_steps_text(path, plan, step, text, size);
}
