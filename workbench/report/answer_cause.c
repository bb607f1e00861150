/* The answer's part on causes: the first divergence's diagnosis, and the further bugs. */
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/triage.h"
#include "workbench/report/answer.h"
#include "workbench/report/text_lines.h"

#define MOST_SENTENCES 16

static bool is_of_first(const struct answer *answer, uint32_t i)
{
    const struct diagnosis *diagnosis = &answer->diagnoses[i];
    return diagnosis->introduced == answer->first.step && diagnosis->trace == answer->first.trace;
}

bool answer_is_best(const struct answer *answer, uint32_t i)
{
    const struct diagnosis *all = answer->diagnoses;
    return i == 0 || all[i].introduced != all[i - 1].introduced || all[i].trace != all[i - 1].trace;
}

/* Adds the layers to a text: ", layers 0-3, 7". One layer alone is not said again. */
static void add_layers(const struct diagnosis *diagnosis, char *text, size_t size)
{
    for (uint32_t i = 0; diagnosis->n_layers > 1 && i < diagnosis->n_layers; i++) {
        uint32_t first = i;
        size_t length = strlen(text);
        while (i + 1 < diagnosis->n_layers && diagnosis->layers[i + 1] == diagnosis->layers[i] + 1) {
            i++;
        }
        if (length + 24 < size) {
            snprintf(text + length, size - length, first == i ? "%s %u" : "%s %u-%u", first == 0 ? ", layers" : ",",
                     diagnosis->layers[first], diagnosis->layers[i]);
        }
    }
}

/* A diagnosis' sentences. They point into its text. */
struct sentences {
    uint32_t n;
    const char *begin[MOST_SENTENCES];
    size_t length[MOST_SENTENCES];
    bool dropped[MOST_SENTENCES];
};

static void split_sentences(const char *text, struct sentences *sentences)
{
    *sentences = (struct sentences){0};
    while (*text != '\0' && sentences->n < MOST_SENTENCES) {
        const char *end = text;
        do {
            end = strstr(end, ". ");
            end = end != NULL ? end + 1 : text + strlen(text);
        } while (*end == ' ' && (end[1] < 'A' || end[1] > 'Z'));
        if (sentences->n == MOST_SENTENCES - 1) {
            end = text + strlen(text);
        }
        sentences->begin[sentences->n] = text;
        sentences->length[sentences->n++] = (size_t)(end - text);
        text = end + strspn(end, " ");
    }
}

static bool begins(const char *sentence, const char *with)
{
    return strncmp(sentence, with, strlen(with)) == 0;
}

/* How much a sentence is worth: 2 the proof, 1 the bug, 0 what can wait for --all. */
static int worth_of(const char *sentence)
{
    return begins(sentence, "Computed ") ? 2 : !begins(sentence, "By rms ") && !begins(sentence, "Postmortem: ");
}

/* Drops the last sentence of those that are worth least. false: none is left. */
static bool drop_one(struct sentences *sentences)
{
    for (int worth = 0; worth <= 2; worth++) {
        for (uint32_t i = sentences->n; i-- > 0;) {
            if (!sentences->dropped[i] && worth_of(sentences->begin[i]) == worth) {
                sentences->dropped[i] = true;
                return true;
            }
        }
    }
    return false;
}

/* Joins head and sentences. Returns a malloc'ed text. */
static char *join_sentences(const char *head, const struct sentences *sentences)
{
    size_t size = strlen(head) + 1;
    for (uint32_t i = 0; i < sentences->n; i++) {
        size += sentences->length[i] + 2;
    }
    char *text = xmalloc(size);
    strcpy(text, head);
    for (uint32_t i = 0, n = 0; i < sentences->n; i++) {
        if (!sentences->dropped[i]) {
            strcat(text, n++ == 0 ? ": " : " ");
            strncat(text, sentences->begin[i], sentences->length[i]);
        }
    }
    return text;
}

/* Adds head and text as one paragraph of at most `most` lines; whole sentences are left out where there are too many.
 */
static void add_paragraph(const char *label, const char *head, const char *text, uint32_t most,
                          struct text_lines *lines)
{
    struct sentences sentences;
    split_sentences(text, &sentences);
    char *paragraph = join_sentences(head, &sentences);
    while (lines_needed(label, paragraph) > most && drop_one(&sentences)) {
        free(paragraph);
        paragraph = join_sentences(head, &sentences);
    }
    lines_add(lines, label, "%s", paragraph);
    free(paragraph);
}

