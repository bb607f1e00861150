/* Wrong numbers of the config inside a span: one number of all the span's steps of an op, searched for as it is where
 * the op itself is recorded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/numbers/config_numbers.h"
#include "workbench/diagnose/spans/span_search.h"

struct numbers {
    struct span_search *search;
    struct span_edit edit;   /* its steps: those of one op */
    const struct step *step; /* the first of them */
    double worst;
};

static void set_edit(struct numbers *numbers, const struct step *step)
{
    numbers->edit.from = numbers->step->params;
    numbers->edit.to = step->params;
}

static double distance(void *context, const struct step *step, bool highest)
{
    struct numbers *numbers = context;
    set_edit(numbers, step);
    return span_miss(numbers->search, &numbers->edit, highest);
}

static void tell(const struct numbers *numbers, const struct config_number *number, struct diagnosis *found)
{
    char where[160];
    uint32_t first = span_name_edited(numbers->search->failure->plan, numbers->edit.steps, where);
    config_number_name(number, first, found);
    snprintf(found->text, sizeof(found->text), "%s. Here in %.110s, which %s not recorded.", number->text, where,
             strchr(where, ',') ? "are" : "is");
}

/* A number that explains some rows is kept: another bug may explain the others. */
static bool reproduces(void *context, const struct step *step)
{
    struct numbers *numbers = context;
    uint32_t n_right;
    set_edit(numbers, step);
    numbers->worst = span_try(numbers->search, &numbers->edit, &n_right);
    if (numbers->worst > 1 && n_right > 0) {
        struct diagnosis told;
        struct config_number number;
        config_number_tell(numbers->step, step, &number);
        tell(numbers, &number, &told);
        span_part_keep(numbers->search, &numbers->edit, n_right, &told);
    }
    return numbers->worst <= 1;
}

/* Numbers of the op of the span's step `first`, in all steps of that op from it on. */
static bool try_op(struct span_search *search, uint32_t first, const struct span_edit *edit, struct diagnosis *found)
{
    const struct span_failure *failure = search->failure;
    const struct plan *plan = failure->plan;
    struct numbers numbers = {.search = search, .edit = *edit, .step = &plan->steps[first]};
    const struct config_search config = {.step = numbers.step,
                                         .lowest = search->low.position,
                                         .highest = search->high.position,
                                         .in_span = true,
                                         .known = failure->known ? failure->known->fault : NULL,
                                         .known_value = failure->known ? failure->known->solved.found : 0,
                                         .distance = distance,
                                         .reproduces = reproduces,
                                         .context = &numbers};
    struct config_number number;
    if (!config_number_find(&config, &number)) {
        return false;
    }
    tell(&numbers, &number, found);
    size_t length = strlen(found->text);
    snprintf(found->text + length, sizeof(found->text) - length,
             " Computed with it, the rows recorded after it come out as recorded (worst ratio %.3f); MODEL's value "
             "fails from position %u on.",
             numbers.worst, search->low.position);
    return true;
}

bool span_numbers(struct span_search *search, struct diagnosis *found)
{
    const struct span_path *path = search->failure->path;
    const struct plan *plan = search->failure->plan;
    bool op_done[OP_END] = {false}, explains = false;
    for (uint32_t i = 0; i <= path->n_between && !explains && !stop_asked(); i++) {
        uint32_t first = i < path->n_between ? path->between[i] : search->failure->step;
        enum op op = plan->steps[first].op;
        if (op_done[op] || search->low.position == search->high.position) {
            continue; /* one failing row is too little: some eps explains any factor of it */
        }
        op_done[op] = true;
        uint8_t *steps = xcalloc(plan->n_steps, 1);
        for (uint32_t k = i; k <= path->n_between; k++) {
            uint32_t s = k < path->n_between ? path->between[k] : search->failure->step;
            steps[s] = plan->steps[s].op == op;
        }
        explains = try_op(search, first, &(struct span_edit){.steps = steps}, found);
        free(steps);
    }
    return explains;
}
