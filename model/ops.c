#include "model/ops.h"

#include "model/error.h"

static const struct op_info ops[] = {
#define X(name, inputs, weights, what) [OP_##name] = {#name, inputs, weights, what},
    OPS(X)
#undef X
};

const struct op_info *op_info(enum op op)
{
    ASSERT(op < OP_COUNT);
    return &ops[op];
}
