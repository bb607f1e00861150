#include "workbench/audit/hypotheses.h"

#include <math.h>

#include "model/error.h"
#include "reference/integer_weights.h"

static const uint8_t floats[] = {ROUNDING_F16, ROUNDING_BF16};
#define N_FLOATS (sizeof(floats) / sizeof(*floats))

bool op_is_product(enum op op)
{
    return op == OP_matmul || op == OP_expert_matmul;
}

bool op_is_attention(enum op op)
{
    return op == OP_attention || op == OP_attention_probs;
}

/* What products round: floats, or the 8-bit operands that go with a format of weights. */
static uint32_t list_products(const struct step *step, struct roundings *list)
{
    uint64_t n_in = step->op == OP_matmul ? step->params.matmul.n_in : step->params.expert_matmul.n_in;
    uint32_t n = 0;
    for (unsigned f = 0; f < N_FLOATS; f++) {
        list[n++] = (struct roundings){.operands = floats[f]};
    }
    for (unsigned f = 0; f < N_FLOATS; f++) {
        list[n++] = (struct roundings){.operands = floats[f], .weights = floats[f]};
    }
    if (integer_product_fits(step->weight[0], n_in)) {
        uint8_t operands = integer_operand_of(step->weight[0]->dtype);
        list[n++] = (struct roundings){.operands = operands, .to_even = true};
        list[n++] = (struct roundings){.operands = operands};
    }
    return n;
}

/* What attention rounds of its inputs: queries in one type, keys and values in another, or in none. */
struct inputs {
    uint8_t queries, keys_values;
};
static const struct inputs inputs[] = {
    {0, 0},
    {0, ROUNDING_F16},
    {0, ROUNDING_BF16},
    {ROUNDING_F16, 0},
    {ROUNDING_BF16, 0},
    {ROUNDING_F16, ROUNDING_F16},
    {ROUNDING_BF16, ROUNDING_BF16},
    {ROUNDING_F16, ROUNDING_BF16},
    {ROUNDING_BF16, ROUNDING_F16},
};
#define N_INPUTS (sizeof(inputs) / sizeof(*inputs))

/* The hypotheses of one step. */
struct listing {
    const struct step *step;
    uint32_t n_positions;
    struct roundings *list;
    uint32_t n;
};

static const struct attention_params *attention_of(const struct step *step)
{
    return step->op == OP_attention ? &step->params.attention : &step->params.attention_probs.attention;
}

/* Whether it makes a difference that queries are scaled before they are rounded: scaling by a power of two makes none.
 */
static bool scale_matters(const struct step *step, uint8_t queries)
{
    int exponent;
    return queries != ROUNDING_NONE && fabs(frexp((double)attention_of(step)->scale, &exponent)) != 0.5;
}

/* Adds what rounds these inputs. An attention whose probabilities are recorded has no accumulator in them. */
static void add(struct listing *listing, struct roundings roundings, const struct inputs *of)
{
    if (listing->step->op == OP_attention_probs &&
        (roundings.accumulator || (roundings.tile > 0 && roundings.unnormalised))) {
        return;
    }
    roundings.queries = of->queries;
    roundings.keys_values = of->keys_values;
    if (roundings_any(&roundings)) {
        ASSERT(listing->n < HYPOTHESES_MOST);
        listing->list[listing->n++] = roundings;
        if (scale_matters(listing->step, of->queries)) {
            roundings.scaled_queries = true;
            ASSERT(listing->n < HYPOTHESES_MOST);
            listing->list[listing->n++] = roundings;
        }
    }
}

/* Adds an unnormalised softmax with every sum, and with the sink in the maximum and not. */
static void add_unnormalised(struct listing *listing, struct roundings roundings, const struct inputs *of)
{
    bool sinks = attention_of(listing->step)->has_sinks;
    uint8_t last_sum = roundings.probs == ROUNDING_NONE ? SUM_EXACT : sinks ? SUM_ROUNDED_BUT_SINK : SUM_ROUNDED;
    roundings.unnormalised = true;
    for (uint8_t sum = SUM_EXACT; sum <= last_sum; sum++) {
        for (int in_maximum = sinks; in_maximum >= 0; in_maximum--) {
            roundings.sums = sum;
            roundings.sink_in_maximum = in_maximum;
            add(listing, roundings, of);
        }
    }
}

