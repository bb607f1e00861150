/* Cures of rows that are recorded in another order of their values. In plan order, each step that fails is computed
 * from stages that are right by then, and its recorded values are tried in every order. One is taken where the values
 * come far closer to what the step computes. Whether the trace is right then is for the audit to say. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/diagnose_internal.h"
#include "workbench/diagnose/recording/cure.h"
#include "workbench/diagnose/recording/recording.h"

enum layout { LAYOUT_AS_IS, LAYOUT_PAIRS, LAYOUT_HEADS_FIRST, LAYOUT_COLUMNS_FIRST, LAYOUT_COUNT };

/* Names and sentences: "q_proj and k_proj" + `are` + `cure`. */
static const struct {
    const char *name, *are, *cure;
} layouts[] = {
    [LAYOUT_AS_IS] = {"", "", ""},
    [LAYOUT_PAIRS] = {"pairs-side-by-side", "in the order of a GGUF file, rope's pairs side by side",
                      "record dims 0, 2, 4 … of each head, then 1, 3, 5 …"},
    [LAYOUT_HEADS_FIRST] = {"heads-first", "recorded as [heads, positions, dim]",
                            "transpose to [positions, heads, dim]"},
    [LAYOUT_COLUMNS_FIRST] = {"columns-first", "recorded as [width, positions]", "transpose to [positions, width]"},
};

/* An order of a stage's values. An engine computes the prompt at once and decodes one position at a time: where it
 * dumps each run's tensor, only the prompt's rows are in another order. */
struct order {
    enum layout layout;
    bool prompt_alone;
};

#define MOST_ORDERS (2 * LAYOUT_COUNT)

/* Values of a head, where the stage has heads; 0: it has none. */
static uint32_t head_dim(const struct plan *plan, const struct trace *trace, const struct trace_stage *stage)
{
    switch (stage->stage) {
    case STAGE_attn_probs:
        return trace->n_positions;
    case STAGE_q_proj:
    case STAGE_k_proj:
    case STAGE_v_proj:
    case STAGE_q_norm:
    case STAGE_k_norm:
    case STAGE_q_rope:
    case STAGE_k_rope:
    case STAGE_attn_out:
        break;
    default:
        return 0;
    }
    int32_t attention = plan_find(plan, stage->layer, STAGE_attn_out);
    return attention >= 0 && plan->steps[attention].op == OP_attention ? plan->steps[attention].params.attention.dim
                                                                       : 0;
}

static bool has_pairs(enum stage stage)
{
    return stage == STAGE_q_proj || stage == STAGE_k_proj || stage == STAGE_q_norm || stage == STAGE_k_norm ||
           stage == STAGE_q_rope || stage == STAGE_k_rope;
}

/* Positions whose rows an order concerns. Returns their number. */
static uint32_t rows_of_order(const struct trace *trace, const struct trace_stage *stage, bool prompt_alone,
                              uint32_t *positions)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        if (stage->recorded[p] && (!prompt_alone || trace->phase[p] == PHASE_PREFILL)) {
            positions[n++] = p;
        }
    }
    return n;
}

/* Brings pairs that lie side by side to halves. */
static void unpair(float *row, uint32_t width, uint32_t dim)
{
    float *head = xmalloc(dim * sizeof(*head));
    for (uint32_t at = 0; at < width; at += dim) {
        for (uint32_t i = 0; i < dim / 2; i++) {
            head[i] = row[at + 2 * i];
            head[i + dim / 2] = row[at + 2 * i + 1];
        }
        memcpy(row + at, head, dim * sizeof(*head));
    }
    free(head);
}

/* Writes the stage's values, put right if they are in that order, to rows [n_positions, width]. false: the stage cannot
 * be in that order, or it makes no difference. */
static bool put_in_order(const struct trace *trace, const struct trace_stage *stage, struct order order, uint32_t dim,
                         float *rows)
{
    uint32_t width = stage->width, part = order.layout == LAYOUT_COLUMNS_FIRST ? 1 : dim;
    if (part == 0 || width % part != 0 ||
        (order.layout == LAYOUT_PAIRS && (dim % 2 != 0 || order.prompt_alone || !has_pairs(stage->stage)))) {
        return false;
    }
    uint32_t *positions = xmalloc(trace->n_positions * sizeof(*positions));
    uint32_t n = rows_of_order(trace, stage, order.prompt_alone, positions), parts = width / part;
    bool differs =
        order.layout == LAYOUT_PAIRS || (n >= 2 && parts >= 2 && (!order.prompt_alone || n < stage->n_recorded));
    memcpy(rows, stage->rows, (uint64_t)trace->n_positions * width * sizeof(*rows));
    for (uint32_t i = 0; i < n && differs; i++) {
        float *row = rows + (uint64_t)positions[i] * width;
        if (order.layout == LAYOUT_PAIRS) {
            unpair(row, width, dim);
            continue;
        }
        for (uint32_t k = 0; k < parts; k++) {
            uint64_t at = ((uint64_t)k * n + i) * part; /* in the values of all rows, one after the other */
            for (uint32_t d = 0; d < part; d++, at++) {
                row[k * part + d] = stage->rows[(uint64_t)positions[at / width] * width + at % width];
            }
        }
    }
    free(positions);
    return differs;
}

