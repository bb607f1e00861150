#include "workbench/report/token_choices.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "workbench/trace/sample.h"

/* The coarser of the types in which two stages are stored: "bfloat16". */
static const char *coarser_type(const struct trace_stage *a, const struct trace_stage *b)
{
    static const char *const names[] = {"bfloat16", "float16"};
    double stored = fmax(trace_stage_coarsest(a), trace_stage_coarsest(b));
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        double unit_roundoff, smallest;
        if (float_type(names[i], &unit_roundoff, &smallest) && unit_roundoff == stored) {
            return names[i];
        }
    }
    return "float32";
}

/* Describes one position at which two rows of logits choose different tokens. Returns a malloc'ed text. */
static char *describe_choice(const struct token_choices *choices, uint32_t position, const struct trace_stage *logits,
                             const struct trace_stage *golden_logits)
{
    const float *ours = trace_row(logits, position), *theirs = trace_row(golden_logits, position);
    uint32_t a = argmax(ours, logits->width), b = argmax(theirs, logits->width);
    double apart = fmax(fabs((double)ours[a] - theirs[a]), fabs((double)ours[b] - theirs[b]));
    bool lacks = choices->lacks;
    const char *type = coarser_type(logits, golden_logits);
    char *text = xmalloc(TOKEN_CHOICES_LENGTH);
    snprintf(text, TOKEN_CHOICES_LENGTH,
             "after token %u the likeliest next is %u in %s (logit %.9g; %u has %.9g) and %u in %s (%.9g; %u "
             "has %.9g), though every op %s: what %s rounds adds up to %.3g there%s, and a choice this close "
             "falls either way%s",
             position, a, choices->trace->path, ours[a], b, ours[b], b, choices->golden->path, theirs[b], a, theirs[a],
             lacks ? "that could be judged passes" : "passes", type, apart,
             lacks ? ", or a stage that is missing (see Coverage) is wrong" : "",
             strcmp(type, "float32") != 0 ? "; try a golden in float32" : "");
    return text;
}

/* logits_final, or logits: the final softcap changes no order. */
static const struct trace_stage *logits_of(const struct trace *trace)
{
    const struct trace_stage *final = trace_find(trace, LAYER_NONE, STAGE_logits_final);
    return final ? final : trace_find(trace, LAYER_NONE, STAGE_logits);
}

uint32_t token_choices_notes(const struct token_choices *choices, char *texts[TOKEN_CHOICES_MOST])
{
    const struct trace *golden = choices->golden;
    const struct trace_stage *ours = logits_of(choices->trace), *theirs = logits_of(golden);
    uint32_t n_differing = 0;
    for (uint32_t p = 0; ours && theirs && p < golden->n_positions; p++) {
        const float *a = trace_row(ours, p), *b = trace_row(theirs, p);
        if (a && b && argmax(a, ours->width) != argmax(b, theirs->width) && ++n_differing == 1) {
            texts[0] = describe_choice(choices, p, ours, theirs);
        }
    }
    if (n_differing > 1) {
        texts[1] = xmalloc(TOKEN_CHOICES_LENGTH);
        snprintf(texts[1], TOKEN_CHOICES_LENGTH, "the same after %u other tokens in %s", n_differing - 1,
                 choices->trace->path);
    }
    return n_differing < TOKEN_CHOICES_MOST ? n_differing : TOKEN_CHOICES_MOST;
}
