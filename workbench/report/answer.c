#include "workbench/report/answer.h"

#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/triage.h"
#include "workbench/report/text_lines.h"
#include "workbench/report/wrapped_text.h"

#define NAMES_SIZE 256 /* bytes of the names of some steps */

const char *sources_text(const enum source *sources, uint32_t n, enum source omitted, char text[SOURCES_TEXT_SIZE])
{
    uint32_t n_left = 0;
    text[0] = '\0';
    for (uint32_t t = 0; t < n; t++) {
        n_left += sources[t] != omitted;
    }
    for (uint32_t t = 0; t < n; t++) {
        if (sources[t] != omitted) {
            n_left--;
            size_t length = strlen(text);
            snprintf(text + length, SOURCES_TEXT_SIZE - length, "%s%s", source_name(sources[t]),
                     n_left > 1    ? ", "
                     : n_left == 1 ? " and "
                                   : "");
        }
    }
    return text;
}

static const struct finding *first_finding(const struct answer *answer)
{
    return answer->findings[answer->first.step];
}

static void add_verdict(const struct answer *answer, struct text_lines *lines)
{
    char label[64];
    lines_add(lines, NULL, "diverged: %s, %s, token %u, outlier %s",
              verdict_source(answer->outlier, answer->first.source),
              step_label(&answer->plan->steps[answer->first.step], label), first_finding(answer)->position,
              outlier_name(answer->outlier));
}

/* The op's formula; the weight that it reads, if there is room on the line; and the kernel that ran it. */
static void add_op(const struct answer *answer, bool with_kernel, struct text_lines *lines)
{
    const struct step *step = &answer->plan->steps[answer->first.step];
    const struct op_info *op = op_info(step->op);
    const struct tensor *weight = op->n_weights > 0 ? step->weight[0] : NULL;
    char text[512];
    if (weight != NULL) {
        snprintf(text, sizeof(text), "%s: %s; %s, %s", op->name, op->what, weight->name,
                 dtype_info(weight->dtype)->name);
    }
    if (weight == NULL || lines_needed("op", text) > 1) {
        snprintf(text, sizeof(text), "%s: %s", op->name, op->what);
    }
    lines_add(lines, "op", "%s", text);
    if (with_kernel && answer->kernel != NULL && answer->kernel[0] != '\0' && answer->first.source == SOURCE_ENGINE) {
        lines_add(lines, "kernel", "%s", answer->kernel);
    }
}

/* Writes numbers as runs: "0-3, 7". */
static void runs_text(const uint32_t *numbers, uint32_t n, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < n && length + 24 < size; i++) {
        uint32_t first = i;
        while (i + 1 < n && numbers[i + 1] == numbers[i] + 1) {
            i++;
        }
        length += (size_t)snprintf(text + length, size - length, first == i ? "%s%u" : "%s%u-%u", first > 0 ? ", " : "",
                                   numbers[first], numbers[i]);
    }
}

static void add_rows(const struct answer *answer, struct text_lines *lines)
{
    const struct finding *finding = first_finding(answer);
    const struct diagnosis *own = answer->n_diagnoses > 0 ? &answer->diagnoses[0] : NULL;
    struct extent extent;
    char heads[128], where[320] = "";
    if (own != NULL && own->introduced == answer->first.step && own->trace == answer->first.trace) {
        extent = own->extent;
    } else {
        extent_find(&extent, answer->plan, answer->first.step, answer->traces[answer->first.trace]);
    }
    if (extent.n_heads > 0) {
        runs_text(extent.heads, extent.n_heads, heads, sizeof(heads));
        snprintf(where, sizeof(where), "; head%s %s alone", extent.n_heads > 1 ? "s" : "", heads);
    }
    if (extent.end_dim > extent.first_dim + 1) {
        size_t length = strlen(where);
        snprintf(where + length, sizeof(where) - length, "; dims %u-%u alone", extent.first_dim, extent.end_dim - 1);
    } else if (extent.end_dim > 0) {
        size_t length = strlen(where);
        snprintf(where + length, sizeof(where) - length, "; dim %u alone", extent.first_dim);
    }
    if (finding->rows_judged == 1) {
        lines_add(lines, "fails", "the one row that was judged%s", where);
    } else if (finding->rows_failed == finding->rows_judged) {
        lines_add(lines, "fails", "all %u rows%s", finding->rows_judged, where);
    } else {
        lines_add(lines, "fails", "%u of %u rows: %s%s", finding->rows_failed, finding->rows_judged, extent.rows,
                  where);
    }
}

