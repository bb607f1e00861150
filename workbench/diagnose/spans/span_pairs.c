/* Two bugs in one span. A bug that explains the first failing row, but not all, may stand beside a second one: with the
 * first in the plan, the second is searched for as a single bug is. */
#include <stdio.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/spans/span_search.h"

/* A second bug, beside the part that is in the failure's plan. */
static bool find_second(const struct span_failure *failure, struct diagnosis *found)
{
    struct span_search search;
    bool explains =
        span_search_open(&search, failure) && (span_faults(&search, found, 1) > 0 || span_numbers(&search, found) ||
                                               span_weights(&search, found) || span_trials(&search, found));
    span_search_close(&search);
    return explains;
}

static void tell_pair(const struct diagnosis *part, uint32_t n_right, struct diagnosis found[2])
{
    struct diagnosis second = found[0];
    char story[320];
    snprintf(story, sizeof(story), "%.300s", second.text);
    snprintf(second.text, sizeof(second.text), "The second of two bugs, beside %s: %s", part->fault, story);
    found[0] = *part;
    size_t length = strlen(found[0].text);
    snprintf(found[0].text + length, sizeof(found[0].text) - length,
             " It is one of two bugs: alone it gives %u rows as recorded, with %s all of them.", n_right, second.fault);
    found[1] = second;
}

bool span_pairs(struct span_search *search, struct diagnosis found[2])
{
    bool explains = false;
    for (uint32_t i = 0; i < search->n_parts && !explains && !stop_asked(); i++) {
        const struct span_part *part = &search->parts[i];
        struct plan plan;
        struct arena arena = {0};
        struct span_failure failure = *search->failure;
        struct spans spans;
        plan_copy(&plan, search->failure->plan);
        span_edit_apply(&part->edit, &plan, &arena);
        spans_open(&spans, &plan, failure.trace);
        failure.plan = &plan;
        failure.spans = &spans;
        failure.known = NULL;
        failure.is_exchange = true; /* the second bug is told as it is found here */
        explains = find_second(&failure, &found[0]);
        if (explains) {
            tell_pair(&part->told, part->n_right, found);
        }
        spans_close(&spans);
        plan_free(&plan);
        arena_free(&arena);
    }
    return explains;
}
