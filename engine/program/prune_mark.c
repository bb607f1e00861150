/* Which blocks may run is found by following calls and branches from the entry point. */
#include "engine/program/prune_mark.h"

#include <spirv.h>
#include <stdlib.h>

#include "engine/program/prune_constants.h"
#include "model/error.h"

#define EXTENSIONS 4096 /* the first opcode of extensions */

/* Whether the selection that starts at `at` is a branch whose condition is known. Sets the block's `taken`. */
static bool find_taken(const struct prune_module *module, struct prune_id *block, uint32_t at)
{
    uint32_t branch = at + spirv_length(module, at);
    if (branch != block->end || spirv_op(module, branch) != SpvOpBranchConditional) {
        return false;
    }
    const struct prune_id *condition = prune_id(module, module->words[branch + 1]);
    if (condition->known) {
        block->taken = module->words[branch + (condition->value ? 2 : 3)];
    }
    return condition->known;
}

/* Finds constants, functions and blocks. Returns false for a module that is left as it is: one that is not sound, has a
 * switch, whose cases may branch to its merge block from anywhere, or has instructions of extensions, as cooperative
 * matrices do. */
static bool scan(const struct prune_module *module)
{
    struct prune_id *block = NULL;
    bool function = false;
    for (uint32_t at = SPIRV_HEADER_WORDS, n; at < module->n_words; at += n) {
        static const uint8_t least[256] = {
            [SpvOpFunction] = 5,  [SpvOpLabel] = 2,          [SpvOpBranch] = 2,     [SpvOpBranchConditional] = 4,
            [SpvOpLoopMerge] = 4, [SpvOpSelectionMerge] = 3, [SpvOpEntryPoint] = 4, [SpvOpDecorate] = 3,
            [SpvOpName] = 3,      [SpvOpFunctionCall] = 4,   [SpvOpPhi] = 3,
        };
        n = spirv_length(module, at);
        uint32_t op = spirv_op(module, at);
        if (n == 0 || n > module->n_words - at || (op < 256 && n < least[op]) || op == SpvOpSwitch ||
            op >= EXTENSIONS) {
            return false;
        }
        function |= op == SpvOpFunction;
        if (function && (op == SpvOpFunction || op == SpvOpLabel)) {
            block = prune_id(module, module->words[at + (op == SpvOpLabel ? 1 : 2)]);
            block->at = at;
        } else if (!block) {
            prune_constant(module, at);
        }
        if (block) {
            block->end = op == SpvOpFunctionEnd ? block->end : at;
        }
    }
    return function;
}

struct worklist {
    uint32_t *ids;
    uint32_t n;
};

static void reach(const struct prune_module *module, struct worklist *list, uint32_t id)
{
    struct prune_id *reached = prune_id(module, id);
    if (!reached->live && reached->at) {
        reached->live = true;
        list->ids[list->n++] = id;
    }
}

/* What an instruction of a block that may run leads to. */
static void follow_instruction(const struct prune_module *module, struct worklist *list, uint32_t id, uint32_t at)
{
    const uint32_t *instruction = module->words + at;
    struct prune_id *block = prune_id(module, id);
    switch (instruction[0] & 0xffff) {
    case SpvOpFunctionCall:
        reach(module, list, instruction[3]);
        break;
    case SpvOpLoopMerge:
        prune_id(module, instruction[1])->stub_merge = 1;
        prune_id(module, instruction[2])->stub_loop = id;
        block->continues_at = instruction[2];
        break;
    case SpvOpSelectionMerge:
        if (!find_taken(module, block, at)) {
            prune_id(module, instruction[1])->stub_merge = 1;
        }
        break;
    case SpvOpBranch:
        reach(module, list, instruction[1]);
        break;
    case SpvOpBranchConditional:
        if (block->taken) {
            reach(module, list, block->taken);
        } else {
            reach(module, list, instruction[2]);
            reach(module, list, instruction[3]);
        }
        break;
    default:
        break;
    }
}

/* Marks the functions and blocks that may run. A function leads to its first block, which is the first label behind it.
 */
static void mark(const struct prune_module *module)
{
    struct worklist list = {xcalloc(module->n_ids, sizeof(uint32_t)), 0};
    for (uint32_t at = SPIRV_HEADER_WORDS; at < module->n_words; at += spirv_length(module, at)) {
        if (spirv_op(module, at) == SpvOpEntryPoint) {
            reach(module, &list, module->words[at + 2]);
        }
    }
    while (list.n > 0) {
        uint32_t id = list.ids[--list.n], at = prune_id(module, id)->at, last = prune_id(module, id)->end;
        if (spirv_op(module, at) == SpvOpFunction) {
            for (at = last; at < module->n_words && spirv_op(module, at) != SpvOpLabel;
                 at += spirv_length(module, at)) {
            }
            reach(module, &list, at < module->n_words ? module->words[at + 1] : 0);
            continue;
        }
        for (; at <= last; at += spirv_length(module, at)) {
            follow_instruction(module, &list, id, at);
        }
    }
    free(list.ids);
}

bool prune_branches_to(const struct prune_module *module, const struct prune_id *block, uint32_t id)
{
    const uint32_t *branch = module->words + block->end;
    if (block->taken) {
        return block->taken == id;
    }
    return (spirv_op(module, block->end) == SpvOpBranch && branch[1] == id) ||
           (spirv_op(module, block->end) == SpvOpBranchConditional && (branch[2] == id || branch[3] == id));
}

/* Finds the values of phis that are constants in every block that may run: of conditions with && and ||. Returns
 * whether there are new ones. */
static bool fold_phis(const struct prune_module *module)
{
    bool found = false;
    uint32_t label = 0;
    for (uint32_t at = SPIRV_HEADER_WORDS, n; at < module->n_words; at += n) {
        const uint32_t *instruction = module->words + at;
        n = spirv_length(module, at);
        label = spirv_op(module, at) == SpvOpLabel ? instruction[1] : label;
        if (spirv_op(module, at) != SpvOpPhi || !prune_id(module, label)->live ||
            prune_id(module, instruction[2])->known || !prune_id(module, instruction[1])->is_word) {
            continue;
        }
        const struct prune_id *first = NULL;
        bool same = true;
        for (uint32_t i = 3; i + 1 < n; i += 2) {
            const struct prune_id *value = prune_id(module, instruction[i]),
                                  *from = prune_id(module, instruction[i + 1]);
            if (from->live && prune_branches_to(module, from, label)) {
                first = first ? first : value;
                same = same && value->known && value->value == first->value;
            }
        }
        if (first && same) {
            prune_id(module, instruction[2])->known = found = true;
            prune_id(module, instruction[2])->value = first->value;
        }
    }
    return found;
}

static void forget_marks(const struct prune_module *module)
{
    for (uint32_t i = 0; i < module->n_ids; i++) {
        struct prune_id *id = &module->ids[i];
        id->live = false;
        id->taken = id->stub_merge = id->stub_loop = id->continues_at = 0;
    }
}

bool prune_mark(const struct prune_module *module)
{
    if (!scan(module)) {
        return false;
    }
    do { /* a phi's value may show that more cannot run */
        forget_marks(module);
        mark(module);
    } while (fold_phis(module));
    return true;
}
