/* "Did you mean": the name that is most like a misspelt one. */
#ifndef LOCKSTEP_WORKBENCH_TEXT_SUGGEST_H
#define LOCKSTEP_WORKBENCH_TEXT_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

#define SUGGEST_SIZE 128

/* Names are offered one by one; the best one stays. Zero-initialise all but word. */
struct suggestion {
    const char *word; /* as it was typed */
    char best[SUGGEST_SIZE - 32];
    unsigned score; /* of best: the smaller, the more alike */
};

/* Offers a name. One that has too little in common with the word is not taken. */
void suggest_offer(struct suggestion *suggestion, const char *name);

/* Offers names[n]. */
void suggest_offer_all(struct suggestion *suggestion, const char *const *names, size_t n);

/* Writes "; did you mean NAME?", or nothing where no name is alike. Returns text. */
const char *suggest_text(const struct suggestion *suggestion, char text[SUGGEST_SIZE]);

#endif
