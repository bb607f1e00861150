/* break, delete, info breakpoints. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/judge.h"
#include "workbench/debugger/run/run.h"

static const char *const condition_names[] = {"", "nan", "maxabs", "ratio"};

/* Whether a breakpoint holds at a step of the current batch. */
static bool holds(const struct repl *repl, const struct repl_breakpoint *point, uint32_t step)
{
    uint32_t batch = repl->n_batches - 1;
    uint32_t first = 0;
    while (first + 1 < repl->n_sides && !repl_side_runs(&repl->sides[first])) {
        first++;
    }
    const struct finding *leader = &repl_judgement_of(repl, batch, first, step)->finding;
    if (point->diverge) {
        for (uint32_t i = 0; i < repl->n_sides; i++) {
            if (finding_failed(&repl_judgement_of(repl, batch, i, step)->finding)) {
                return true;
            }
        }
        return step + 1 == repl->plan->n_steps && repl_choice_failed(repl);
    }
    if (point->step != step) {
        return false;
    }
    switch (point->condition) {
    case BREAK_ALWAYS:
        return true;
    case BREAK_NAN:
        return leader->nonfinite > 0;
    case BREAK_MAXABS:
        return leader->max_abs > point->limit || leader->nonfinite > 0; /* a NaN exceeds every limit */
    case BREAK_RATIO:
        return leader->max_ratio > point->limit;
    }
    return false;
}

int64_t repl_find_breakpoint(const struct repl *repl, uint32_t first, uint32_t last,
                             const struct repl_breakpoint **breakpoint)
{
    for (uint32_t s = first; s < last; s++) {
        for (uint32_t i = 0; i < repl->n_breakpoints; i++) {
            if (holds(repl, &repl->breakpoints[i], s)) {
                *breakpoint = &repl->breakpoints[i];
                return s;
            }
        }
    }
    return -1;
}

const char *breakpoint_text(const struct repl *repl, const struct repl_breakpoint *point, char text[128])
{
    char label[64];
    if (point->diverge) {
        snprintf(text, 128, "diverge");
    } else if (point->condition <= BREAK_NAN) {
        snprintf(text, 128, "%s%s%s", step_label(&repl->plan->steps[point->step], label),
                 point->condition == BREAK_NAN ? " if " : "", condition_names[point->condition]);
    } else {
        snprintf(text, 128, "%s if %s>%g", step_label(&repl->plan->steps[point->step], label),
                 condition_names[point->condition], point->limit);
    }
    return text;
}

/* Reads "nan", "maxabs>100" or "ratio>0.5" from the words after if; blanks around > may have split it. */
static enum status parse_condition(const struct words *words, struct repl_breakpoint *point, struct error *err)
{
    char text[128] = "";
    for (uint32_t i = 2; i < words->n; i++) {
        if (strlen(text) + strlen(words->word[i]) < sizeof(text)) {
            strcat(text, words->word[i]);
        }
    }
    for (uint32_t i = BREAK_NAN; i <= BREAK_RATIO; i++) {
        size_t length = strlen(condition_names[i]);
        if (strncmp(text, condition_names[i], length) != 0) {
            continue;
        }
        char *end = text + length;
        point->condition = i;
        if (i == BREAK_NAN && *end == '\0') {
            return STATUS_OK;
        }
        if (i != BREAK_NAN && *end == '>' && end[1] != '\0') {
            point->limit = strtod(end + 1, &end);
            if (*end == '\0' && !isnan(point->limit)) {
                return STATUS_OK;
            }
        }
    }
    return error_set(err, STATUS_USAGE, NULL, "break", ERROR_NO_OFFSET,
                     "\"%s\", expected nan, maxabs>X or ratio>X after if", text);
}

static enum status parse_breakpoint(struct repl *repl, const struct words *words, struct repl_breakpoint *point,
                                    struct error *err)
{
    *point = (struct repl_breakpoint){.diverge = strcmp(words->word[0], "diverge") == 0};
    if (point->diverge) {
        return words->n == 1 ? STATUS_OK : words_refuse(words, 1, err);
    }
    TRY(word_place(repl, words->word[0], &point->step, err));
    if (words->n == 1) {
        return STATUS_OK;
    }
    if (words->n == 2 || strcmp(words->word[1], "if") != 0) {
        return error_set(err, STATUS_USAGE, NULL, "break", ERROR_NO_OFFSET,
                         "\"%s\", expected if nan, if maxabs>X or if ratio>X", words->word[1]);
    }
    return parse_condition(words, point, err);
}

enum status do_break(struct repl *repl, const struct words *words, struct error *err)
{
    struct repl_breakpoint point;
    TRY(parse_breakpoint(repl, words, &point, err));
    point.number = ++repl->last_breakpoint;
    repl->breakpoints = xrealloc(repl->breakpoints, (repl->n_breakpoints + 1) * sizeof(*repl->breakpoints));
    repl->breakpoints[repl->n_breakpoints++] = point;
    TRY(repl_update_capture(repl, err));
    char text[128];
    breakpoint_text(repl, &point, text);
    bool one_layer = words->n > 0 && strpbrk(words->word[0], ".@") == NULL && strncmp(text, "layer", 5) == 0;
    printf("breakpoint %u: %s%s\n", point.number, text,
           one_layer ? "; in this layer alone, `break diverge` stops in any" : "");
    return STATUS_OK;
}

enum status do_delete(struct repl *repl, const struct words *words, struct error *err)
{
    int64_t number;
    if (words->n == 0) {
        printf("%u removed\n", repl->n_breakpoints);
        repl->n_breakpoints = 0;
        return STATUS_OK;
    }
    TRY(word_number(words->word[0], "delete", 1, UINT32_MAX, &number, err));
    for (uint32_t i = 0; i < repl->n_breakpoints; i++) {
        if (repl->breakpoints[i].number == number) {
            memmove(&repl->breakpoints[i], &repl->breakpoints[i + 1],
                    (repl->n_breakpoints - i - 1) * sizeof(*repl->breakpoints));
            repl->n_breakpoints--;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_USAGE, NULL, "delete", ERROR_NO_OFFSET,
                     "%s is no breakpoint, expected one that info breakpoints lists", words->word[0]);
}

void print_breakpoints(const struct repl *repl)
{
    for (uint32_t i = 0; i < repl->n_breakpoints; i++) {
        char text[128];
        printf("  %u: %s\n", repl->breakpoints[i].number, breakpoint_text(repl, &repl->breakpoints[i], text));
    }
    if (repl->n_breakpoints == 0) {
        printf("no breakpoints\n");
    }
}
