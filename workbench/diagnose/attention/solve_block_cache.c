/* Attention over a KV cache of blocks that the trace does not declare, in every way in which an engine whose file does
 * declare it may cut and round them (workbench/audit/hypotheses.h). */
#include <stdio.h>

#include "model/stop.h"
#include "workbench/audit/hypotheses.h"
#include "workbench/diagnose/proof.h"

static void tell(const struct solve *solve, const struct roundings *roundings, const struct proof *proof,
                 struct diagnosis *found)
{
    const char *cache = rounding_name(roundings->keys_values), *queries = rounding_name(roundings->queries);
    snprintf(found->fault, sizeof(found->fault), "kv-cache-%s", cache);
    char values[64] = "", declared[64] = "";
    if (roundings->values != ROUNDING_NONE) {
        const char *type = rounding_name(roundings->values);
        snprintf(values, sizeof(values), ", values in %s", type);
        snprintf(declared, sizeof(declared), " and values_dtype=%s", type);
    }
    proof_tell(solve, proof, found,
               "Precision, not a bug: keys%s are kept in a KV cache of %s (blocks of 32 integers with an f16 "
               "scale%s)%s%s%s%s. Declare kv_dtype=%s%s.",
               roundings->values ? "" : " and values", cache,
               roundings->in_pairs ? ", keys cut in the order of rope's adjacent pairs" : "", values,
               roundings->queries ? ", queries are rounded to " : "", roundings->queries ? queries : "",
               roundings->queries ? " as well" : "", cache, declared);
}

bool solve_block_cache(const struct solve *solve, struct diagnosis *found)
{
    static const uint8_t caches[] = {ROUNDING_Q8_0, ROUNDING_Q4_0};
    if (!solve->trial->rows.rows[0].in[0] || proof_is_blank(solve)) {
        return false;
    }
    for (size_t c = 0; c < sizeof(caches); c++) {
        struct roundings list[HYPOTHESES_MOST];
        uint32_t n = hypotheses_list(solve->evidence->step, 0, caches[c], list);
        for (uint32_t i = 0; i < n && !stop_asked(); i++) {
            struct proof proof;
            if (list[i].keys_values == caches[c] && proof_of_roundings(solve, &list[i], &proof)) {
                tell(solve, &list[i], &proof, found);
                return true;
            }
        }
    }
    return false;
}
