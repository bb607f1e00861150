/* Writes a module anew with what may run (prune_mark.c). A branch whose condition is known becomes one without a
 * condition. Blocks that cannot run disappear, but for those that a living header names as its merge block or continue
 * target: these are left empty, as SPIR-V's rules demand. */
#include "engine/program/prune.h"

#include <spirv.h>
#include <stdlib.h>
#include <string.h>

#include "engine/program/prune_mark.h"
#include "model/error.h"

struct output {
    uint32_t *words;
    uint32_t n;
    bool failed;
};

static void copy(const struct prune_module *module, uint32_t at, struct output *to)
{
    uint32_t n = spirv_length(module, at);
    memcpy(to->words + to->n, module->words + at, n * sizeof(*to->words));
    to->n += n;
}

/* A phi keeps the values of the blocks that still branch to its block. A loop that never comes round again would need a
 * value of its empty continue target: such a module stays as it is. */
static void copy_phi(const struct prune_module *module, uint32_t label, uint32_t at, struct output *to)
{
    uint32_t start = to->n, n = spirv_length(module, at), round = prune_id(module, label)->continues_at;
    to->failed |= round && !prune_id(module, round)->live;
    memcpy(to->words + start, module->words + at, 3 * sizeof(*to->words));
    to->n += 3;
    for (uint32_t i = at + 3; i + 1 < at + n; i += 2) {
        const struct prune_id *from = prune_id(module, module->words[i + 1]);
        if (from->live && prune_branches_to(module, from, label)) {
            to->words[to->n++] = module->words[i];
            to->words[to->n++] = module->words[i + 1];
        }
    }
    to->words[start] = (to->n - start) << 16 | SpvOpPhi;
}

static void put(struct output *to, uint32_t op, uint32_t operand)
{
    to->words[to->n++] = 2u << 16 | op;
    to->words[to->n++] = operand;
}

/* A block that cannot run, but is named: empty. */
static void put_stub(const struct prune_id *block, uint32_t label, struct output *to)
{
    if (block->stub_loop && block->stub_loop != label) {
        put(to, SpvOpLabel, label);
        put(to, SpvOpBranch, block->stub_loop);
    } else if (block->stub_merge) {
        put(to, SpvOpLabel, label);
        to->words[to->n++] = 1u << 16 | SpvOpUnreachable;
    }
}

/* Copies an instruction of a block that may run. */
static void copy_live(const struct prune_module *module, uint32_t label, uint32_t at, struct output *to)
{
    const struct prune_id *block = prune_id(module, label);
    uint32_t op = spirv_op(module, at);
    if (op == SpvOpPhi) {
        copy_phi(module, label, at, to);
    } else if (block->taken && at == block->end) {
        put(to, SpvOpBranch, block->taken);
    } else if (!block->taken || op != SpvOpSelectionMerge) {
        copy(module, at, to);
    }
}

/* The id that an instruction of a function defines; 0: none. */
static uint32_t result_of(const struct prune_module *module, uint32_t at)
{
    switch (spirv_op(module, at)) {
    case SpvOpLabel:
        return module->words[at + 1];
    case SpvOpLine:
    case SpvOpStore:
    case SpvOpCopyMemory:
    case SpvOpControlBarrier:
    case SpvOpMemoryBarrier:
    case SpvOpAtomicStore:
    case SpvOpLoopMerge:
    case SpvOpSelectionMerge:
    case SpvOpBranchConditional:
        return 0;
    default:
        return spirv_length(module, at) > 2 ? module->words[at + 2] : 0;
    }
}

/* Walks the functions. Without `to`: notes which ids are kept and which are removed. With it: writes what is kept. */
static void walk_functions(const struct prune_module *module, uint32_t at, struct output *to)
{
    uint32_t label = 0;
    bool function = false, live = false;
    for (; at < module->n_words; at += spirv_length(module, at)) {
        uint32_t op = spirv_op(module, at);
        if (op == SpvOpFunction) {
            function = live = prune_id(module, module->words[at + 2])->live;
            label = 0;
        } else if (op == SpvOpLabel) {
            label = module->words[at + 1];
            live = function && prune_id(module, label)->live;
        } else if (op == SpvOpFunctionEnd) {
            live = function;
            label = 0;
        }
        const struct prune_id *block = prune_id(module, label);
        bool stub = op == SpvOpLabel && !live && function && (block->stub_loop || block->stub_merge);
        if (!to) {
            uint32_t result = result_of(module, at);
            prune_id(module, result)->kept |= live || stub;
            prune_id(module, result)->removed |= !live && !stub;
        } else if (stub) {
            put_stub(block, label, to);
        } else if (live && label) {
            copy_live(module, label, at, to);
        } else if (live) {
            copy(module, at, to);
        }
    }
}

/* Copies what stands before the functions, without names and decorations of what is removed. Returns where it ends. */
static uint32_t copy_declarations(const struct prune_module *module, struct output *to)
{
    uint32_t at = SPIRV_HEADER_WORDS;
    memcpy(to->words, module->words, SPIRV_HEADER_WORDS * sizeof(*to->words));
    to->n = SPIRV_HEADER_WORDS;
    for (; at < module->n_words && spirv_op(module, at) != SpvOpFunction; at += spirv_length(module, at)) {
        uint32_t op = spirv_op(module, at);
        const struct prune_id *named = prune_id(module, module->words[at + 1]);
        bool gone = named->removed && !named->kept;
        if (!gone || (op != SpvOpName && op != SpvOpDecorate)) {
            copy(module, at, to);
        }
    }
    return at;
}

static uint32_t first_function(const struct prune_module *module)
{
    uint32_t at = SPIRV_HEADER_WORDS;
    while (spirv_op(module, at) != SpvOpFunction) {
        at += spirv_length(module, at);
    }
    return at;
}

void prune(uint32_t **words, size_t *n_bytes, const uint32_t *constants, uint32_t n_constants)
{
    size_t n_words = *n_bytes / sizeof(**words);
    if (n_words <= SPIRV_HEADER_WORDS || n_words > UINT32_MAX || (*words)[3] > n_words) {
        return;
    }
    struct prune_module module = {.words = *words,
                                  .n_words = (uint32_t)n_words,
                                  .n_ids = (*words)[3] + 1,
                                  .constants = constants,
                                  .n_constants = n_constants};
    module.ids = xcalloc(module.n_ids, sizeof(*module.ids));
    struct output to = {xcalloc(2 * n_words, sizeof(uint32_t)), 0, true}; /* an empty block may be longer */
    if (prune_mark(&module)) {
        to.failed = false;
        walk_functions(&module, first_function(&module), NULL);
        walk_functions(&module, copy_declarations(&module, &to), &to);
    }
    free(module.ids);
    if (to.failed) {
        free(to.words);
        return;
    }
    free(*words);
    *words = to.words;
    *n_bytes = to.n * sizeof(*to.words);
}