/* A stage's values in every order, and how far each is from what the step computes. */
struct orders {
    uint32_t n;
    struct order order[MOST_ORDERS];
    float *rows[MOST_ORDERS]; /* [n_positions, width] */
    double miss[MOST_ORDERS]; /* sum of squares */
};

static void orders_open(struct orders *orders, const struct trace *trace, const struct trace_stage *stage, uint32_t dim)
{
    uint64_t size = (uint64_t)trace->n_positions * stage->width * sizeof(float);
    *orders = (struct orders){.n = 1};
    orders->rows[0] = xmalloc(size);
    memcpy(orders->rows[0], stage->rows, size);
    for (unsigned k = 2 * LAYOUT_PAIRS; k < MOST_ORDERS; k++) {
        struct order order = {.layout = (enum layout)(k / 2), .prompt_alone = k % 2};
        float *rows = xmalloc(size);
        if (!put_in_order(trace, stage, order, dim, rows)) {
            free(rows);
            continue;
        }
        orders->order[orders->n] = order;
        orders->rows[orders->n++] = rows;
    }
}

static void orders_close(struct orders *orders)
{
    for (uint32_t k = 0; k < orders->n; k++) {
        free(orders->rows[k]);
    }
}

/* The order that comes closest, where it misses by less than a quarter, in rms, of what the recorded one misses
 * (contrast_tells asks the same of mutants). 0: as it was recorded, or a value is not finite. */
static uint32_t closest_order(struct orders *orders, struct op_trial *trial, const struct step *step)
{
    uint32_t width = step->width, best = 0;
    for (uint32_t first = 0, n; first < trial->rows.n; first += n) {
        n = trial->rows.n - first < trial->at_once ? trial->rows.n - first : trial->at_once;
        trial_run(trial, step, trial->rows.rows + first, n);
        for (uint32_t k = 0; k < orders->n; k++) {
            for (uint64_t i = 0; i < (uint64_t)n * width; i++) {
                uint64_t row = trial->rows.rows[first + i / width].position;
                double miss = orders->rows[k][row * width + i % width] - trial->expected[i];
                orders->miss[k] += isfinite(miss) ? miss * miss : INFINITY;
            }
        }
    }
    for (uint32_t k = 1; k < orders->n; k++) {
        bool tells = isfinite(orders->miss[0]) && 16 * orders->miss[k] <= orders->miss[0];
        best = tells && (best == 0 || orders->miss[k] < orders->miss[best]) ? k : best;
    }
    return best;
}

/* The same of the row at one position, by values alone; all others of the step's stage are hidden meanwhile. */
static bool row_is_closer(struct orders *orders, const struct plan *plan, uint32_t s, struct trace *trace,
                          uint32_t position)
{
    const struct step *step = &plan->steps[s];
    struct trace_stage whole, *stage = trace_find_step(trace, step);
    struct spans spans;
    struct rows rows;
    double miss[MOST_ORDERS] = {0};
    double *y = xmalloc(step->width * sizeof(*y));
    trace_hide_others(trace, stage, position, 1, &whole);
    spans_open(&spans, plan, trace);
    spans.values_only = true;
    rows_gather(&rows, plan, s, trace, &spans);
    op_run(&(struct op_batch){
        .step = step, .weights_dtype = stage->weights_dtype, .n_rows = rows.n, .rows = rows.rows, .y = y});
    bool closer = false;
    for (uint32_t k = 0; k < orders->n && rows.n > 0; k++) {
        for (uint32_t d = 0; d < step->width; d++) {
            double difference = orders->rows[k][(uint64_t)position * step->width + d] - y[d];
            miss[k] += difference * difference;
        }
        closer |= k > 0 && 16 * miss[k] <= miss[0];
    }
    rows_free(&rows);
    spans_close(&spans);
    trace_show_all(stage, &whole);
    free(y);
    return closer;
}

/* Whether an order may come closest: it does so in the last row, or in the last of the prompt. A span of all rows takes
 * far longer than of two. */
static bool may_be_in_order(struct orders *orders, const struct plan *plan, uint32_t s, struct trace *trace)
{
    const struct trace_stage *stage = trace_find_step(trace, &plan->steps[s]);
    bool may = false;
    for (unsigned phase = PHASE_PREFILL; phase <= PHASE_DECODE && !may && orders->n > 1; phase++) {
        uint32_t end = trace->n_positions;
        while (end > 0 && !(stage->recorded[end - 1] && trace->phase[end - 1] == phase)) {
            end--;
        }
        may = end > 0 && row_is_closer(orders, plan, s, trace, end - 1);
    }
    return may;
}

