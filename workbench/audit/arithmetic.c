#include "workbench/audit/arithmetic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/integer_weights.h"
#include "workbench/audit/hypotheses.h"

/* The rows of one step and phase, gathered once for all hypotheses. */
struct phase_rows {
    struct rows rows;
    uint32_t n;
    struct op_row *list; /* [n] NULL: not gathered yet */
};

/* The steps of one class that one trace recorded and that were judged from recorded inputs. */
struct class_steps {
    enum op op;
    uint32_t weights;
    unsigned phase;
    uint32_t n;
    uint32_t *steps;         /* [n] */
    uint8_t *fails;          /* [n] in the declared arithmetic */
    struct phase_rows *rows; /* [n] */
};

bool arithmetic_may_explain(const struct step *step, const struct finding *finding)
{
    return (op_is_product(step->op) || op_is_attention(step->op)) && !finding->span;
}

static void phase_rows_gather(struct phase_rows *gathered, const struct plan *plan, uint32_t s,
                              const struct trace *trace, unsigned phase)
{
    rows_gather(&gathered->rows, plan, s, trace, NULL);
    gathered->list = xmalloc((gathered->rows.n + 1) * sizeof(*gathered->list));
    gathered->n = 0;
    for (uint32_t i = 0; i < gathered->rows.n; i++) {
        if (gathered->rows.rows[i].decode == (phase == PHASE_DECODE)) {
            gathered->list[gathered->n++] = gathered->rows.rows[i];
        }
    }
}

static void phase_rows_free(struct phase_rows *gathered)
{
    if (gathered->list) {
        free(gathered->list);
        rows_free(&gathered->rows);
    }
}

/* Whether every row of a step follows from its inputs in an arithmetic. */
static bool explains(const struct step *step, const struct trace_stage *stage, const struct phase_rows *gathered,
                     const struct arith *arith)
{
    for (uint32_t i = 0; i < gathered->n; i++) {
        gathered->list[i].arith = arith;
    }
    bool same = true;
    uint32_t n = gathered->n, most = rows_at_once(n > 0 ? n : 1, step->width);
    double *y = xmalloc((uint64_t)most * step->width * sizeof(*y));
    double *bound = xmalloc((uint64_t)most * step->width * sizeof(*bound));
    /* The first rows are enough to refuse most hypotheses. */
    for (uint32_t first = 0, count = 1; same && first < n && !stop_asked(); first += count, count *= 2) {
        count = count < most ? count : most;
        count = count < n - first ? count : n - first;
        struct op_batch batch = {.step = step,
                                 .weights_dtype = stage->weights_dtype,
                                 .n_rows = count,
                                 .rows = gathered->list + first,
                                 .y = y,
                                 .bound = bound};
        op_run(&batch);
        for (uint32_t i = 0; i < count && same; i++) {
            const float *actual = trace_row(stage, gathered->list[first + i].position);
            for (uint32_t d = 0; d < step->width && same; d++) {
                uint64_t at = (uint64_t)i * step->width + d;
                same = !(judge(y[at], actual[d], bound[at]) > 1);
            }
        }
    }
    free(bound);
    free(y);
    return same;
}

/* Recorded rows of one phase. */
static uint32_t count_rows(const struct trace *trace, const struct step *step, unsigned phase)
{
    const struct trace_stage *stage = trace_find_step(trace, step);
    uint32_t n = 0;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        n += trace_row(stage, p) && trace->phase[p] == phase;
    }
    return n;
}

/* The class of a step in one phase, with all its steps; n 0: none of them fails, or it was found already. */
static struct class_steps class_open(const struct audit *audit, uint32_t t, const struct trace *trace, uint32_t first,
                                     unsigned phase)
{
    const struct plan *plan = audit->plan;
    struct class_steps class = {
        .op = plan->steps[first].op, .weights = step_weights_dtype(&plan->steps[first]), .phase = phase};
    class.steps = xmalloc(plan->n_steps * sizeof(*class.steps));
    class.fails = xcalloc(plan->n_steps, 1);
    class.rows = xcalloc(plan->n_steps, sizeof(*class.rows));
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        const struct finding *finding = audit_finding(audit, s, t);
        if (step->op != class.op || step_weights_dtype(step) != class.weights || finding->state != FINDING_AUDITED ||
            finding->span || count_rows(trace, step, phase) == 0) {
            continue;
        }
        if (finding_failed(finding)) {
            const struct trace_stage *stage = trace_find_step(trace, step);
            struct phase_rows *gathered = &class.rows[class.n];
            phase_rows_gather(gathered, plan, s, trace, phase);
            if (gathered->n == 0) {
                phase_rows_free(gathered);
                *gathered = (struct phase_rows){0};
                continue;
            }
            class.fails[class.n] = !explains(step, stage, gathered, trace_stage_declared(stage, phase));
        }
        class.steps[class.n++] = s;
    }
    return class;
}

