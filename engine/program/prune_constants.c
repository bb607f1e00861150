#include "engine/program/prune_constants.h"

#include <spirv.h>

static uint32_t divided(uint32_t a, uint32_t b)
{
    return b ? a / b : 0;
}

/* The result of an operation on words of 32 bits; false is 0, true is 1. Returns false for an operation that is not
 * known. */
static bool fold(uint32_t op, const uint32_t in[3], uint32_t *out)
{
    uint32_t a = in[0], b = in[1];
    switch (op) {
    case SpvOpIAdd:
        *out = a + b;
        return true;
    case SpvOpISub:
        *out = a - b;
        return true;
    case SpvOpIMul:
        *out = a * b;
        return true;
    case SpvOpUDiv:
        *out = divided(a, b);
        return b != 0;
    case SpvOpUMod:
        *out = a - divided(a, b) * b;
        return b != 0;
    case SpvOpIEqual:
    case SpvOpLogicalEqual:
        *out = a == b;
        return true;
    case SpvOpINotEqual:
    case SpvOpLogicalNotEqual:
        *out = a != b;
        return true;
    case SpvOpULessThan:
        *out = a < b;
        return true;
    case SpvOpULessThanEqual:
        *out = a <= b;
        return true;
    case SpvOpUGreaterThan:
        *out = a > b;
        return true;
    case SpvOpUGreaterThanEqual:
        *out = a >= b;
        return true;
    case SpvOpLogicalAnd:
        *out = a && b;
        return true;
    case SpvOpLogicalOr:
        *out = a || b;
        return true;
    case SpvOpLogicalNot:
        *out = !a;
        return true;
    case SpvOpSelect:
        *out = a ? b : in[2];
        return true;
    default:
        return false;
    }
}

/* OpSpecConstantOp: type, id, operation, operands. */
static void fold_operation(const struct prune_module *module, const uint32_t *instruction, uint32_t n)
{
    uint32_t in[3] = {0};
    if (n < 5 || n > 7) {
        return;
    }
    for (uint32_t i = 4; i < n; i++) {
        const struct prune_id *operand = prune_id(module, instruction[i]);
        if (!operand->known) {
            return;
        }
        in[i - 4] = operand->value;
    }
    struct prune_id *result = prune_id(module, instruction[2]);
    result->known = fold(instruction[3], in, &result->value);
}

/* A constant that the shader declares with a value, or that the pipeline gives one. */
static void take_value(const struct prune_module *module, uint32_t id, uint32_t value, bool special)
{
    struct prune_id *constant = prune_id(module, id);
    bool given = special && constant->spec_id && constant->spec_id <= module->n_constants;
    constant->value = given ? module->constants[constant->spec_id - 1] : value;
    constant->known = true;
}

void prune_constant(const struct prune_module *module, uint32_t at)
{
    const uint32_t *instruction = module->words + at;
    uint32_t op = instruction[0] & 0xffff, n = instruction[0] >> 16;
    if (op == SpvOpDecorate && n == 4 && instruction[2] == SpvDecorationSpecId) {
        prune_id(module, instruction[1])->spec_id = instruction[3] + 1;
        return;
    }
    if ((op == SpvOpTypeInt && n == 4 && instruction[2] == 32) || (op == SpvOpTypeBool && n == 2)) {
        prune_id(module, instruction[1])->is_word = true;
        return;
    }
    if (n < 3 || !prune_id(module, instruction[1])->is_word) {
        return;
    }
    switch (op) {
    case SpvOpConstantTrue:
    case SpvOpSpecConstantTrue:
        take_value(module, instruction[2], 1, op == SpvOpSpecConstantTrue);
        break;
    case SpvOpConstantFalse:
    case SpvOpSpecConstantFalse:
        take_value(module, instruction[2], 0, op == SpvOpSpecConstantFalse);
        break;
    case SpvOpConstant:
    case SpvOpSpecConstant:
        if (n == 4) {
            take_value(module, instruction[2], instruction[3], op == SpvOpSpecConstant);
        }
        break;
    case SpvOpSpecConstantOp:
        fold_operation(module, instruction, n);
        break;
    default:
        break;
    }
}
