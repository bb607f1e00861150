#include "workbench/text/suggest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MOST 63 /* characters of a word that are looked at */

/* A character as it counts: names are alike in either case, and with - for _. */
static int fold(char c)
{
    return c == '_' ? '-' : tolower((unsigned char)c);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* How many characters have to be added, taken out, changed, or exchanged with the next one to make b of a (Damerau and
 * Levenshtein's distance, each place touched once). */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][MOST + 1], n_a = (unsigned)strnlen(a, MOST), n_b = (unsigned)strnlen(b, MOST);
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= n_b; j++) {
        last[j] = j;
    }
    for (unsigned i = 1; i <= n_a; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= n_b; j++) {
            unsigned change = last[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            row[j] = least(change, least(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1])) {
                row[j] = least(row[j], before[j - 2] + 1);
            }
        }
        unsigned *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[n_b];
}

static unsigned common_beginning(const char *a, const char *b)
{
    unsigned n = 0;
    while (a[n] != '\0' && fold(a[n]) == fold(b[n])) {
        n++;
    }
    return n;
}

/* The end of the name that was meant may be missing; then only the rest counts as a third. */
void suggest_offer(struct suggestion *suggestion, const char *name)
{
    unsigned length = (unsigned)strnlen(suggestion->word, MOST), n_name = (unsigned)strnlen(name, MOST);
    unsigned most = ((length > n_name ? length : n_name) + 1) / 3, common = common_beginning(suggestion->word, name);
    unsigned d = distance(suggestion->word, name);
    bool beginning = length >= 3 && common == length;
    if (length < 2 || (!beginning && d > (most > 0 ? most : 1)) || d >= length + (beginning ? MOST : 0)) {
        return;
    }
    unsigned more = length > n_name ? length - n_name : n_name - length;
    unsigned changes = beginning ? 2 + d / 3 : 2 * d + (more > 0); /* of two, the one of the same length… */
    unsigned score = changes * (MOST + 1) + MOST - common;         /* …and then of the same beginning */
    if (suggestion->best[0] == '\0' || score < suggestion->score) {
        suggestion->score = score;
        snprintf(suggestion->best, sizeof(suggestion->best), "%s", name);
    }
}

void suggest_offer_all(struct suggestion *suggestion, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        suggest_offer(suggestion, names[i]);
    }
}

const char *suggest_text(const struct suggestion *suggestion, char text[SUGGEST_SIZE])
{
    text[0] = '\0';
    if (suggestion->best[0] != '\0' && strcmp(suggestion->best, suggestion->word) != 0) {
        snprintf(text, SUGGEST_SIZE, "; did you mean %s?", suggestion->best);
    }
    return text;
}