/* Puts one step's stage right, if an order of its values does. */
static struct order cure_step(const struct plan *plan, uint32_t s, struct trace *trace)
{
    const struct step *step = &plan->steps[s];
    struct trace_stage *stage = trace_find_step(trace, step);
    struct order taken = {LAYOUT_AS_IS, false};
    struct op_trial trial;
    if (!stage || stage_is_integer(step->stage)) {
        return taken;
    }
    struct orders orders;
    orders_open(&orders, trace, stage, head_dim(plan, trace, stage));
    if (!may_be_in_order(&orders, plan, s, trace)) {
        orders_close(&orders);
        return taken;
    }
    trial_open(&trial, plan, s, trace);
    if (trial.rows.n > 0 && trial_sort_failing_first(&trial, step) > 0) {
        uint32_t best = closest_order(&orders, &trial, step);
        if (best > 0) {
            taken = orders.order[best];
            memcpy(stage->rows, orders.rows[best], (uint64_t)trace->n_positions * stage->width * sizeof(float));
            if (stage->error) {
                stage_set_rounded(stage, trace->n_positions, stage->arith.u_rounded);
            }
        }
    }
    trial_close(&trial);
    orders_close(&orders);
    return taken;
}

/* Adds to a text, as far as there is room. */
static void append(struct cure *cure, const char *text)
{
    size_t length = strlen(cure->text);
    snprintf(cure->text + length, sizeof(cure->text) - length, "%s", text);
}

/* "q_proj, k_proj and v_proj": the stages of which some step has the layout. Returns their number. */
static uint32_t append_stages(struct cure *cure, const struct plan *plan, const struct order *orders,
                              enum layout layout)
{
    bool has[STAGE_COUNT] = {false};
    uint32_t n = 0, left;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        n += orders[s].layout == layout && !has[plan->steps[s].stage];
        has[plan->steps[s].stage] |= orders[s].layout == layout;
    }
    left = n;
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        if (has[stage]) {
            append(cure, stage_name((enum stage)stage));
            left--;
            append(cure, left > 1 ? ", " : left == 1 ? " and " : "");
        }
    }
    return n;
}

/* " in layer 0-1, 3", unless a layout is in all layers that hold the stages that have it. */
static void append_layers(struct cure *cure, const struct plan *plan, const struct order *orders, enum layout layout)
{
    uint8_t *has = xcalloc(plan->n_layers, 1);
    uint32_t n = 0;
    char text[32];
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (orders[s].layout == layout && plan->steps[s].layer != LAYER_NONE) {
            n += !has[plan->steps[s].layer];
            has[plan->steps[s].layer] = 1;
        }
    }
    for (uint32_t first = 0, end, n_runs = 0; first < plan->n_layers && n > 0 && n < plan->n_layers; first = end + 1) {
        for (end = first; end < plan->n_layers && has[end]; end++) {
        }
        if (end > first && n_runs++ < 8) { /* more are left out */
            snprintf(text, sizeof(text), end > first + 1 ? "%s%u-%u" : "%s%u", n_runs == 1 ? " in layer " : ", ", first,
                     end - 1);
            append(cure, text);
        }
    }
    free(has);
}

static void tell(struct cure *cure, const struct plan *plan, const struct order *orders)
{
    for (unsigned layout = LAYOUT_PAIRS; layout < LAYOUT_COUNT; layout++) {
        bool any = false, prompt_alone = true;
        for (uint32_t s = 0; s < plan->n_steps; s++) {
            any |= orders[s].layout == layout;
            prompt_alone &= orders[s].layout != layout || orders[s].prompt_alone;
        }
        if (!any) {
            continue;
        }
        append(cure, cure->name ? "; " : "");
        cure->name = cure->name ? cure->name : layouts[layout].name;
        uint32_t n = append_stages(cure, plan, orders, (enum layout)layout);
        append_layers(cure, plan, orders, (enum layout)layout);
        append(cure, n == 1 ? " is " : " are ");
        append(cure, layouts[layout].are);
        append(cure, prompt_alone ? " in the prompt's rows; " : "; ");
        append(cure, layouts[layout].cure);
    }
}

bool cure_layout(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    struct order *orders = xcalloc(plan->n_steps, sizeof(*orders));
    bool any = false;
    for (uint32_t s = 0; s < plan->n_steps && !stop_asked(); s++) {
        if (!any && cure->before[s] == STEP_PASSES) {
            continue; /* it does so still */
        }
        orders[s] = cure_step(plan, s, trace);
        cure->changed[s] = orders[s].layout != LAYOUT_AS_IS;
        any |= cure->changed[s];
    }
    if (any) {
        tell(cure, plan, orders);
    }
    free(orders);
    return any;
}
