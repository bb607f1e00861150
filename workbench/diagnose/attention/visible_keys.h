/* The keys that each row of an attention saw, and the simplest rule that gives them. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_VISIBLE_KEYS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_VISIBLE_KEYS_H

#include "workbench/diagnose/attention/attention_rows.h"

/* The keys that one failing row saw. */
struct seen {
    uint32_t position;
    bool prefill, is_range;
    uint32_t last_prefill; /* the last position of the row's prefill; its own in a decode row */
    struct key_range right, range;
    uint32_t n;
    uint32_t *keys; /* [n] */
};

/* Solves for the keys of a row that sees no range of them. Writes them to keys[most], repeated where they count more
 * than once; the row then comes out as recorded. 0: no keys do that. */
uint32_t key_counts_find(const struct solve *solve, const struct attention_row *a, uint32_t *keys, uint32_t most);

#define KEY_RULE_SIZE 400 /* bytes */
/* Writes the rule, in words, to text; *solved: its number, if it has one. */
void key_rule_find(const struct seen *seen, uint32_t n, char text[KEY_RULE_SIZE], struct solved *solved);

#endif
