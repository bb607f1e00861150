/* The diagnosis of a span: several ops of which only the last one's output is recorded. Each mutant is made in the
 * plan, the span is recomputed with it, and the span's recorded output is judged. If none explains it, numbers of the
 * config are searched for, then wrong weights, positions and visible keys are tried, and then a second bug beside one
 * that explains some rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/spans/span_search.h"

/* Diagnoses, those closest to the recorded rows first. */
struct ranked_diagnoses {
    struct diagnosis *list; /* [max] */
    double *worst;          /* [max] worst ratios */
    uint32_t n, max;
};

/* Whether the op of a step can be computed with the bug, from inputs that are not exact. */
static bool can_mutate(const struct span_failure *failure, const struct fault *fault, uint32_t step)
{
    const struct plan *plan = failure->plan;
    if ((!fault_is_mutant(fault) && !fault->mutant_in_spans) || (fault->nonfinite && !failure->nonfinite) ||
        !fault_applies(fault, plan, step)) {
        return false;
    }
    return !fault->exact_input || !span_path_passes(failure->path, (uint32_t)plan->steps[step].input[0]);
}

/* Makes room in the list for a diagnosis of this ratio, and returns it; NULL: the list is full of better ones. */
static struct diagnosis *insert_ranked(struct ranked_diagnoses *found, double worst)
{
    uint32_t at = found->n;
    while (at > 0 && found->worst[at - 1] > worst) {
        at--;
    }
    if (at == found->max) {
        return NULL;
    }
    uint32_t moved = (found->n < found->max ? found->n : found->max - 1) - at;
    memmove(&found->list[at + 1], &found->list[at], moved * sizeof(*found->list));
    memmove(&found->worst[at + 1], &found->worst[at], moved * sizeof(*found->worst));
    found->n = at + moved + 1;
    found->worst[at] = worst;
    return &found->list[at];
}

/* Whether edited steps differ in their parameters: layers of both kinds are among them. */
static bool both_kinds(const struct plan *plan, const uint8_t *edited)
{
    const struct step *first = NULL;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (edited[s] && first && memcmp(&first->params, &plan->steps[s].params, sizeof(first->params)) != 0) {
            return true;
        }
        first = edited[s] && !first ? &plan->steps[s] : first;
    }
    return false;
}

/* An exchange of two kinds of layers that one kind alone has: it is told as what it is there, another window. */
static void tell_alone(const struct plan *plan, const struct fault *fault, const char *where, struct diagnosis *found)
{
    char is[16] = "none", had[16] = "none";
    struct step wrong = fault_mutant(fault, plan, found->step, NULL);
    const struct step *right = &plan->steps[found->step];
    uint32_t window = wrong.params.attention.window, right_window = right->params.attention.window;
    if (window != 0) {
        snprintf(is, sizeof(is), "%u", window);
    }
    if (right_window != 0) {
        snprintf(had, sizeof(had), "%u", right_window);
    }
    found->solved = solved_number("sliding_window", right_window, window);
    found->postmortem = "";
    snprintf(found->fault, sizeof(found->fault), "%s", fault->alone);
    snprintf(found->text, sizeof(found->text),
             "sliding_window is %s where MODEL has %s, here in %.110s, which is not recorded: computed so, the rows "
             "recorded "
             "after it come out as recorded. No layer of the other kind is found to have it.",
             is, had, where);
}

/* The diagnosis of a fault in the edited steps. */
static void tell_fault(const struct span_failure *failure, const struct span_edit *edit, double worst,
                       struct diagnosis *diagnosis)
{
    char where[160];
    const struct plan *plan = failure->plan;
    const struct fault *fault = edit->fault;
    uint32_t first = span_name_edited(plan, edit->steps, where);
    *diagnosis =
        (struct diagnosis){.how = HOW_REPRODUCED, .kind = fault->kind, .postmortem = fault->postmortem, .step = first};
    snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", fault->name);
    snprintf(
        diagnosis->text, sizeof(diagnosis->text),
        "%.240s Here in %.110s, which is not recorded: computed with this bug, the rows recorded after it come out as "
        "recorded (worst ratio %.3f).",
        fault->story, where, worst);
    if (fault->alone && !failure->is_exchange && !both_kinds(plan, edit->steps) &&
        !exchange_is_elsewhere(fault, failure, first)) {
        tell_alone(plan, fault, where, diagnosis);
    }
}

