/* break, delete, info breakpoints: where a run stops. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/repl_show.h"

static const char *const condition_names[] = {"", "nan", "maxabs", "ratio"};

static bool holds(const struct repl *repl, const struct repl_break *point, uint32_t step)
{
    uint32_t batch = repl->n_batches - 1;
    uint32_t first = 0;
    while (first + 1 < repl->n_sides && !repl_runs(&repl->sides[first])) {
        first++;
    }
    const struct finding *leader = &repl_judged_of(repl, batch, first, step)->finding;
    if (point->diverge) {
        for (uint32_t i = 0; i < repl->n_sides; i++) {
            if (finding_failed(&repl_judged_of(repl, batch, i, step)->finding)) {
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
        return leader->max_abs > point->limit || leader->nonfinite > 0; /* a NaN is past every limit */
    case BREAK_RATIO:
        return leader->max_ratio > point->limit;
    }
    return false;
}

int64_t repl_stop_at(const struct repl *repl, uint32_t first, uint32_t last, const struct repl_break **why)
{
    for (uint32_t s = first; s < last; s++) {
        for (uint32_t i = 0; i < repl->n_breaks; i++) {
            if (holds(repl, &repl->breaks[i], s)) {
                *why = &repl->breaks[i];
                return s;
            }
        }
    }
    return -1;
}

const char *show_break(const struct repl *repl, const struct repl_break *point, char text[128])
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

/* "nan", "maxabs>100", "ratio>0.5"; blanks around the > may have split it into words. */
static enum status parse_condition(const struct words *words, struct repl_break *point, struct error *err)
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

enum status repl_break_command(struct repl *repl, const struct words *words, struct error *err)
{
    struct repl_break point = {.diverge = strcmp(words->word[0], "diverge") == 0};
    enum status status = STATUS_OK;
    if (point.diverge && words->n > 1) {
        status = error_set(err, STATUS_USAGE, NULL, "break", ERROR_NO_OFFSET, "\"%s\" after diverge, expected nothing",
                           words->word[1]);
    } else if (!point.diverge) {
        status = words_place(repl, words->word[0], &point.step, err);
        if (status == STATUS_OK && words->n > 1 && (strcmp(words->word[1], "if") != 0 || words->n == 2)) {
            status = error_set(err, STATUS_USAGE, NULL, "break", ERROR_NO_OFFSET,
                               "\"%s\", expected if nan, if maxabs>X or if ratio>X", words->word[1]);
        } else if (status == STATUS_OK && words->n > 2) {
            status = parse_condition(words, &point, err);
        }
    }
    if (status != STATUS_OK) {
        return status;
    }
    point.number = ++repl->last_break;
    repl->breaks = xrealloc(repl->breaks, (repl->n_breaks + 1) * sizeof(*repl->breaks));
    repl->breaks[repl->n_breaks++] = point;
    status = repl_choose_reads(repl, err);
    if (status != STATUS_OK) {
        return status;
    }
    char text[128];
    printf("breakpoint %u: %s\n", point.number, show_break(repl, &point, text));
    return STATUS_OK;
}

enum status repl_delete(struct repl *repl, const struct words *words, struct error *err)
{
    int64_t number;
    enum status status = words_number(words->word[0], "delete", 1, UINT32_MAX, &number, err);
    for (uint32_t i = 0; status == STATUS_OK && i < repl->n_breaks; i++) {
        if (repl->breaks[i].number == number) {
            memmove(&repl->breaks[i], &repl->breaks[i + 1], (repl->n_breaks - i - 1) * sizeof(*repl->breaks));
            repl->n_breaks--;
            return STATUS_OK;
        }
    }
    return status != STATUS_OK
               ? status
               : error_set(err, STATUS_USAGE, NULL, "delete", ERROR_NO_OFFSET,
                           "%s is no breakpoint, expected one that info breakpoints lists", words->word[0]);
}

void info_breakpoints(const struct repl *repl)
{
    for (uint32_t i = 0; i < repl->n_breaks; i++) {
        char text[128];
        printf("  %u: %s\n", repl->breaks[i].number, show_break(repl, &repl->breaks[i], text));
    }
    if (repl->n_breaks == 0) {
        printf("no breakpoints\n");
    }
}