/* Tiles of keys: all of them, or as many as kernels take, where the trace has more positions than a tile. */
static const uint8_t tiles[] = {0, 1, 32, 64, 128};
#define N_TILES (sizeof(tiles) / sizeof(*tiles))

/* A tile of one key is a key, and one of all keys is never rescaled. */
static uint8_t most_adds(uint8_t tile)
{
    return tile == 1 ? ADD_KEYS : tile == 0 ? ADD_TILES : ADD_TILES_FUSED;
}

/* An accumulator in 16 bits, of keys or of tiles, and probabilities in float32 or in its type. */
static void add_accumulators(struct listing *listing, uint8_t type, const struct inputs *of)
{
    for (unsigned rounds_probs = 0; rounds_probs < 2; rounds_probs++) {
        struct roundings roundings = {.accumulator = type, .probs = rounds_probs ? type : ROUNDING_NONE};
        for (unsigned t = 0; t < N_TILES; t++) {
            roundings.tile = tiles[(t + 1) % N_TILES]; /* key by key is ggml's, the simplest */
            if (roundings.tile > 1 && roundings.tile >= listing->n_positions) {
                continue; /* as if all keys were one tile */
            }
            for (uint8_t adds = ADD_KEYS; adds <= most_adds(roundings.tile); adds++) {
                roundings.adds = adds;
                add_unnormalised(listing, roundings, of);
            }
        }
        roundings.tile = roundings.adds = 0;
        add(listing, roundings, of);
    }
}

/* Probabilities, and scores in no type or in theirs; a file whose stages are stored in 16 bits says nothing of both. */
static void add_probs(struct listing *listing, const struct inputs *of)
{
    for (unsigned f = 0; f < N_FLOATS; f++) {
        add(listing, (struct roundings){.probs = floats[f]}, of);
    }
    for (unsigned f = 0; f < N_FLOATS; f++) {
        for (unsigned t = 0; t < N_TILES; t++) {
            if (tiles[t] <= 1 || tiles[t] < listing->n_positions) {
                add_unnormalised(listing, (struct roundings){.probs = floats[f], .tile = tiles[t]}, of);
            }
        }
    }
    for (unsigned f = 0; f < N_FLOATS && (of->queries == ROUNDING_NONE || of->queries == floats[f]); f++) {
        for (unsigned how = 0; how < 4; how++) {
            struct roundings roundings = {
                .scores = floats[f], .scores_once = (how & 1) != 0, .shifted = how & 2 ? floats[f] : ROUNDING_NONE};
            add(listing, roundings, of);
            roundings.probs = floats[f];
            add(listing, roundings, of);
            add_unnormalised(listing, roundings, of);
        }
    }
}

/* What attention rounds to floats: the fewest roundings first. */
static uint32_t list_attention(const struct step *step, uint32_t n_positions, struct roundings *list)
{
    struct listing listing = {.step = step, .n_positions = n_positions, .list = list};
    for (unsigned i = 0; i < N_INPUTS; i++) {
        add(&listing, (struct roundings){0}, &inputs[i]);
    }
    for (unsigned i = 0; i < N_INPUTS; i++) {
        add_probs(&listing, &inputs[i]);
    }
    for (unsigned i = 0; i < N_INPUTS; i++) {
        for (unsigned f = 0; f < N_FLOATS; f++) {
            add_accumulators(&listing, floats[f], &inputs[i]);
        }
    }
    return listing.n;
}

/* A KV cache that is declared to hold blocks: how they are cut and rounded, whether queries are as well (ggml's flash
 * attention on the CPU multiplies blocks by blocks), and what else is rounded to floats. */
