#include "workbench/text/highlight.h"

#include <stdbool.h>
#include <string.h>

#define RED "\033[31m"
#define GREEN "\033[32m"
#define YELLOW "\033[33m"
#define CYAN "\033[36m"
#define BOLD "\033[1m"

/* The first rule that fits a line colours it: where the line begins with the text or, if `inside`, holds it. */
static const struct rule {
    const char *text;
    bool inside, to_end; /* to_end: from there to the end of the line, else the text alone */
    const char *style;
} rules[] = {
    {"diverged", false, false, "\033[1;31m"},
    {"parity", false, false, "\033[1;32m"},
    {"undecided", false, false, "\033[1;33m"},
    {"ANOMALY ", false, true, YELLOW},
    {"PROBE ", false, true, CYAN},
    {"TRACE:", false, true, CYAN},
    {"breakpoint ", false, true, BOLD},
    {" introduces an error at ", true, false, RED},
    {"<--", true, true, RED},
    {"  culprit ", false, false, BOLD},
    {"  cause ", false, false, BOLD},
    {"  next ", false, false, BOLD},
};

/* Where a text stands in a line of `length` bytes; NULL: nowhere. */
static const char *find(const char *line, size_t length, const struct rule *rule)
{
    size_t n = strlen(rule->text);
    if (!rule->inside) {
        return length >= n && memcmp(line, rule->text, n) == 0 ? line : NULL;
    }
    return memmem(line, length, rule->text, n);
}

struct highlight highlight_find(const char *line, size_t length)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const char *found = find(line, length, &rules[i]);
        if (found != NULL) {
            size_t first = (size_t)(found - line), last = rules[i].to_end ? length : first + strlen(rules[i].text);
            return (struct highlight){first, last, rules[i].style};
        }
    }
    return (struct highlight){0};
}