static void class_close(struct class_steps *class)
{
    for (uint32_t i = 0; i < class->n; i++) {
        phase_rows_free(&class->rows[i]);
    }
    free(class->rows);
    free(class->steps);
    free(class->fails);
}

/* What a class rounds: beyond what its file declares, or instead of it. */
struct hypothesis {
    struct roundings roundings;
    bool instead; /* the file declares more roundings than the run made */
};

/* The arithmetic of a step's rows of one phase under a hypothesis. */
static struct arith supposed(const struct trace_stage *stage, unsigned phase, const struct hypothesis *hypothesis)
{
    struct arith arith = *trace_stage_declared(stage, phase);
    arith.roundings =
        hypothesis->instead ? hypothesis->roundings : roundings_join(&arith.roundings, &hypothesis->roundings);
    return arith;
}

bool arithmetic_may_miss(uint32_t n_missed, uint32_t n)
{
    return n_missed <= 1 || n_missed * 10 <= n;
}

/* Whether a hypothesis may miss so many steps of a class. Of a few attentions half may be wrong: each of the others has
 * all its rows explained where float32 explains none, so what is missed is a finding, not the arithmetic. */
static bool class_may_miss(const struct class_steps *class, uint32_t n_missed)
{
    bool few = op_is_attention(class->op) && class->n < 10;
    return arithmetic_may_miss(n_missed, class->n) || (few && 2 * n_missed <= class->n);
}

/* Steps that a hypothesis explains, and of them those that fail in the declared arithmetic. Gives up where more
 * are missed than may be. */
static uint32_t count_explained(const struct audit *audit, const struct trace *trace, const struct class_steps *class,
                                const struct hypothesis *hypothesis, uint32_t *n_needed)
{
    uint32_t n = 0, n_missed = 0;
    *n_needed = 0;
    for (int failing = 1; failing >= 0; failing--) { /* where float32 fails first: most hypotheses end there */
        for (uint32_t i = 0; i < class->n && class_may_miss(class, n_missed); i++) {
            if (class->fails[i] != failing) {
                continue;
            }
            const struct step *step = &audit->plan->steps[class->steps[i]];
            const struct trace_stage *stage = trace_find_step(trace, step);
            const struct arith arith = supposed(stage, class->phase, hypothesis);
            if (!class->rows[i].list) {
                phase_rows_gather(&class->rows[i], audit->plan, class->steps[i], trace, class->phase);
            }
            bool explained = explains(step, stage, &class->rows[i], &arith);
            n += explained;
            n_missed += !explained;
            *n_needed += explained && failing;
        }
    }
    return class_may_miss(class, n_missed) ? n : 0;
}

void arithmetic_add(struct arithmetic *arithmetic, const struct arithmetic_class *class)
{
    for (uint32_t i = 0; i < arithmetic->n; i++) {
        struct arithmetic_class *other = &arithmetic->classes[i];
        if (other->op == class->op && other->weights == class->weights && other->spans == class->spans &&
            roundings_equal(&other->roundings, &class->roundings) && other->n_explained == class->n_explained &&
            other->n_steps == class->n_steps) {
            other->phase[PHASE_PREFILL] |= class->phase[PHASE_PREFILL];
            other->phase[PHASE_DECODE] |= class->phase[PHASE_DECODE];
            return;
        }
    }
    if (arithmetic->n < ARITHMETIC_MOST) {
        arithmetic->classes[arithmetic->n++] = *class;
    }
}

