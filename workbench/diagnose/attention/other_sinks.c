#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/attention/denominators.h"

static double right_sink(const struct denominator *row, uint32_t head)
{
    return row->largest[head] + log(row->sink[head]);
}

/* Sinks that are another multiple of the right ones: sink a. Solved where the sink shows most. */
static bool try_scaled_sinks(struct denominators *d, struct diagnosis *found)
{
    double best = 0, times = 0, worst;
    for (uint32_t i = 0; d->has_sinks && i < d->n; i++) {
        for (uint32_t h = 0; h < d->heads; h++) {
            const struct denominator *row = &d->rows[i];
            double sink = row->largest[h] + log(row->sink[h]), score = row->largest[h] + log(row->extra[h]);
            if (row->known[h] * fabs(sink) > best && row->extra[h] > 0) {
                best = row->known[h] * fabs(sink);
                times = score / sink;
            }
        }
    }
    char rounded[32];
    snprintf(rounded, sizeof(rounded), "%.4g", times);
    for (unsigned attempt = 0; best > 0 && attempt < 2; attempt++) {
        double taken = attempt == 0 ? strtod(rounded, NULL) : attention_params_of(d->solve->evidence->step)->scale;
        for (uint64_t i = 0; i < (uint64_t)d->n * d->heads; i++) {
            const struct denominator *row = &d->rows[i / d->heads];
            d->sinks[i] = taken * (row->largest[i % d->heads] + log(row->sink[i % d->heads]));
        }
        if (denominators_prove(d, &worst)) {
            found->solved = solved_number("factor of the sinks", 1, taken);
            proof_tell(d->solve, &(struct proof){.worst = worst}, found,
                       "Each head's sink is multiplied by %g before it joins the softmax.", taken);
            return true;
        }
    }
    return false;
}

/* Whether all failing rows and heads have the factors of X: y = f u. */
/* The worst ratio with one score a head for all rows; infinity: it does not explain them. */
static double try_sinks(struct denominators *d, const double *sinks)
{
    double worst;
    for (uint64_t i = 0; i < (uint64_t)d->n * d->heads; i++) {
        d->sinks[i] = sinks[i % d->heads];
    }
    return denominators_prove(d, &worst) ? worst : INFINITY;
}

/* Sinks of another layer. */
static bool are_of_another_layer(struct denominators *d, double *sinks, struct diagnosis *found)
{
    const struct evidence *evidence = d->solve->evidence;
    float *stored = xcalloc(d->heads, sizeof(*stored));
    bool explains = false;
    for (uint32_t s = 0; s < evidence->plan->n_steps && !explains; s++) {
        const struct step *step = &evidence->plan->steps[s];
        if (step->op != OP_attention || step->layer == evidence->step->layer || !step->params.attention.has_sinks ||
            step->params.attention.heads != d->heads) {
            continue;
        }
        weights_decode(step->weight[0], 0, 0, d->heads, stored);
        for (uint32_t h = 0; h < d->heads; h++) {
            sinks[h] = stored[h];
        }
        double worst = try_sinks(d, sinks);
        explains = worst <= 1;
        if (explains) {
            proof_tell(d->solve, &(struct proof){.worst = worst}, found, "The sinks are those of layer %d.",
                       step->layer);
        }
    }
    free(stored);
    return explains;
}

static bool are_rounded(struct denominators *d, double *sinks, struct diagnosis *found)
{
    for (unsigned type = 0; type < 2; type++) {
        for (uint32_t h = 0; h < d->heads; h++) {
            sinks[h] = round_to_dtype((float)right_sink(&d->rows[0], h), type ? DTYPE_F16 : DTYPE_BF16);
        }
        double worst = try_sinks(d, sinks);
        if (worst <= 1) {
            found->kind = KIND_PRECISION;
            proof_tell(d->solve, &(struct proof){.worst = worst}, found, "The sinks are rounded to %s.",
                       type ? "f16" : "bf16");
            return true;
        }
    }
    return false;
}

/* The right sink that is nearest to what a head's denominators hold, in the row where that shows best: where it is half
 * of the denominator. */
static double nearest_sink(const struct denominators *d, uint32_t h)
{
    double best = 0, held = 0, least = INFINITY, nearest = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct denominator *row = &d->rows[i];
        double shows = fmin(row->extra[h], 1 / row->extra[h]);
        if (shows > best) {
            best = shows;
            held = denominator_score(row, h, row->extra[h]);
        }
    }
    for (uint32_t k = 0; k < d->heads; k++) {
        double sink = right_sink(&d->rows[0], k);
        if (fabs(sink - held) < least) {
            least = fabs(sink - held);
            nearest = sink;
        }
    }
    return nearest;
}

static bool are_of_other_heads(struct denominators *d, double *sinks, struct diagnosis *found)
{
    for (uint32_t h = 0; h < d->heads; h++) {
        sinks[h] = nearest_sink(d, h);
    }
    double worst = try_sinks(d, sinks);
    if (worst <= 1) {
        proof_tell(d->solve, &(struct proof){.worst = worst}, found, "Heads read the sinks of other heads.");
    }
    return worst <= 1;
}

bool sinks_find(struct denominators *d, struct diagnosis *found)
{
    double *sinks = xcalloc(d->heads, sizeof(*sinks));
    bool explains = d->has_sinks && (try_scaled_sinks(d, found) || are_of_another_layer(d, sinks, found) ||
                                     are_rounded(d, sinks, found) || are_of_other_heads(d, sinks, found));
    free(sinks);
    return explains;
}
