#include "workbench/diagnose/attention/failing_heads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_VALUES (1u << 25) /* keys and values that are copied */

/* Heads of a step's rows; 0: they are not made of heads. */
static uint32_t heads_of(const struct step *step)
{
    const union step_params *p = &step->params;
    return step->op == OP_attention  ? p->attention.heads
           : step->op == OP_rope     ? p->rope.heads
           : step->op == OP_rms_norm ? p->rms_norm.groups
                                     : 0;
}

static void find_failing(struct failing_heads *failing, const struct evidence *evidence)
{
    uint32_t width = evidence->step->width, dim = width / failing->n_all;
    uint8_t *fails = xcalloc(failing->n_all, 1);
    for (uint32_t i = 0; i < evidence->n; i++) {
        const float *actual = evidence_actual(evidence, i);
        for (uint32_t d = 0; d < width; d++) {
            fails[d / dim] |= judge(evidence_expected(evidence, i)[d], actual[d], evidence_bound(evidence, i)[d]) > 1;
        }
    }
    for (uint32_t h = 0; h < failing->n_all; h++) {
        if (fails[h]) {
            failing->heads[failing->n++] = h;
        }
    }
    free(fails);
}

/* Copies the failing heads of rows [n, n_all heads of dim]; where `shared` heads of q share one of the rows, that. */
static float *gather(struct failing_heads *failing, const float *rows, uint32_t n, uint32_t dim, uint32_t shared)
{
    uint64_t width = (uint64_t)failing->n_all / shared * dim;
    float *copy = arena_alloc(&failing->arena, (uint64_t)n * failing->n * dim * sizeof(*copy));
    for (uint64_t i = 0; i < (uint64_t)n * failing->n; i++) {
        const float *row = rows + i / failing->n * width;
        memcpy(copy + i * dim, row + (uint64_t)failing->heads[i % failing->n] / shared * dim, dim * sizeof(*copy));
    }
    return copy;
}

/* A vector of one number a head. */
static const struct tensor *gather_tensor(struct failing_heads *failing, const struct tensor *tensor)
{
    struct tensor *copy = arena_alloc(&failing->arena, sizeof(*copy));
    float *all = arena_alloc(&failing->arena, failing->n_all * sizeof(*all));
    weights_decode(tensor, 0, 0, failing->n_all, all);
    *copy = *tensor;
    copy->dtype = DTYPE_F32;
    copy->layout = LAYOUT_ROWS;
    copy->n_dims = 1;
    copy->shape[0] = failing->n;
    copy->bytes = (const uint8_t *)gather(failing, all, 1, 1, 1);
    copy->n_bytes = failing->n * sizeof(float);
    return copy;
}

/* The step with the failing heads alone. */
static void cut_step(struct failing_heads *failing, struct step *step)
{
    step->width = step->width / failing->n_all * failing->n;
    if (step->op == OP_attention) {
        step->params.attention.heads = step->params.attention.kv_heads = failing->n;
        if (step->params.attention.has_sinks) {
            step->weight[0] = gather_tensor(failing, step->weight[0]);
        }
    } else if (step->op == OP_rope) {
        step->params.rope.heads = failing->n;
    } else {
        step->params.rms_norm.groups = failing->n;
    }
}

/* The rows with the failing heads alone. Keys and values are the same for all. */
static void cut_rows(struct failing_heads *failing, const struct solve *solve)
{
    const struct step *step = solve->evidence->step;
    const struct attention_params *p = &step->params.attention;
    uint32_t n = solve->trial->rows.n, n_positions = solve->evidence->trace->n_positions;
    uint32_t dim = step->width / failing->n_all;
    const float *kv[2] = {NULL, NULL};
    for (unsigned i = 0; i < 2 && step->op == OP_attention; i++) {
        kv[i] = gather(failing, solve->trial->rows.rows[0].in[1 + i], n_positions, dim, p->heads / p->kv_heads);
    }
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = solve->trial->rows.rows[i];
        rows[i].in[0] = gather(failing, rows[i].in[0], 1, dim, 1);
        rows[i].recorded = trace_row(&failing->stage, rows[i].position);
        rows[i].probs = NULL;
        if (step->op == OP_attention) {
            rows[i].in[1] = kv[0];
            rows[i].in[2] = kv[1];
        }
    }
    failing->trial.rows = (struct rows){.n = n, .rows = rows};
}

