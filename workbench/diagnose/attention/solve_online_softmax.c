/* The softmax by tiles of keys, with a running maximum m: at a larger maximum the sum so far, and the weighted sum of
 * values so far, must be multiplied by exp(old m - m). One of them, or both, is not. A key then keeps the maximum of
 * its own tile, m_t: its exponential is too large by exp(m - m_t). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/attention_rows.h"

enum not_rescaled { SUM = 1, VALUES = 2, BOTH = SUM | VALUES };

struct online {
    enum not_rescaled not_rescaled;
    uint32_t tile;
    bool from_first; /* tiles begin at the first visible key; else at multiples of their size */
};

/* One row's trial, with what it points to. */
struct online_row {
    struct attention_trial trial;
    double *added, *sinks, *times;
};

static void online_row_free(struct online_row *online)
{
    free(online->added);
    free(online->sinks);
    free(online->times);
}

/* The sums of one head: by right exponentials, and by those too large. added[j]: by how much a score is. */
static void add_up(const double *scores, uint32_t n, uint32_t first, const struct online *online, double *added,
                   double *right, double *wrong)
{
    double largest = -INFINITY, running = -INFINITY;
    for (uint32_t j = 0; j < n; j++) {
        largest = fmax(largest, scores[j]);
    }
    *right = *wrong = 0;
    for (uint32_t j = 0, end; j < n; j = end) {
        uint32_t from = online->from_first ? j : first + j;
        end = j + online->tile - from % online->tile;
        end = end < n ? end : n;
        for (uint32_t k = j; k < end; k++) {
            running = fmax(running, scores[k]);
        }
        for (uint32_t k = j; k < end; k++) {
            added[k] = largest - running;
            *right += exp(scores[k] - largest);
            *wrong += exp(scores[k] - running);
        }
    }
}

static void online_row_open(struct online_row *online_row, const struct solve *solve, const struct op_row *row,
                            const struct online *online)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    struct attention_row a;
    attention_row_open(&a, solve, row, false);
    uint32_t n = a.right.end - a.right.first, n_keys = a.end - a.first;
    *online_row = (struct online_row){.added = xcalloc((uint64_t)p->heads * n, sizeof(double)),
                                      .sinks = xcalloc(p->heads, sizeof(double)),
                                      .times = xcalloc(p->heads, sizeof(double))};
    for (uint32_t h = 0; h < p->heads; h++) {
        const double *scores = a.scores + (uint64_t)h * n_keys + a.right.first - a.first;
        double right, wrong, largest = -INFINITY;
        for (uint32_t j = 0; j < n; j++) {
            largest = fmax(largest, scores[j]);
        }
        add_up(scores, n, a.right.first, online, online_row->added + (uint64_t)h * n, &right, &wrong);
        double sink = exp(a.sinks[h] - largest), more = wrong - right + sink;
        online_row->sinks[h] = more > 0 ? largest + log(more) : -INFINITY;
        online_row->times[h] = (wrong + sink) / (right + sink);
    }
    attention_row_close(&a);
    online_row->trial.added = online->not_rescaled & VALUES ? online_row->added : NULL;
    online_row->trial.times = online->not_rescaled == VALUES ? online_row->times : NULL;
    online_row->trial.sinks = online->not_rescaled == SUM ? online_row->sinks : NULL;
}

static bool explains_first(const struct solve *solve, const struct online *online)
{
    struct online_row row;
    online_row_open(&row, solve, &solve->trial->rows.rows[0], online);
    bool fits = attention_row_fits(solve, &solve->trial->rows.rows[0], &row.trial);
    online_row_free(&row);
    return fits;
}

static bool explains_all(const struct solve *solve, const struct online *online, double *worst)
{
    uint32_t n = solve->trial->rows.n;
    struct online_row *online_rows = xcalloc(n, sizeof(*online_rows));
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = solve->trial->rows.rows[i];
        if (i < solve->trial->n_failing) { /* the others may be of a phase that has another kernel */
            online_row_open(&online_rows[i], solve, &rows[i], online);
            rows[i].attention = &online_rows[i].trial;
        }
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = trial_explains(solve->trial, &candidate, solve->evidence, worst);
    for (uint32_t i = 0; i < n; i++) {
        online_row_free(&online_rows[i]);
    }
    free(online_rows);
    free(rows);
    return explains;
}

/* The sizes of tiles with which the rows come out as recorded, in words: "2 or 4". Returns how many; *tile: the first.
 */
static uint32_t list_tiles(const struct solve *solve, struct online online, char list[64], uint32_t *tile,
                           double *worst)
{
    uint32_t n = 0;
    size_t length = 0;
    list[0] = '\0';
    for (online.tile = 1; online.tile <= 512 && length + 12 < 64; online.tile *= 2) {
        double of_tile;
        if (!explains_first(solve, &online) || !explains_all(solve, &online, &of_tile)) {
            continue;
        }
        length += (size_t)snprintf(list + length, 64 - length, "%s%u", n > 0 ? " or " : "", online.tile);
        *tile = n == 0 ? online.tile : *tile;
        *worst = n == 0 ? of_tile : *worst;
        n++;
    }
    return n;
}

bool solve_online_softmax(const struct solve *solve, struct diagnosis *found)
{
    static const char *const what[] = {
        [SUM] = "the sum of exponentials is", [VALUES] = "the sum of values is", [BOTH] = "neither sum is"};
    if (!solve->trial->rows.rows[0].in[0]) {
        return false;
    }
    for (uint32_t way = 0; way < 6 && !stop_asked(); way++) {
        const struct online online = {.not_rescaled = (enum not_rescaled)(way / 2 + 1), .from_first = way % 2};
        char tiles[64];
        uint32_t tile;
        double worst;
        uint32_t n = list_tiles(solve, online, tiles, &tile, &worst);
        if (n == 0) {
            continue;
        }
        if (n == 1) {
            found->solved = solved_number("keys of a tile", 0, tile);
        }
        proof_tell(solve, &(struct proof){.worst = worst}, found,
                   "The softmax goes over tiles of %s keys with a running maximum, and %s %srescaled when the "
                   "maximum grows.",
                   tiles, what[online.not_rescaled], online.not_rescaled == BOTH ? "" : "not ");
        return true;
    }
    return false;
}