/* Takes a class's arithmetic into the trace's stages. */
static void accept(struct arithmetic *arithmetic, const struct audit *audit, struct trace *trace,
                   const struct class_steps *class, const struct hypothesis *hypothesis, uint32_t n_explained)
{
    const struct roundings *roundings = &hypothesis->roundings;
    for (uint32_t i = 0; i < class->n; i++) {
        struct trace_stage *stage = trace_find_step(trace, &audit->plan->steps[class->steps[i]]);
        stage->is_inferred[class->phase] = true;
        stage->inferred[class->phase] = supposed(stage, class->phase, hypothesis);
    }
    struct arithmetic_class found = {.op = class->op,
                                     .weights = class->weights,
                                     .roundings = *roundings,
                                     .n_explained = n_explained,
                                     .n_steps = class->n};
    found.phase[class->phase] = true;
    arithmetic_add(arithmetic, &found);
}

/* A class of one step: what the source's other matrix products round to, if that explains it. */
__attribute__((noinline)) static bool follow_others(struct arithmetic *arithmetic, const struct audit *audit,
                                                    struct trace *trace, const struct class_steps *class)
{
    const struct step *step = &audit->plan->steps[class->steps[0]];
    for (uint32_t i = 0; i < arithmetic->n; i++) {
        const struct arithmetic_class *other = &arithmetic->classes[i];
        struct hypothesis hypothesis = {.roundings = other->roundings};
        uint32_t n_needed;
        if (!op_is_product(other->op)) {
            continue;
        }
        if (hypothesis.roundings.operands > ROUNDING_BF16) {
            if (!integer_product_fits(step->weight[0], step->params.matmul.n_in)) {
                continue;
            }
            hypothesis.roundings.operands = integer_operand_of(step->weight[0]->dtype);
        }
        for (int to_even = 1; to_even >= 0; to_even--) { /* kernels of one program may differ in this */
            hypothesis.roundings.to_even = hypothesis.roundings.operands > ROUNDING_BF16 && to_even;
            if (count_explained(audit, trace, class, &hypothesis, &n_needed) == 1) {
                accept(arithmetic, audit, trace, class, &hypothesis, 1);
                return true;
            }
        }
    }
    return false;
}

/* An attention alone in its class: what another phase's rounds, if that explains it. */
static bool follow_attention(struct arithmetic *arithmetic, const struct audit *audit, struct trace *trace,
                             const struct class_steps *class)
{
    for (uint32_t i = 0; i < arithmetic->n; i++) {
        struct hypothesis hypothesis = {.roundings = arithmetic->classes[i].roundings};
        uint32_t n_needed;
        if (arithmetic->classes[i].op == class->op &&
            count_explained(audit, trace, class, &hypothesis, &n_needed) == 1) {
            accept(arithmetic, audit, trace, class, &hypothesis, 1);
            return true;
        }
    }
    return false;
}

/* Whether a file declares a rounding inside ops for a step of the class. */
static bool declares_roundings(const struct audit *audit, const struct trace *trace, const struct class_steps *class)
{
    for (uint32_t i = 0; i < class->n; i++) {
        const struct trace_stage *stage = trace_find_step(trace, &audit->plan->steps[class->steps[i]]);
        if (roundings_any(&trace_stage_declared(stage, class->phase)->roundings)) {
            return true;
        }
    }
    return false;
}