/* Adds what is known of the first divergence beside the best diagnosis: others that hold, by name. */
static void add_others(const struct answer *answer, uint32_t from, uint32_t most, struct text_lines *lines)
{
    char text[512] = "";
    for (uint32_t i = from; i < answer->n_diagnoses; i++) {
        size_t length = strlen(text);
        if (is_of_first(answer, i) && length + 96 < sizeof(text)) {
            snprintf(text + length, sizeof(text) - length, "%s%s (%s)", length > 0 ? ", " : "",
                     answer->diagnoses[i].fault, diagnosis_how_name(answer->diagnoses[i].how));
        }
    }
    if (text[0] != '\0' && lines->n_lines + lines_needed("as well", text) <= most) {
        lines_add(lines, "as well", "%s", text);
    }
}

static void add_check(const struct answer *answer, uint32_t most, struct text_lines *lines)
{
    uint32_t n = answer->n_diagnoses > 0 && is_of_first(answer, 0) ? answer->n_diagnoses : 0;
    const char *text = triage_next(answer->plan, answer->first.step, answer->diagnoses, n);
    if (lines->n_lines + lines_needed("check", text) <= most) {
        lines_add(lines, "check", "%s", text);
    }
}

/* The best diagnosis of the first divergence, or NULL. */
static const struct diagnosis *best_of_first(const struct answer *answer)
{
    return answer->n_diagnoses > 0 && is_of_first(answer, 0) ? &answer->diagnoses[0] : NULL;
}

/* Its name, how far it is proven, and where it strikes. */
static const char *cause_head(const struct answer *answer, const struct diagnosis *best, char head[512])
{
    static const char *const how_far[] = {"reproduced", "relation: another bug could leave it, too",
                                          "consistent: a symptom, not a proof"};
    char label[64];
    int length = snprintf(head, 512, "%s (%s)", best->fault, how_far[best->how]);
    if (best->step != answer->first.step) {
        snprintf(head + length, 512 - (size_t)length, ", at %s", step_label(&answer->plan->steps[best->step], label));
    }
    add_layers(best, head, 512);
    return head;
}

/* Its evidence, and where it is on record. malloc'ed. */
static char *cause_text(const struct diagnosis *best)
{
    char *text = xmalloc(strlen(best->text) + strlen(best->postmortem) + 32);
    sprintf(text, "%s%s%s%s", best->text, *best->postmortem ? " Postmortem: " : "", best->postmortem,
            *best->postmortem ? "." : "");
    return text;
}

void answer_add_cause(const struct answer *answer, uint32_t most, struct text_lines *lines)
{
    const struct diagnosis *best = best_of_first(answer);
    char head[512];
    if (best == NULL || best->how == HOW_CONSISTENT) {
        lines_add(lines, "cause", "unknown: no known bug and no simple relation reproduces it");
    }
    if (best != NULL) {
        char *text = cause_text(best);
        add_paragraph(best->how == HOW_CONSISTENT ? "symptom" : "cause", cause_head(answer, best, head), text,
                      most > lines->n_lines ? most - lines->n_lines : 1, lines);
        free(text);
        add_others(answer, 1, most, lines);
    }
    if (best == NULL || best->how == HOW_CONSISTENT) {
        add_check(answer, most, lines);
    }
}

uint32_t answer_count_cause(const struct answer *answer)
{
    const struct diagnosis *best = best_of_first(answer);
    struct sentences sentences;
    char head[512];
    if (best == NULL) {
        return 1;
    }
    split_sentences(best->text, &sentences);
    for (uint32_t i = 0; i < sentences.n; i++) {
        sentences.dropped[i] = worth_of(sentences.begin[i]) == 0;
    }
    char *text = join_sentences(cause_head(answer, best, head), &sentences);
    uint32_t n = lines_needed("cause", text) + (best->how == HOW_CONSISTENT);
    free(text);
    return n;
}

/* Whether diagnosis i is the proven cause of a further step. */
static bool is_further(const struct answer *answer, uint32_t i)
{
    return !is_of_first(answer, i) && answer_is_best(answer, i) && answer->diagnoses[i].how != HOW_CONSISTENT;
}

static bool same_bug(const struct diagnosis *a, const struct diagnosis *b)
{
    return a->trace == b->trace && a->how == b->how && strcmp(a->fault, b->fault) == 0;
}

