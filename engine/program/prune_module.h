/* A SPIR-V module that prune.c prunes: what is known of its ids. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PRUNE_MODULE_H
#define LOCKSTEP_ENGINE_PROGRAM_PRUNE_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPIRV_HEADER_WORDS 5

/* What is known of an id of the module. */
struct prune_id {
    bool is_word; /* a type: bool, or an integer of 32 bits */
    bool known;   /* a constant whose value is known */
    bool live;    /* a function that may be called, or a block that may run */
    bool kept, removed;
    uint32_t value;
    uint32_t spec_id;      /* constant_id + 1; 0: none */
    uint32_t at, end;      /* first word of a function or block; a block's last instruction */
    uint32_t taken;        /* the block that a block always branches to, its condition being known; 0: unknown */
    uint32_t stub_merge;   /* 1: a block that cannot run, but is named as the merge of one that can */
    uint32_t continues_at; /* a loop header's continue target */
    uint32_t stub_loop;    /* the loop header that names a block which cannot run as its continue target */
};

struct prune_module {
    const uint32_t *words;
    uint32_t n_words, n_ids;
    struct prune_id *ids; /* [n_ids] */
    const uint32_t *constants;
    uint32_t n_constants;
};

/* ids[0] belongs to no id; what names an id that is out of range gets it. */
static inline struct prune_id *prune_id(const struct prune_module *module, uint32_t id)
{
    return &module->ids[id < module->n_ids ? id : 0];
}

static inline uint32_t spirv_op(const struct prune_module *module, uint32_t at)
{
    return module->words[at] & 0xffff;
}

static inline uint32_t spirv_length(const struct prune_module *module, uint32_t at)
{
    return module->words[at] >> 16;
}

#endif