static void add_values(const struct answer *answer, struct text_lines *lines)
{
    const struct finding *finding = first_finding(answer);
    const struct trace *trace = answer->traces[answer->first.trace];
    char text[96] = "";
    if (answer->token_text != NULL) {
        char quoted[64];
        quote_text(answer->token_text, quoted, sizeof(quoted));
        snprintf(text, sizeof(text), ", %s", quoted);
    }
    lines_add(lines, "token", "%u (id %d%s, %s), dim %u", finding->position, trace->tokens[finding->position], text,
              trace->phase[finding->position] == PHASE_DECODE ? "decode" : "prefill", finding->dim);
    add_rows(answer, lines);
    lines_add(lines, "expected", "%.9g, from its own inputs in double precision", finding->expected);
    lines_add(lines, "actual", "%.9g, off by %.4g: %.6g times its bound", finding->actual, finding->abs_error,
              finding->ratio);
}

/* What became of a step beside the failing one. */
enum neighbour { NEIGHBOUR_PASSES, NEIGHBOUR_FAILS, NEIGHBOUR_UNJUDGED, NEIGHBOUR_UNRECORDED, NEIGHBOUR_COUNT };

static enum neighbour neighbour_of(const struct answer *answer, uint32_t step)
{
    const struct finding *finding = answer->findings[step];
    if (finding == NULL || finding->state == FINDING_MISSING) {
        return NEIGHBOUR_UNRECORDED;
    }
    if (finding->state == FINDING_UNAUDITED || finding->rows_judged == 0) {
        return NEIGHBOUR_UNJUDGED;
    }
    return finding_failed(finding) ? NEIGHBOUR_FAILS : NEIGHBOUR_PASSES;
}

/* Names of steps of one kind. */
struct names {
    uint32_t n;
    char text[NAMES_SIZE];
};

static void add_name(const struct answer *answer, uint32_t step, struct names *names)
{
    const struct step *at = &answer->plan->steps[step], *failing = &answer->plan->steps[answer->first.step];
    char label[64];
    size_t length = strlen(names->text);
    snprintf(names->text + length, NAMES_SIZE - length, "%s%s", names->n++ > 0 ? ", " : "",
             at->layer == failing->layer ? stage_name(at->stage) : step_label(at, label));
}

/* Adds a clause to a text: "q_rope, k_rope pass". */
static void add_clause(const struct names *names, const char *one, const char *several, char *text, size_t size)
{
    size_t length = strlen(text);
    if (names->n > 0) {
        snprintf(text + length, size - length, "%s%s %s", length > 0 ? ", " : "", names->text,
                 names->n == 1 ? one : several);
    }
}

/* What passes before it: its inputs. */
static void before_text(const struct answer *answer, char *text, size_t size)
{
    const struct step *step = &answer->plan->steps[answer->first.step];
    struct names names[NEIGHBOUR_COUNT] = {{0}};
    text[0] = '\0';
    for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
        bool again = step->input[i] < 0 || (i > 0 && step->input[i] == step->input[0]);
        if (!again) {
            add_name(answer, (uint32_t)step->input[i], &names[neighbour_of(answer, (uint32_t)step->input[i])]);
        }
    }
    add_clause(&names[NEIGHBOUR_PASSES], "passes", "pass", text, size);
    add_clause(&names[NEIGHBOUR_FAILS], "fails", "fail", text, size);
    add_clause(&names[NEIGHBOUR_UNJUDGED], "cannot be judged", "cannot be judged", text, size);
    add_clause(&names[NEIGHBOUR_UNRECORDED], "is not recorded", "are not recorded", text, size);
    if (text[0] == '\0') {
        snprintf(text, size, "the tokens alone");
    }
}