/* Whether a further bug was told before i: at another stage, or at the first divergence. */
static bool is_told_before(const struct answer *answer, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        bool told = k == 0 ? is_of_first(answer, 0) : is_further(answer, k);
        if (told && same_bug(&answer->diagnoses[k], &answer->diagnoses[i])) {
            return true;
        }
    }
    return false;
}

/* Adds the places of a bug, from diagnosis `from` on: "layer 0 q_norm, k_norm; ffn_norm, layers 0-3". */
static void add_places(const struct answer *answer, const struct diagnosis *bug, uint32_t from, char *text, size_t size)
{
    const struct diagnosis *before = NULL;
    for (uint32_t i = from; i < answer->n_diagnoses; i++) {
        const struct diagnosis *diagnosis = &answer->diagnoses[i];
        const struct step *step = &answer->plan->steps[diagnosis->step];
        char label[64];
        size_t length = strlen(text);
        if (!is_further(answer, i) || !same_bug(bug, diagnosis) || length + 128 > size) {
            continue;
        }
        bool single = diagnosis->n_layers == 1;
        bool same_layer =
            before != NULL && single && before->n_layers == 1 && before->layers[0] == diagnosis->layers[0];
        snprintf(text + length, size - length, "%s%s",
                 before == NULL ? " "
                 : same_layer   ? ", "
                                : "; ",
                 same_layer || diagnosis->n_layers > 1 ? stage_name(step->stage) : step_label(step, label));
        add_layers(diagnosis, text, size);
        before = diagnosis;
    }
}

/* The bug of the first divergence at further stages. false: there is none. */
static bool same_elsewhere(const struct answer *answer, char text[512])
{
    for (uint32_t i = 1; i < answer->n_diagnoses && is_of_first(answer, 0); i++) {
        if (is_further(answer, i) && same_bug(&answer->diagnoses[0], &answer->diagnoses[i])) {
            strcpy(text, "the same bug:");
            add_places(answer, &answer->diagnoses[0], i, text, 512);
            return true;
        }
    }
    return false;
}

/* The line of diagnosis i, a further bug that was not told before. */
static const char *further_text(const struct answer *answer, uint32_t i, char text[512])
{
    const struct diagnosis *diagnosis = &answer->diagnoses[i];
    snprintf(text, 512, "%s: %s (%s) at", source_name(answer->sources[diagnosis->trace]), diagnosis->fault,
             diagnosis_how_name(diagnosis->how));
    add_places(answer, diagnosis, i, text, 512);
    return text;
}

uint32_t answer_count_further(const struct answer *answer)
{
    char text[512];
    uint32_t n = same_elsewhere(answer, text) ? lines_needed("also", text) : 0;
    for (uint32_t i = 0; i < answer->n_diagnoses; i++) {
        if (is_further(answer, i) && !is_told_before(answer, i)) {
            n += lines_needed("also", further_text(answer, i, text));
        }
    }
    return n + (answer->n_unexplained > 0);
}

static void add_left(uint32_t n_bugs, uint32_t n_errors, struct text_lines *lines)
{
    char bugs[64] = "", errors[64] = "";
    if (n_bugs > 0) {
        snprintf(bugs, sizeof(bugs), "%u further bug%s", n_bugs, n_bugs == 1 ? "" : "s");
    }
    if (n_errors > 0) {
        snprintf(errors, sizeof(errors), "%s%u further error%s without a known cause", n_bugs > 0 ? ", and " : "",
                 n_errors, n_errors == 1 ? "" : "s");
    }
    if (n_bugs + n_errors > 0) {
        lines_add(lines, "also", "%s%s", bugs, errors);
    }
}

void answer_add_further(const struct answer *answer, uint32_t most, struct text_lines *lines)
{
    char text[512];
    uint32_t n_left = 0,
             kept = answer_count_further(answer) > most || answer->n_unexplained > 0; /* for the last line */
    if (same_elsewhere(answer, text) && lines_needed("also", text) + kept <= most) {
        lines_add(lines, "also", "%s", text);
    }
    for (uint32_t i = 0; i < answer->n_diagnoses; i++) {
        if (!is_further(answer, i) || is_told_before(answer, i)) {
            continue;
        }
        further_text(answer, i, text);
        if (lines->n_lines + lines_needed("also", text) + kept <= most) {
            lines_add(lines, "also", "%s", text);
        } else {
            n_left++;
        }
    }
    if (lines->n_lines < most) {
        add_left(n_left, answer->n_unexplained, lines);
    }
}