static void cut_trace(struct failing_heads *failing, const struct solve *solve)
{
    const struct trace *trace = solve->evidence->trace;
    uint64_t size = trace->n_stages * sizeof(*trace->stages);
    uint32_t dim = solve->evidence->step->width / failing->n_all;
    failing->stage = *solve->trial->stage;
    failing->stage.width = failing->n * dim;
    failing->stage.rows = gather(failing, solve->trial->stage->rows, trace->n_positions, dim, 1);
    failing->trace = *trace;
    failing->trace.stages = arena_alloc(&failing->arena, size);
    memcpy(failing->trace.stages, trace->stages, size);
    failing->trace.stages[solve->trial->stage - trace->stages] = failing->stage;
}

/* Whether every row is judged from the same recorded keys and values. */
static bool can_cut(const struct solve *solve)
{
    const struct op_row *rows = solve->trial->rows.rows;
    bool can = rows[0].in[0] != NULL && !solve->trial->stage->error;
    for (uint32_t i = 0; i < solve->trial->rows.n && solve->evidence->step->op == OP_attention; i++) {
        can &= rows[i].in[0] && rows[i].in[1] == rows[0].in[1] && rows[i].in[2] == rows[0].in[2];
    }
    return can && (uint64_t)solve->evidence->step->width * solve->evidence->trace->n_positions <= MOST_VALUES;
}

bool failing_heads_open(struct failing_heads *failing, const struct solve *solve)
{
    const struct evidence *evidence = solve->evidence;
    *failing = (struct failing_heads){.n_all = heads_of(evidence->step)};
    if (failing->n_all < 2 || !can_cut(solve)) {
        return false;
    }
    failing->heads = xcalloc(failing->n_all, sizeof(*failing->heads));
    find_failing(failing, evidence);
    if (failing->n == 0 || failing->n == failing->n_all) {
        free(failing->heads);
        return false;
    }
    plan_copy(&failing->plan, evidence->plan);
    struct step *step = &failing->plan.steps[evidence->step_index];
    cut_trace(failing, solve);
    cut_rows(failing, solve);
    cut_step(failing, step);
    struct op_trial *trial = &failing->trial;
    trial->stage = &failing->stage;
    trial->n_failing = solve->trial->n_failing;
    trial->at_once = rows_at_once(trial->rows.n, step->width);
    trial->expected = xmalloc((uint64_t)trial->at_once * step->width * sizeof(double));
    trial->bound = xmalloc((uint64_t)trial->at_once * step->width * sizeof(double));
    evidence_open(&failing->evidence, trial, &failing->plan, evidence->step_index, &failing->trace);
    failing->solve = (struct solve){.trial = trial, .evidence = &failing->evidence};
    return true;
}

void failing_heads_close(struct failing_heads *failing)
{
    evidence_close(&failing->evidence);
    trial_close(&failing->trial);
    plan_free(&failing->plan);
    arena_free(&failing->arena);
    free(failing->heads);
}

void failing_heads_tell(const struct failing_heads *failing, struct diagnosis *found)
{
    size_t length = strlen(found->text);
    char list[96] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < failing->n && n + 8 < sizeof(list); i++) {
        n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%u", i ? ", " : "", failing->heads[i]);
    }
    snprintf(found->text + length, sizeof(found->text) - length, " Only head%s %s of %u %s wrong.",
             failing->n > 1 ? "s" : "", list, failing->n_all, failing->n > 1 ? "are" : "is");
}