/* What inherits after it: the steps that read it. */
static void after_text(const struct answer *answer, char *text, size_t size)
{
    struct names inherits = {0}, fails = {0};
    text[0] = '\0';
    for (uint32_t s = answer->first.step + 1; s < answer->plan->n_steps; s++) {
        bool reads = false;
        for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
            reads = reads || answer->plan->steps[s].input[i] == (int32_t)answer->first.step;
        }
        enum neighbour neighbour = reads ? neighbour_of(answer, s) : NEIGHBOUR_UNRECORDED;
        if (neighbour != NEIGHBOUR_UNRECORDED) {
            add_name(answer, s, neighbour == NEIGHBOUR_FAILS ? &fails : &inherits);
        }
    }
    add_clause(&inherits, "inherits the error", "inherit the error", text, size);
    add_clause(&fails, "introduces one of its own", "introduce some of their own", text, size);
}

static void add_neighbours(const struct answer *answer, bool is_span, struct text_lines *lines)
{
    char before[1024] = "", after[1024], both[2100];
    if (!is_span) {
        before_text(answer, before, sizeof(before));
    }
    after_text(answer, after, sizeof(after));
    snprintf(both, sizeof(both), "%s; after it %s", before, after);
    if (before[0] != '\0' && after[0] != '\0' && lines_needed("before", both) == 1) {
        lines_add(lines, "before", "%s", both);
        return;
    }
    if (before[0] != '\0') {
        lines_add(lines, "before", "%s", before);
    }
    if (after[0] != '\0') {
        lines_add(lines, "after", "%s", after);
    }
}

/* Of a step that was judged over stages that are not recorded: where the span begins, its ops, and those of them that
 * are likely right. */
static void add_span(const struct answer *answer, struct text_lines *lines)
{
    struct span_path path;
    char text[1024];
    uint32_t step = answer->first.step, n = 0;
    span_path_find(&path, answer->plan, step, answer->traces[answer->first.trace]);
    if (path.n_between > 0) {
        lines_add(lines, "span", "%s: not recorded, any of them may be wrong, or the last",
                  span_path_text(&path, answer->plan, step, text, sizeof(text)));
    }
    add_neighbours(answer, path.n_between > 0, lines);
    for (uint32_t i = 0; answer->cleared != NULL && i < path.n_between; i++) {
        if (answer->cleared[path.between[i]]) {
            path.between[n++] = path.between[i];
        }
    }
    path.n_between = n;
    if (n > 0) {
        strcpy(text, "spans that pass cover ");
        lines_add(lines, "likely not", "%s", span_steps_text(&path, answer->plan, step, text, sizeof(text)));
    }
    span_path_free(&path);
}

static void add_culprit(const struct answer *answer, struct text_lines *lines)
{
    static const enum source suspects[] = {[OUTLIER_ENGINE] = SOURCE_ENGINE, [OUTLIER_TRACE] = SOURCE_TRACE};
    char passing[SOURCES_TEXT_SIZE] = "";
    const char *text = "";
    switch (answer->outlier) {
    case OUTLIER_NONE:
        return;
    case OUTLIER_ENGINE:
    case OUTLIER_TRACE:
        sources_text(answer->sources, answer->n, suspects[answer->outlier], passing);
        if (passing[0] != '\0') {
            lines_add(lines, "culprit", "%s: not what its inputs give; %s pass%s", source_name(answer->first.source),
                      passing, answer->n == 2 ? "es" : "");
            return;
        }
        text = answer->outlier == OUTLIER_TRACE ? "trace, or MODEL: it may have run with other weights or config"
                                                : "engine: not what its inputs give";
        break;
    case OUTLIER_REFERENCE:
        text = "reference: the others agree with each other, on the same weights and config";
        break;
    case OUTLIER_GOLDEN_OR_WEIGHTS:
        text = "golden, or MODEL: not the weights or config that the golden was made with";
        break;
    case OUTLIER_SEVERAL:
        text = "several: more than one source introduces errors of its own";
        break;
    }
    lines_add(lines, "culprit", "%s", text);
}