static uint32_t list_caches(uint8_t blocks, uint8_t values, struct roundings *list)
{
    uint32_t n = 0;
    for (unsigned how = 0; how < 4; how++) {
        struct roundings cache = {.keys_values = blocks, .values = values, .to_even = how & 1, .in_pairs = how & 2};
        list[n++] = cache;
        cache.queries = ROUNDING_Q8_0;
        list[n++] = cache;
        for (unsigned i = 0; i < 3 * N_FLOATS; i++) {
            cache.queries = i / N_FLOATS == 1   ? ROUNDING_Q8_0
                            : i / N_FLOATS == 2 ? floats[i % N_FLOATS]
                                                : ROUNDING_NONE;
            list[n] = cache;
            list[n++].probs = floats[i % N_FLOATS];
            list[n] = cache;
            list[n].accumulator = floats[i % N_FLOATS];
            list[n].unnormalised = true;
            list[n++].tile = 1;
        }
        for (unsigned f = 0; f < N_FLOATS; f++) {
            cache.queries = floats[f];
            list[n++] = cache;
        }
    }
    return n;
}

/* Values in blocks as keys are, or in floats. */
static uint32_t list_block_caches(uint8_t blocks, struct roundings *list)
{
    uint32_t n = list_caches(blocks, ROUNDING_NONE, list);
    for (unsigned f = 0; f < N_FLOATS; f++) {
        n += list_caches(blocks, floats[f], list + n);
    }
    return n;
}

uint32_t hypotheses_list(const struct step *step, uint32_t n_positions, uint8_t cache,
                         struct roundings list[HYPOTHESES_MOST])
{
    uint32_t n = 0;
    if (op_is_product(step->op)) {
        return list_products(step, list);
    }
    if (cache > ROUNDING_BF16) {
        n = list_block_caches(cache, list);
    }
    n += list_attention(step, n_positions, list + n);
    ASSERT(n <= HYPOTHESES_MOST);
    return n;
}

uint32_t span_products_list(struct roundings list[SPAN_PRODUCTS_MOST])
{
    uint32_t n = 0;
    list[n++] = (struct roundings){0};
    for (unsigned f = 0; f < N_FLOATS; f++) {
        list[n++] = (struct roundings){.operands = floats[f]};
    }
    for (unsigned f = 0; f < N_FLOATS; f++) {
        list[n++] = (struct roundings){.operands = floats[f], .weights = floats[f]};
    }
    list[n++] = (struct roundings){.operands = ROUNDING_Q8_0, .to_even = true};
    list[n++] = (struct roundings){.operands = ROUNDING_Q8_0};
    return n;
}

/* Whether it makes a difference in some attention that queries are scaled first. */
static bool any_scale_matters(const struct plan *plan)
{
    bool any = false;
    for (uint32_t s = 0; s < plan->n_steps && !any; s++) {
        any = op_is_attention(plan->steps[s].op) && scale_matters(&plan->steps[s], ROUNDING_F16);
    }
    return any;
}

uint32_t span_attentions_list(const struct plan *plan, uint8_t type, struct roundings *list)
{
    uint32_t n = 0;
    list[n++] = (struct roundings){.keys_values = type, .queries = type == ROUNDING_F16 ? ROUNDING_BF16 : ROUNDING_F16};
    for (unsigned i = 0; i < 4; i++) {
        const struct roundings of = {.keys_values = i & 1 ? type : ROUNDING_NONE,
                                     .queries = i & 2 ? type : ROUNDING_NONE};
        if (roundings_any(&of)) {
            list[n++] = of;
        }
        list[n] = of;
        list[n++].probs = type;
        for (unsigned sum = SUM_EXACT; sum <= SUM_ROUNDED; sum++) {
            list[n] = of;
            list[n].probs = type;
            list[n].unnormalised = true;
            list[n++].sums = (uint8_t)sum;
        }
        list[n] = of;
        list[n].unnormalised = true;
        list[n].accumulator = type;
        list[n++].tile = 1;
    }
    for (uint32_t i = 0, end = n; any_scale_matters(plan) && i < end; i++) {
        if (list[i].queries != ROUNDING_NONE) {
            list[n] = list[i];
            list[n++].scaled_queries = true;
        }
    }
    ASSERT(2 * n <= SPAN_ATTENTIONS_MOST);
    return n;
}