/* The diagnosis of a fault that is one of two bugs. */
static void tell_part(const struct span_failure *failure, const struct span_edit *edit, struct diagnosis *diagnosis)
{
    char where[160];
    *diagnosis = (struct diagnosis){.how = HOW_REPRODUCED,
                                    .kind = edit->fault->kind,
                                    .postmortem = edit->fault->postmortem,
                                    .step = span_name_edited(failure->plan, edit->steps, where)};
    snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", edit->fault->name);
    snprintf(diagnosis->text, sizeof(diagnosis->text), "%.200s Here in %.80s, which is not recorded.",
             edit->fault->story, where);
}

/* Whether a fault in the edited steps explains the rows; it is added to those found, or kept if it explains a part. */
static bool try_edit(struct span_search *search, const struct span_edit *edit, struct ranked_diagnoses *found)
{
    uint32_t n_right;
    struct diagnosis *told;
    double worst = span_try(search, edit, &n_right);
    if (worst > 1 && n_right > 0) {
        struct diagnosis part;
        tell_part(search->failure, edit, &part);
        span_part_keep(search, edit, n_right, &part);
    } else if (worst <= 1 && (told = insert_ranked(found, worst))) {
        tell_fault(search->failure, edit, worst, told);
    }
    return worst <= 1;
}

/* A fault in all steps of the span that it can strike; if that fails, in each of them alone. */
static void try_fault(struct span_search *search, const struct fault *fault, struct ranked_diagnoses *found)
{
    const struct span_failure *failure = search->failure;
    const struct span_path *path = failure->path;
    uint8_t *all = xcalloc(failure->plan->n_steps, 1), *one = xcalloc(failure->plan->n_steps, 1);
    const struct span_edit of_all = {.fault = fault, .steps = all}, of_one = {.fault = fault, .steps = one};
    uint32_t n = 0;
    for (uint32_t i = 0; i <= path->n_between; i++) {
        uint32_t s = i < path->n_between ? path->between[i] : failure->step;
        n += all[s] = can_mutate(failure, fault, s);
    }
    bool explains = n > 1 && try_edit(search, &of_all, found);
    for (uint32_t i = 0; i < path->n_between && !explains; i++) {
        uint32_t s = path->between[i];
        if (!all[s]) {
            continue;
        }
        one[s] = 1;
        try_edit(search, &of_one, found);
        one[s] = 0;
    }
    free(one);
    free(all);
}

uint32_t span_faults(struct span_search *search, struct diagnosis *found, uint32_t max)
{
    struct ranked_diagnoses ranked = {.list = found, .max = max, .worst = xcalloc((uint64_t)max + 1, sizeof(double))};
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    const struct diagnosis *known = search->failure->known;
    for (uint32_t i = 0; i < n_faults; i++) {
        if (!known || strcmp(faults[i].name, known->fault) == 0) {
            try_fault(search, &faults[i], &ranked);
        }
    }
    free(ranked.worst);
    return ranked.n;
}

uint32_t diagnose_span(const struct span_failure *failure, struct diagnosis *found, uint32_t max)
{
    struct span_search search;
    uint32_t n = 0;
    if (span_search_open(&search, failure)) {
        n = span_faults(&search, found, max);
        if (n == 0 && !failure->is_exchange) {
            n = span_numbers(&search, found) || span_weights(&search, found) || span_trials(&search, found);
        }
        if (n == 0 && !failure->is_exchange && max >= 2) {
            n = span_pairs(&search, found) ? 2 : 0;
        }
    }
    span_search_close(&search);
    return n;
}
