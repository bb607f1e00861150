/* The simplest rule that gives the keys which rows saw. Each rule has at most one number. */
#include <stdio.h>
#include <string.h>

#include "workbench/diagnose/attention/visible_keys.h"

/* A rule: whether row `seen` follows it with the number k. */
typedef bool rule_function(const struct seen *seen, uint32_t k);

static bool right_first(const struct seen *seen)
{
    return seen->range.first == seen->right.first;
}

static bool right_end(const struct seen *seen)
{
    return seen->range.end == seen->right.end;
}

static bool no_gap(const struct seen *seen)
{
    return seen->range.gap_end <= seen->range.gap;
}

static bool sees_nothing(const struct seen *seen, uint32_t k)
{
    (void)k;
    return seen->n == 0;
}

static bool sees_prompt(const struct seen *seen, uint32_t k)
{
    (void)k;
    return seen->prefill && no_gap(seen) && (right_first(seen) || seen->range.first == 0) &&
           seen->range.end == seen->last_prefill + 1;
}

static bool misses_own(const struct seen *seen, uint32_t k)
{
    (void)k;
    return no_gap(seen) && right_first(seen) && seen->range.end + 1 == seen->right.end;
}

static bool misses_last(const struct seen *seen, uint32_t k)
{
    return no_gap(seen) && right_first(seen) && seen->range.end + k == seen->right.end;
}

static bool sees_next(const struct seen *seen, uint32_t k)
{
    uint32_t end = seen->right.end + k, most = seen->last_prefill + 1;
    return no_gap(seen) && right_first(seen) && seen->range.end == (end < most ? end : most);
}

static bool begins_at(const struct seen *seen, uint32_t k)
{
    return no_gap(seen) && right_end(seen) && seen->range.first == k;
}

static bool own_chunk(const struct seen *seen, uint32_t k)
{
    return no_gap(seen) && right_end(seen) && seen->range.first == seen->position / k * k;
}

static bool own_chunk_whole(const struct seen *seen, uint32_t k)
{
    uint32_t end = (seen->position / k + 1) * k, most = seen->last_prefill + 1;
    return no_gap(seen) && seen->range.first == seen->position / k * k && seen->range.end == (end < most ? end : most);
}

static bool whole_tiles(const struct seen *seen, uint32_t k)
{
    return no_gap(seen) && right_first(seen) && seen->range.end == seen->right.end / k * k;
}

static bool to_end_of_tile(const struct seen *seen, uint32_t k)
{
    uint32_t end = (seen->right.end + k - 1) / k * k, most = seen->last_prefill + 1;
    return no_gap(seen) && right_first(seen) && seen->range.end == (end < most ? end : most);
}

static bool window_of(const struct seen *seen, uint32_t k)
{
    uint32_t end = seen->right.end;
    return no_gap(seen) && right_end(seen) && seen->range.first == (k < end ? end - k : 0);
}

static bool ends_at(const struct seen *seen, uint32_t k)
{
    return no_gap(seen) && right_first(seen) && seen->range.end == k;
}

static const struct rule {
    rule_function *holds;
    uint32_t least, most; /* numbers tried; 0, 0: it has none. The largest that fits is taken if `largest` */
    bool largest;
    const char *name; /* of the number */
    const char *text; /* with %u for the number */
} rules[] = {
    {sees_nothing, 0, 0, false, "", "they see no key at all"},
    {sees_prompt, 0, 0, false, "",
     "they see every key of the prompt, those after their own position too: there is no "
     "causal mask"},
    {misses_own, 0, 0, false, "", "their own key is missing"},
    {sees_next, 1, 64, false, "later keys seen", "they see %u keys after their own position"},
    {misses_last, 2, 4096, false, "last keys missing", "their last %u keys, the own one too, are missing"},
    {begins_at, 0, 65535, false, "first key seen", "they see keys from position %u on alone"},
    {own_chunk, 2, 8192, true, "keys of a chunk", "they see the keys of their own chunk of %u alone"},
    {own_chunk_whole, 2, 8192, true, "keys of a chunk", "they see all keys of their own chunk of %u, and no others"},
    {whole_tiles, 2, 1024, true, "keys of a tile",
     "the number of keys is rounded down to a multiple of %u: the last tile, which is not full, is dropped"},
    {to_end_of_tile, 2, 1024, true, "keys of a tile",
     "the number of keys is rounded up to a multiple of %u: later keys of the last tile are not masked"},
    {window_of, 1, 65535, false, "sliding_window", "they see a window of %u keys"},
    {ends_at, 1, 65535, false, "keys seen", "they see no key from position %u on"},
};