static bool infer_class(struct arithmetic *arithmetic, const struct audit *audit, struct trace *trace,
                        const struct class_steps *class)
{
    struct roundings list[HYPOTHESES_MOST];
    const struct step *first = &audit->plan->steps[class->steps[0]];
    const struct arith *declared = trace_stage_declared(trace_find_step(trace, first), class->phase);
    uint32_t n = hypotheses_list(first, trace->n_positions, declared->roundings.keys_values, list), n_failing = 0;
    for (uint32_t i = 0; i < class->n; i++) {
        n_failing += class->fails[i];
    }
    if (n_failing == 0) {
        return false;
    }
    if (class->n == 1 && !op_is_attention(class->op)) {
        return class->op == OP_matmul && follow_others(arithmetic, audit, trace, class);
    }
    if (class->n == 1 && follow_attention(arithmetic, audit, trace, class)) {
        return true;
    }
    /* An attention alone in its class, in a model of one layer, has as many witnesses as rows. */
    if (class->n == 1 && count_rows(trace, first, class->phase) < 2) {
        return false;
    }
    uint32_t least = class->n == 1 ? 1 : 2;
    /* Where stages are stored in 16 bits, their store hides most of what is rounded before it. */
    bool narrow = declared->u_storage > arith_float32.u_storage;
    uint32_t least_needed = narrow ? 1 : least;
    bool declares = declares_roundings(audit, trace, class);
    struct hypothesis best = {0};
    uint32_t most = 0; /* steps that the best one explains */
    for (uint32_t h = 0; h < (declares ? 2 * n + 1 : n) && most < class->n && !stop_asked(); h++) {
        struct hypothesis hypothesis = {.instead = h >= n};
        hypothesis.roundings = h == n ? (struct roundings){0} : list[h < n ? h : h - n - 1];
        uint32_t n_needed, n_explained = count_explained(audit, trace, class, &hypothesis, &n_needed);
        if (n_explained > most && n_explained >= least && n_needed >= least_needed) {
            most = n_explained;
            best = hypothesis;
        }
    }
    if (most > 0) {
        accept(arithmetic, audit, trace, class, &best, most);
    }
    return most > 0;
}

/* Infers what classes of recorded steps round, and audits them again. alone: classes of one step. */
static void infer_recorded(struct arithmetic *arithmetic, struct audit *audit, const struct trace *const *traces,
                           uint32_t t, struct trace *trace, bool alone)
{
    const struct plan *plan = audit->plan;
    uint8_t *changed = xcalloc(plan->n_steps, 1), *seen[2] = {xcalloc(plan->n_steps, 1), xcalloc(plan->n_steps, 1)};
    bool any = false;
    for (uint32_t s = 0; s < plan->n_steps && !stop_asked(); s++) {
        const struct finding *finding = audit_finding(audit, s, t);
        bool can = finding_failed(finding) && arithmetic_may_explain(&plan->steps[s], finding);
        for (unsigned phase = PHASE_PREFILL; can && phase <= PHASE_DECODE; phase++) {
            if (seen[phase][s]) {
                continue;
            }
            struct class_steps class = class_open(audit, t, trace, s, phase);
            bool infers = class.n > 0 && (class.n == 1) == alone && infer_class(arithmetic, audit, trace, &class);
            for (uint32_t i = 0; i < class.n; i++) {
                seen[phase][class.steps[i]] = 1;
                changed[class.steps[i]] |= infers;
            }
            any |= infers;
            class_close(&class);
        }
    }
    if (any) {
        audit_again(audit, traces, changed);
    }
    free(seen[0]);
    free(seen[1]);
    free(changed);
}

void arithmetic_infer(struct arithmetic *arithmetic, struct audit *audit, const struct trace *const *traces, uint32_t t,
                      struct trace *trace)
{
    *arithmetic = (struct arithmetic){0};
    infer_recorded(arithmetic, audit, traces, t, trace, false);
    arithmetic_infer_spans(arithmetic, audit, traces, t, trace);
    infer_recorded(arithmetic, audit, traces, t, trace, true); /* these follow the others */
}

void arithmetic_attributes(const struct arithmetic_class *class,
                           void (*each)(void *context, const char *attribute, const char *value), void *context)
{
    const struct roundings *r = &class->roundings;
    const struct {
        const char *attribute;
        uint8_t type;
    } all[] = {
        {"operand_dtype", r->operands},       {"weights_dtype", r->weights}, {"operand_dtype", r->queries},
        {"kv_dtype", r->keys_values},         {"values_dtype", r->values},   {"scores_dtype", r->scores},
        {"shifted_scores_dtype", r->shifted}, {"probs_dtype", r->probs},     {"sum_dtype", r->accumulator},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        if (all[i].type != ROUNDING_NONE) {
            each(context, all[i].attribute, rounding_name(all[i].type));
        }
    }
    if (!roundings_any(r)) { /* more exact than its file declares */
        each(context, op_is_product(class->op) ? "operand_dtype" : "kv_dtype", rounding_name(ROUNDING_NONE));
    }
}