/* How much of the way on is printed: all; all, but of the run the short text; or what leads there from the prompt. */
enum end_size { END_WHOLE, END_SHORT, END_TIGHT };

static void add_next(const struct answer *answer, enum end_size size, struct text_lines *lines)
{
    char commands[TRIAGE_MOST_COMMANDS][TRIAGE_COMMAND_SIZE];
    uint32_t wrong = answer->first.step;
    const struct diagnosis *own = answer->n_diagnoses > 0 ? &answer->diagnoses[0] : NULL;
    if (own != NULL && own->introduced == wrong && own->trace == answer->first.trace) {
        wrong = own->step;
    }
    struct triage_place place = {answer->plan, wrong, wrong == answer->first.step ? first_finding(answer) : NULL,
                                 first_finding(answer)->position};
    uint32_t n = triage_commands(&place, commands);
    bool from_shell = answer->debug_command != NULL && size != END_TIGHT;
    if (from_shell) {
        lines_add_command(lines, "next", answer->debug_command);
    }
    for (uint32_t i = 0; i < (size == END_TIGHT ? 1 : n); i++) {
        lines_add(lines, i > 0 ? "" : from_shell ? "then" : "next", "%s", commands[i]);
    }
}

/* Adds the notes that fit. */
static void add_notes(const struct answer *answer, uint32_t most, struct text_lines *lines)
{
    for (uint32_t i = 0; i < answer->n_notes; i++) {
        if (lines->n_lines + lines_needed("note", answer->notes[i]) <= most) {
            lines_add(lines, "note", "%s", answer->notes[i]);
        }
    }
}

/* The lines after the further bugs: the way on, and of which run this is. */
static void add_end(const struct answer *answer, enum end_size size, struct text_lines *lines)
{
    add_next(answer, size, lines);
    const char *ran = size == END_WHOLE ? answer->ran : answer->ran_short;
    if (ran != NULL) {
        lines_add(lines, "ran", "%s", ran);
    }
    if (answer->rest != NULL) {
        lines_add(lines, "--all", "%s", answer->rest);
    }
}

/* The lines ahead of the cause. */
static void add_start(const struct answer *answer, bool with_kernel, struct text_lines *lines)
{
    add_verdict(answer, lines);
    add_op(answer, with_kernel, lines);
    add_values(answer, lines);
    add_span(answer, lines);
    add_culprit(answer, lines);
}

void answer_print(const struct answer *answer, FILE *out)
{
    struct text_lines lines = {0}, further = {0}, end = {0};
    if (answer_is_of_tokens(answer)) {
        add_verdict(answer, &lines);
        answer_add_tokens(answer, &lines);
        lines_print(&lines, out);
        lines_free(&lines);
        return;
    }
    uint32_t for_further = answer_count_further(answer), for_cause = answer_count_cause(answer);
    add_start(answer, true, &lines);
    add_end(answer, END_TIGHT, &end);
    if (lines.n_lines + for_further + 1 + end.n_lines >
        ANSWER_MOST_LINES) { /* every bug has a line before the kernel has */
        lines_free(&lines);
        add_start(answer, false, &lines);
    }
    lines_free(&end);
    uint32_t wanted = lines.n_lines + for_further;
    add_end(answer, END_WHOLE, &end);
    if (wanted + for_cause + end.n_lines > ANSWER_MOST_LINES) {
        lines_free(&end);
        add_end(answer, END_SHORT, &end);
    }
    if (wanted + for_cause + end.n_lines > ANSWER_MOST_LINES) {
        lines_free(&end);
        add_end(answer, END_TIGHT, &end);
    }
    uint32_t used = lines.n_lines + end.n_lines, left = used < ANSWER_MOST_LINES ? ANSWER_MOST_LINES - used : 1;
    answer_add_further(answer, for_further < left ? for_further : left - 1, &further);
    left -= further.n_lines < left ? further.n_lines : left - 1;
    answer_add_cause(answer, lines.n_lines + left, &lines);
    add_notes(answer, ANSWER_MOST_LINES - further.n_lines - end.n_lines, &lines);
    lines_append(&lines, &further);
    lines_append(&lines, &end);
    lines_print(&lines, out);
    lines_free(&lines);
}