/* Whether all rows follow a rule; *number: with which number. Numbers that one row rules out cost little. */
static bool rule_fits(const struct rule *rule, const struct seen *seen, uint32_t n, uint32_t *number)
{
    for (uint32_t i = 0; i <= rule->most - rule->least; i++) {
        uint32_t k = rule->largest ? rule->most - i : rule->least + i, row = 0;
        while (row < n && seen[row].is_range && rule->holds(&seen[row], k)) {
            row++;
        }
        if (row == n) {
            *number = k;
            return true;
        }
    }
    return false;
}

/* Writes "0-3, 6" of keys in order. */
static void list_keys(const uint32_t *keys, uint32_t n, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (uint32_t i = 0, end; i < n && length + 24 < size; i = end) {
        for (end = i + 1; end < n && keys[end] == keys[end - 1] + 1;) {
            end++;
        }
        length += (size_t)snprintf(text + length, size - length, end - i > 1 ? "%s%u-%u" : "%s%u", i ? ", " : "",
                                   keys[i], keys[end - 1]);
    }
    if (n == 0) {
        snprintf(text, size, "none");
    }
}

/* "Rows 7-13", "Row 14". */
static void list_rows(const struct seen *seen, uint32_t n, char text[64])
{
    if (n == 1) {
        snprintf(text, 64, "Row %u", seen[0].position);
    } else {
        snprintf(text, 64, "%s%u-%u", seen[n - 1].position - seen[0].position == n - 1 ? "Rows " : "Rows among ",
                 seen[0].position, seen[n - 1].position);
    }
}

static bool repeats(const struct seen *seen)
{
    for (uint32_t i = 1; i < seen->n; i++) {
        if (seen->keys[i] == seen->keys[i - 1]) {
            return true;
        }
    }
    return false;
}

static bool same_gap(const struct seen *seen, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!seen[i].is_range || no_gap(&seen[i]) || seen[i].range.gap_end != seen[0].range.gap_end) {
            return false;
        }
    }
    return true;
}

void key_rule_find(const struct seen *seen, uint32_t n, char text[KEY_RULE_SIZE], struct solved *solved)
{
    char rows[64], keys[80], rule_text[140];
    uint32_t number = 0;
    const struct rule *end = rules + sizeof(rules) / sizeof(*rules), *rule = rules;
    while (rule < end && !rule_fits(rule, seen, n, &number)) {
        rule++;
    }
    list_rows(seen, n, rows);
    list_keys(seen[0].keys, seen[0].n, keys, sizeof(keys));
    if (rule < end) {
        snprintf(rule_text, sizeof(rule_text), rule->text, number);
        if (rule->most > 0) {
            solved->expected = rule->holds == window_of ? seen[0].right.end - seen[0].right.first : 0;
            solved->found = number;
            snprintf(solved->name, sizeof(solved->name), "%s", rule->name);
        }
    } else if (same_gap(seen, n)) {
        snprintf(rule_text, sizeof(rule_text), "the keys before position %u are lost in part", seen[0].range.gap_end);
    } else if (repeats(&seen[0])) {
        snprintf(rule_text, sizeof(rule_text),
                 "some keys count twice and others never, as where a block of the cache is read in another's place");
    } else {
        snprintf(rule_text, sizeof(rule_text), "they see other keys than the mask shows%s",
                 seen[0].n > 0 && seen[0].keys[0] < seen[0].right.first ? ": old ones are still in the cache" : "");
    }
    snprintf(text, KEY_RULE_SIZE, "%s: %s. Row %u sees the keys %s where %u-%u are visible.", rows, rule_text,
             seen[0].position, keys, seen[0].right.first, seen[0].right.end - 1);
}
