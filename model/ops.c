#include "model/ops.h"

#include "model/error.h"
#include "model/variants.h"

static const struct op_info ops[] = {
#define X(name, inputs, weights, what) [OP_##name] = {#name, inputs, weights, what},
    OPS(X) JUDGED_OPS(X)
#undef X
};

const struct op_info *op_info(enum op op)
{
    ASSERT(op < OP_END && op != OP_COUNT);
    return &ops[op];
}

bool op_reads_earlier(enum op op, unsigned input)
{
    return (op == OP_attention || op == OP_attention_probs) && input > 0;
}

static const struct variant_info variants[] = {
#define X(name, op, how) {#name, OP_##op, MUTANT_##how},
    VARIANTS(X)
#undef X
};

const struct variant_info *variant_info(uint32_t variant)
{
    ASSERT(variant < VARIANT_COUNT);
    return &variants[variant];
}
