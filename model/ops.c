#include "model/ops.h"

#include "model/error.h"

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
