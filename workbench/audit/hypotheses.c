#include "workbench/audit/hypotheses.h"

#include "model/error.h"
#include "reference/integer_weights.h"

bool op_is_product(enum op op)
{
    return op == OP_matmul || op == OP_expert_matmul;
}

/* What products round: floats, or the 8-bit operands that go with a format of weights. */
static uint32_t list_products(const struct step *step, struct roundings *list)
{
    static const uint8_t floats[] = {ROUNDING_F16, ROUNDING_BF16};
    uint64_t n_in = step->op == OP_matmul ? step->params.matmul.n_in : step->params.expert_matmul.n_in;
    uint32_t n = 0;
    for (unsigned f = 0; f < sizeof(floats) / sizeof(*floats); f++) {
        list[n++] = (struct roundings){.operands = floats[f]};
    }
    for (unsigned f = 0; f < sizeof(floats) / sizeof(*floats); f++) {
        list[n++] = (struct roundings){.operands = floats[f], .weights = floats[f]};
    }
    if (integer_product_fits(step->weight[0], n_in)) {
        uint8_t operands = integer_operand_of(step->weight[0]->dtype);
        list[n++] = (struct roundings){.operands = operands, .to_even = true};
        list[n++] = (struct roundings){.operands = operands};
    }
    return n;
}

/* What attention rounds to floats. */
static uint32_t list_attention(enum op op, struct roundings *list)
{
    /* In the order of the number of roundings. */
    static const uint8_t order[] = {1, 2, 4, 8, 3, 5, 6, 9, 10, 12, 7, 11, 13, 14, 15};
    static const uint8_t floats[] = {ROUNDING_F16, ROUNDING_BF16};
    uint32_t n = 0;
    for (unsigned i = 0; i < 2 * sizeof(order); i++) {
        unsigned bits = order[i / 2];
        uint8_t type = floats[i % 2];
        struct roundings r = {.keys_values = bits & 1 ? type : 0,
                              .queries = bits & 2 ? type : 0,
                              .probs = bits & 4 ? type : 0,
                              .accumulator = bits & 8 ? type : 0};
        if (op == OP_attention_probs && (r.probs || r.accumulator)) {
            continue;
        }
        /* Engines with an accumulator in f16 (flash attention) never store probabilities, so both together are no
         * engine's arithmetic. */
        if (r.probs && r.accumulator) {
            continue;
        }
        list[n++] = r;
        if (r.probs) {
            r.unnormalised = true;
            list[n++] = r;
        }
    }
    return n;
}

/* A KV cache that is declared to hold blocks: how they are cut and rounded, whether queries are as well (ggml's flash
 * attention on the CPU multiplies blocks by blocks), and what else is rounded to floats. */
static uint32_t list_block_caches(enum op op, uint8_t blocks, struct roundings *list)
{
    struct roundings floats[HYPOTHESES_MOST];
    uint32_t n_floats = list_attention(op, floats), n = 0;
    for (unsigned how = 0; how < 4; how++) {
        struct roundings cache = {.keys_values = blocks, .to_even = how & 1, .in_pairs = how & 2};
        list[n++] = cache;
        cache.queries = ROUNDING_Q8_0;
        list[n++] = cache;
        for (uint32_t i = 0; i < n_floats; i++) {
            if (floats[i].keys_values == ROUNDING_NONE) {
                list[n] = floats[i];
                list[n].keys_values = blocks;
                list[n].to_even = cache.to_even;
                list[n++].in_pairs = cache.in_pairs;
            }
        }
    }
    return n;
}

uint32_t hypotheses_list(const struct step *step, uint8_t cache, struct roundings list[HYPOTHESES_MOST])
{
    uint32_t n = 0;
    if (op_is_product(step->op)) {
        return list_products(step, list);
    }
    if (cache > ROUNDING_BF16) {
        n = list_block_caches(step->op, cache, list);
    }
    n += list_attention(step->op, list + n);
    ASSERT(n <= HYPOTHESES_MOST);
    return n;
}
