/* The embedding of other tokens: which id's row each recorded row is. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/diagnose/proof.h"

/* The id whose row comes nearest to a recorded one; UINT32_MAX: the user interrupted. */
static uint32_t nearest(const struct solve *solve, const struct op_row *row)
{
    const struct step *step = solve->evidence->step;
    const struct embed_params *p = &step->params.embed;
    uint32_t best = UINT32_MAX;
    double least = INFINITY;
    float *w = xmalloc(p->width * sizeof(*w));
    for (uint32_t id = 0; id < p->vocab && !stop_asked(); id++) {
        double miss = 0;
        weights_decode(step->weight[0], id, 0, p->width, w);
        for (uint32_t d = 0; d < p->width && miss < least; d++) {
            double off = (double)p->scale * w[d] - row->recorded[d];
            miss += off * off;
        }
        if (miss < least) {
            least = miss;
            best = id;
        }
    }
    free(w);
    return best;
}

#define MOST_OTHERS 4 /* rows that have another token's embedding each, in no order */

/* Whether the trace holds the token at another position: its row was taken, which a relation tells. */
static bool is_of_other_row(const struct solve *solve, const struct op_row *row, uint32_t id)
{
    const struct trace *trace = solve->evidence->trace;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        if (p != row->position && trace->tokens[p] >= 0 && (uint32_t)trace->tokens[p] == id) {
            return true;
        }
    }
    return false;
}

/* A few rows alone have the embeddings of tokens that the trace does not hold. */
static bool few_are_others(const struct solve *solve, struct diagnosis *found)
{
    uint32_t n_failing = solve->trial->n_failing;
    struct op_row *rows = proof_rows(solve);
    char list[160] = "";
    size_t length = 0;
    bool explains = n_failing <= MOST_OTHERS;
    for (uint32_t i = 0; i < n_failing && explains; i++) {
        uint32_t id = nearest(solve, &rows[i]);
        length +=
            (size_t)snprintf(list + length, sizeof(list) - length, "%sposition %u has that of id %d in place of %d",
                             i > 0 ? ", " : "", rows[i].position, (int)id, rows[i].token);
        explains = id != UINT32_MAX && !is_of_other_row(solve, &rows[i], id);
        rows[i].token = (int32_t)id;
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    struct proof proof;
    candidate.rows = rows;
    explains = explains && proof_find(solve, &candidate, &proof);
    if (explains) {
        proof_tell(solve, &proof, found, "Rows of the embedding are other tokens': %s.", list);
    }
    free(rows);
    return explains;
}

bool solve_token_rows(const struct solve *solve, struct diagnosis *found)
{
    uint32_t n_failing = solve->trial->n_failing, vocab = solve->evidence->step->params.embed.vocab;
    struct op_row *rows = proof_rows(solve);
    struct proof proof;
    uint32_t first = nearest(solve, &rows[0]);
    int64_t shift = (int64_t)first - rows[0].token;
    bool shifted = first != UINT32_MAX, explains = false;
    for (uint32_t i = 0; i < solve->trial->rows.n && shifted; i++) {
        int64_t id = rows[i].token + shift;
        shifted = (id >= 0 && id < vocab) || i >= n_failing;
        rows[i].token = (int32_t)(id >= 0 && id < vocab ? id : rows[i].token);
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    if (shifted && shift != 0 && n_failing > 1 && (explains = proof_find(solve, &candidate, &proof))) {
        found->solved = solved_number("row of the embedding, from the token's", 0, (double)shift);
        proof_tell(solve, &proof, found, "Every token has the embedding of id %+d.", (int)shift);
    }
    free(rows);
    return explains || few_are_others(solve, found);
}
