/* The answer where logits alone choose other tokens than the golden's: no op is to blame that is known. */
#include <string.h>

#include "workbench/diagnose/triage.h"
#include "workbench/report/answer.h"
#include "workbench/report/text_lines.h"
#include "workbench/report/wrapped_text.h"
#include "workbench/trace/sample.h"

bool answer_is_of_tokens(const struct answer *answer)
{
    return answer->n_diagnoses > 0 && strcmp(answer->diagnoses[0].fault, DIAGNOSIS_OTHER_TOKENS) == 0 &&
           answer->sources[answer->n - 1] == SOURCE_GOLDEN;
}

/* The golden's logits at a position: before the final softcap or after it, whichever it holds. */
static const float *golden_logits(const struct answer *answer, uint32_t position, uint32_t *width)
{
    const struct trace *golden = answer->traces[answer->n - 1];
    const struct trace_stage *final = trace_find(golden, LAYER_NONE, STAGE_logits_final);
    const struct trace_stage *logits = final ? final : trace_find(golden, LAYER_NONE, STAGE_logits);
    *width = logits ? logits->width : 0;
    return logits ? trace_row(logits, position) : NULL;
}

/* What both choose after the failing token. */
static void add_choices(const struct answer *answer, const struct finding *finding, struct text_lines *lines)
{
    const struct trace *trace = answer->traces[answer->first.trace];
    const struct trace_stage *logits = trace_find_step(trace, &answer->plan->steps[answer->first.step]);
    const float *ours = trace_row(logits, finding->position);
    uint32_t width;
    const float *theirs = golden_logits(answer, finding->position, &width);
    if (!ours || !theirs) {
        return;
    }
    uint32_t a = argmax(ours, logits->width), b = argmax(theirs, width);
    lines_add(lines, "expected", "next token %u, as the golden chooses: %u has %.6g there, %u %.6g", b, b, theirs[b], a,
              theirs[a]);
    lines_add(lines, "actual", "next token %u: %u has %.6g, %u %.6g; %.3g times what roundings explain", a, a, ours[a],
              b, ours[b], finding->ratio);
}

void answer_add_tokens(const struct answer *answer, struct text_lines *lines)
{
    const struct finding *finding = answer->findings[answer->first.step];
    const struct trace *trace = answer->traces[answer->first.trace];
    char text[96] = "", passing[SOURCES_TEXT_SIZE];
    if (answer->token_text != NULL) {
        char quoted[64];
        quote_text(answer->token_text, quoted, sizeof(quoted));
        snprintf(text, sizeof(text), ", %s", quoted);
    }
    lines_add(lines, "place", "unknown: no stage before the logits can be judged");
    lines_add(lines, "token", "%u (id %d%s, %s)", finding->position, trace->tokens[finding->position], text,
              trace->phase[finding->position] == PHASE_DECODE ? "decode" : "prefill");
    lines_add(lines, "fails", "%u of %u positions choose another next token: %s", finding->rows_failed,
              finding->rows_judged, answer->diagnoses[0].extent.rows);
    add_choices(answer, finding, lines);
    sources_text(answer->sources, answer->n, answer->first.source, passing);
    lines_add(lines, "culprit", "%s, or what it ran with: weights, config, prompt; %s pass%s",
              source_name(answer->first.source), passing, answer->n == 2 ? "es" : "");
    lines_add(lines, "next", "%s",
              triage_next(answer->plan, answer->first.step, answer->diagnoses, answer->n_diagnoses));
    if (answer->ran != NULL) {
        lines_add(lines, "ran", "%s", answer->ran);
    }
    if (answer->rest != NULL) {
        lines_add(lines, "--all", "%s", answer->rest);
    }
}
