/* Attention that reads other recorded stages than its own: keys for values, another layer's cache, queries that are not
 * rotated. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/attention_rows.h"

/* What the inputs are read from; NULL: from where they should be. */
struct wired {
    const struct trace_stage *from[3];
};

/* Whether a stage holds finite values in every row that the trial's rows read of an input. */
static bool is_whole(const struct solve *solve, const struct trace_stage *stage, unsigned input)
{
    const struct op_row *rows = solve->trial->rows.rows;
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        for (uint32_t p = input == 0 ? rows[i].position : 0; p <= rows[i].position; p++) {
            const float *row = trace_row(stage, p);
            for (uint32_t d = 0; d < stage->width; d++) {
                if (!row || !isfinite(row[d])) {
                    return false;
                }
            }
        }
    }
    return true;
}

/* Whether an input may be read from a stage: of its width, and not its own. */
static bool may_read(const struct solve *solve, const struct trace_stage *stage, unsigned input)
{
    const struct evidence *evidence = solve->evidence;
    const struct attention_params *p = &evidence->step->params.attention;
    const struct step *own = &evidence->plan->steps[evidence->step->input[input]];
    bool same = stage->layer == own->layer && stage->stage == own->stage;
    uint32_t width = (input == 0 ? p->heads : p->kv_heads) * p->dim;
    return stage->width == width && own->width == width && !same && stage != evidence->stage &&
           !stage_is_integer(stage->stage) && is_whole(solve, stage, input);
}

static bool prove(const struct solve *solve, const struct wired *wired, struct proof *proof)
{
    struct op_row *rows = proof_rows(solve);
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        rows[i].probs = NULL;
        for (unsigned input = 0; input < 3; input++) {
            const struct trace_stage *from = wired->from[input];
            rows[i].in[input] =
                from ? (input == 0 ? trace_row(from, rows[i].position) : from->rows) : rows[i].in[input];
        }
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(rows);
    return explains;
}

static void describe(const struct solve *solve, const struct wired *wired, const struct proof *proof,
                     struct diagnosis *found)
{
    static const char *const what[] = {"queries", "keys", "values"};
    char text[300] = "";
    size_t n = 0;
    for (unsigned input = 0; input < 3; input++) {
        const struct trace_stage *from = wired->from[input];
        if (from) {
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s are layer %d %s", n ? ", its " : "", what[input],
                                  from->layer, stage_name(from->stage));
        }
    }
    proof_tell(solve, proof, found, "Attention reads other stages than its own: its %s.", text);
}

static bool try_wired(const struct solve *solve, const struct wired *wired, struct diagnosis *found)
{
    struct proof proof;
    bool explains = !stop_asked() && prove(solve, wired, &proof);
    if (explains) {
        describe(solve, wired, &proof, found);
    }
    return explains;
}

/* Values that are rotated as keys are. */
static bool are_values_rotated(const struct solve *solve, struct diagnosis *found)
{
    const struct evidence *evidence = solve->evidence;
    const struct step *rope = &evidence->plan->steps[evidence->step->input[1]];
    const struct step *from = &evidence->plan->steps[evidence->step->input[2]];
    const struct trace_stage *values = trace_find_step(evidence->trace, from);
    uint32_t n = evidence->trace->n_positions;
    if (rope->op != OP_rope || !values || values->width != rope->width || !may_read(solve, values, 1)) {
        return false;
    }
    struct op_row *rows = xcalloc(n, sizeof(*rows)), *edited = proof_rows(solve);
    double *y = xcalloc((uint64_t)n * rope->width, sizeof(*y)), *error = xcalloc((uint64_t)n * rope->width, sizeof(*y));
    float *rotated = xcalloc((uint64_t)n * rope->width, sizeof(*rotated));
    for (uint32_t p = 0; p < n; p++) {
        rows[p] =
            (struct op_row){.arith = edited[0].arith, .position = p, .in[0] = values->rows + (uint64_t)p * rope->width};
    }
    op_run(&(struct op_batch){.step = rope, .n_rows = n, .rows = rows, .y = y, .bound = error});
    for (uint64_t at = 0; at < (uint64_t)n * rope->width; at++) {
        rotated[at] = (float)y[at];
        error[at] += fabs(y[at] - rotated[at]);
    }
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        edited[i].in[2] = rotated;
        edited[i].error[2] = error;
        edited[i].probs = NULL;
    }
    struct candidate candidate = trial_candidate(solve->trial, evidence->step);
    struct proof proof;
    candidate.rows = edited;
    bool explains = proof_find(solve, &candidate, &proof);
    if (explains) {
        proof_tell(solve, &proof, found, "Attention reads values that are rotated as keys are: rope is applied to v.");
    }
    free(rotated);
    free(error);
    free(y);
    free(edited);
    free(rows);
    return explains;
}

/* Keys and values of another layer. */
static bool try_other_layers(const struct solve *solve, struct diagnosis *found)
{
    const struct evidence *evidence = solve->evidence;
    const struct step *keys = &evidence->plan->steps[evidence->step->input[1]];
    const struct step *values = &evidence->plan->steps[evidence->step->input[2]];
    for (int32_t layer = 0; layer < (int32_t)evidence->plan->n_layers; layer++) {
        const struct wired wired = {
            {NULL, trace_find(evidence->trace, layer, keys->stage), trace_find(evidence->trace, layer, values->stage)}};
        if (layer != evidence->step->layer && wired.from[1] && wired.from[2] && may_read(solve, wired.from[1], 1) &&
            may_read(solve, wired.from[2], 2) && try_wired(solve, &wired, found)) {
            return true;
        }
    }
    return false;
}

bool solve_attention_wiring(const struct solve *solve, struct diagnosis *found)
{
    const struct evidence *evidence = solve->evidence;
    const struct trace *trace = evidence->trace;
    if (!solve->trial->rows.rows[0].in[0]) {
        return false;
    }
    for (unsigned input = 3; input-- > 0;) {
        for (uint32_t s = 0; s < trace->n_stages; s++) {
            struct wired wired = {{NULL}};
            wired.from[input] = &trace->stages[s];
            if (may_read(solve, &trace->stages[s], input) && try_wired(solve, &wired, found)) {
                return true;
            }
        }
    }
    const struct wired exchanged = {{NULL, trace_find_step(trace, &evidence->plan->steps[evidence->step->input[2]]),
                                     trace_find_step(trace, &evidence->plan->steps[evidence->step->input[1]])}};
    bool can = exchanged.from[1] && exchanged.from[2] && may_read(solve, exchanged.from[1], 1) &&
               may_read(solve, exchanged.from[2], 2);
    return are_values_rotated(solve, found) || (can && try_wired(solve, &exchanged, found)) ||
           try_other_layers(solve, found);
}
