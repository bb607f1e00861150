/* Wrong positions and wrong visible keys inside a span: of ropes and attentions whose stages are not recorded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/spans/span_search.h"

#define MOST_SHIFT 8 /* positions */

enum of { OF_Q = 1, OF_BOTH = 3 }; /* bits; 2: of k */

struct trials {
    struct span_search *search;
    struct span_trial trial;
    uint8_t *steps;
    double right; /* what the right op misses the first failing row by */
};

static bool is_asked_for(const struct trials *trials, enum fault_kind kind)
{
    const struct diagnosis *known = trials->search->failure->known;
    return !known || strcmp(known->fault, fault_kind_name(kind)) == 0;
}

/* Chooses the span's steps of an op; of ropes: those of q, or both. Returns whether there are any. */
static bool choose_steps(struct trials *trials, enum op op, enum of of)
{
    const struct span_failure *failure = trials->search->failure;
    const struct span_path *path = failure->path;
    bool any = false;
    memset(trials->steps, 0, failure->plan->n_steps);
    for (uint32_t i = 0; i <= path->n_between; i++) {
        uint32_t s = i < path->n_between ? path->between[i] : failure->step;
        const struct step *step = &failure->plan->steps[s];
        bool is_k = step->stage == STAGE_k_rope;
        any |= trials->steps[s] = step->op == op && (op != OP_rope || of & (is_k ? 2 : 1));
    }
    return any;
}

/* Whether the first failing row tells positions at all: position 0 does not, nor does the prompt those of decode. */
static bool positions_show(struct trials *trials)
{
    const struct span_edit edit = {.trial = &trials->trial, .steps = trials->steps};
    trials->trial.rope = (struct rope_trial){.shift = 1};
    return span_miss(trials->search, &edit, false) != trials->right;
}

static bool explains(struct trials *trials, double *worst)
{
    uint32_t n_right;
    const struct span_edit edit = {.trial = &trials->trial, .steps = trials->steps};
    bool near = 16 * span_miss(trials->search, &edit, false) <= trials->right;
    *worst = near ? span_try(trials->search, &edit, &n_right) : INFINITY;
    return *worst <= 1;
}

static void tell(const struct trials *trials, enum fault_kind kind, const char *what, double worst,
                 struct diagnosis *found)
{
    char where[160];
    struct solved solved = found->solved;
    uint32_t first = span_name_edited(trials->search->failure->plan, trials->steps, where);
    *found = (struct diagnosis){.how = HOW_REPRODUCED, .kind = kind, .postmortem = "", .step = first, .solved = solved};
    snprintf(found->fault, sizeof(found->fault), "%s", fault_kind_name(kind));
    snprintf(
        found->text, sizeof(found->text),
        "%.200s Here in %.110s, which %s not recorded. Computed so, the rows recorded after it come out as recorded "
        "(worst ratio %.3f).",
        what, where, strchr(where, ',') ? "are" : "is", worst);
}

/* Positions of q, or of both in decode rows, that are a few too large or too small. Only the difference between q and k
 * shows. */
static bool try_positions(struct trials *trials, struct diagnosis *found)
{
    static const struct {
        enum of of;
        bool decode_alone;
        const char *rows;
    } cases[] = {{OF_Q, false, "Queries (or keys the other way)"},
                 {OF_BOTH, true, "Queries and keys of decode"},
                 {OF_Q, true, "Queries of decode"}};
    double worst;
    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
        trials->trial.decode_alone = cases[c].decode_alone;
        if (!choose_steps(trials, OP_rope, cases[c].of) || !positions_show(trials)) {
            continue;
        }
        for (int k = 2; k <= 2 * MOST_SHIFT + 1 && !stop_asked(); k++) {
            int shift = k % 2 ? -(k / 2) : k / 2;
            trials->trial.rope = (struct rope_trial){.shift = shift};
            if (explains(trials, &worst)) {
                char what[160];
                snprintf(what, sizeof(what), "%s are rotated as positions %d too %s.", cases[c].rows, abs(shift),
                         shift > 0 ? "large" : "small");
                found->solved = solved_number("position, from the row's own", 0, shift);
                tell(trials, KIND_POSITIONS, what, worst, found);
                return true;
            }
        }
    }
    trials->trial.decode_alone = false;
    return false;
}

static bool try_keys(struct trials *trials, struct diagnosis *found)
{
    static const char *const what[] = {
        [SEEN_WHOLE_PROMPT] = "The causal mask is missing: each row of the prompt sees all of the prompt.",
        [SEEN_WITHOUT_OWN] = "Attention does not see the row's own key.",
        [SEEN_WITHOUT_FIRST] = "Attention does not see the first key.",
    };
    double worst;
    for (int seen = SEEN_WHOLE_PROMPT; seen <= SEEN_WITHOUT_FIRST && choose_steps(trials, OP_attention, OF_BOTH);
         seen++) {
        trials->trial.seen = seen;
        trials->trial.decode_alone = false;
        if (explains(trials, &worst)) {
            found->solved = (struct solved){0};
            tell(trials, KIND_VISIBLE_KEYS, what[seen], worst, found);
            return true;
        }
    }
    return false;
}

bool span_trials(struct span_search *search, struct diagnosis *found)
{
    const struct span_failure *failure = search->failure;
    uint32_t n = failure->trace->n_positions, *positions = xcalloc(n, sizeof(*positions));
    struct trials trials = {.search = search, .steps = xcalloc(failure->plan->n_steps, 1)};
    const struct span_edit none = {.trial = &trials.trial, .steps = trials.steps};
    trials.trial.steps = trials.steps;
    trials.trial.positions = positions;
    trials.trial.attention = xcalloc(n, sizeof(*trials.trial.attention));
    for (uint32_t p = 0; p < n; p++) {
        positions[p] = p;
        trials.trial.prompt += failure->trace->phase[p] == PHASE_PREFILL;
    }
    trials.right = span_miss(search, &none, false);
    bool explained = (is_asked_for(&trials, KIND_VISIBLE_KEYS) && try_keys(&trials, found)) ||
                     (is_asked_for(&trials, KIND_POSITIONS) && try_positions(&trials, found));
    free(trials.trial.attention);
    free(trials.steps);
    free(positions);
    return explained;
}
