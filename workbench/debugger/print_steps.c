#include "workbench/debugger/print_steps.h"

#include <math.h>
#include <stdio.h>

#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/run.h"
#include "workbench/session/step_kernel.h"

const char *positions_text(const struct repl *repl, char text[64])
{
    const char *phase = repl->phase[repl->first] == PHASE_DECODE ? "decode" : "prefill";
    if (repl->n_rows == 1) {
        snprintf(text, 64, "position %u (%s)", repl->first, phase);
    } else {
        snprintf(text, 64, "positions %u-%u (%s)", repl->first, repl->first + repl->n_rows - 1, phase);
    }
    return text;
}

const char *repl_kernel_text(const struct repl *repl, uint32_t batch, uint32_t step, char *text)
{
    return step_kernel_write(&repl->batches[batch].kernels[step], repl->plan, text);
}

static void print_heading(struct repl *repl, uint32_t step)
{
    char positions[64];
    const struct step *at = &repl->plan->steps[step];
    if (at->layer == LAYER_NONE) {
        printf("outside the layers, %s\n", positions_text(repl, positions));
    } else {
        printf("layer %d, %s\n", at->layer, positions_text(repl, positions));
    }
    printf("  %-15s %11s %11s", "stage", "maxAbs", "rms");
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        printf(" %10s", source_name(repl->sides[i].source));
    }
    for (uint32_t i = 0; i < repl->n_sides && repl_side_of(repl, SOURCE_GOLDEN) != NULL; i++) {
        if (repl->sides[i].source != SOURCE_GOLDEN) {
            char column[32];
            snprintf(column, sizeof(column), "%s-golden", source_name(repl->sides[i].source));
            printf(" %16s", column);
        }
    }
    printf("%s\n", repl_side_of(repl, SOURCE_ENGINE) != NULL ? "  kernel" : "");
}

/* Prints an audit ratio (above 1: an introduced error), "-" for not recorded, "?" for cannot be judged, or "inherited"
 * where no row could be judged, "rounded" where the golden's weights are MODEL's in another precision. */
static void print_ratio(const struct finding *finding)
{
    if (finding->state != FINDING_AUDITED || finding->rows_judged == 0) {
        const char *why = finding->state == FINDING_MISSING ? "-" : "?";
        printf(" %10s", finding->state == FINDING_AUDITED ? "inherited" : why);
    } else if (finding->other_precision) {
        printf(" %10s", "rounded");
    } else {
        printf(" %10.3g", finding->max_ratio);
    }
}

static void print_step(struct repl *repl, uint32_t step)
{
    const struct finding *leader = &repl_leader(repl)->summaries[step].latest;
    if (leader->state == FINDING_MISSING) {
        printf("  %-15s %11s %11s", stage_name(repl->plan->steps[step].stage), "-", "-");
    } else {
        printf("  %-15s %11.5g %11.5g", stage_name(repl->plan->steps[step].stage), leader->max_abs, leader->rms);
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (&repl->sides[i] == repl_leader(repl) && repl_is_patched(repl, step)) {
            printf(" %10s", "patched");
        } else {
            print_ratio(&repl->sides[i].summaries[step].latest);
        }
    }
    for (uint32_t i = 0; i < repl->n_sides && repl_side_of(repl, SOURCE_GOLDEN) != NULL; i++) {
        double relative = repl->sides[i].summaries[step].latest_relative;
        if (repl->sides[i].source == SOURCE_GOLDEN) {
            continue;
        }
        if (isnan(relative)) {
            printf(" %16s", "-");
        } else {
            printf(" %16.3g", relative);
        }
    }
    if (repl_side_of(repl, SOURCE_ENGINE) != NULL) {
        char kernel[STEP_KERNEL_SIZE];
        printf("  %s", step_kernel_write_name(&repl->batches[repl->n_batches - 1].kernels[step], kernel));
    }
    const char *mark = "  <-- introduced by";
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (finding_failed(&repl->sides[i].summaries[step].latest)) {
            printf("%s %s", mark, source_name(repl->sides[i].source));
            mark = ",";
        }
    }
    printf("\n");
}

void print_steps(struct repl *repl, uint32_t first, uint32_t last, bool heading)
{
    for (uint32_t s = first; s < last; s++) {
        if (s == first ? heading : repl->plan->steps[s].layer != repl->plan->steps[s - 1].layer) {
            print_heading(repl, s);
        }
        print_step(repl, s);
    }
}

void print_introduced(const struct repl *repl, uint32_t first)
{
    for (uint32_t i = first; i < repl->n_introduced; i++) {
        const struct repl_introduced *introduced = &repl->introduced[i];
        const struct finding *finding = &introduced->finding;
        char label[64];
        printf("  %s introduces an error at %s, token %u, dim %u: %.9g, expected %.9g, %.3g times its bound\n",
               source_name(repl->sides[introduced->side].source),
               step_label(&repl->judged_plan.steps[introduced->step], label), finding->position, finding->dim,
               finding->actual, finding->expected, finding->ratio);
    }
}

/* A step's worst ratio in the batch, if it says something of the side. */
static double ratio_of(const struct repl_side *side, uint32_t step)
{
    const struct finding *finding = &side->summaries[step].latest;
    return finding->other_precision ? -1 : finding->max_ratio;
}

/* The step of the batch with a side's worst ratio. */
static uint32_t worst_step(const struct repl *repl, const struct repl_side *side)
{
    uint32_t worst = 0;
    for (uint32_t s = 1; s < repl->plan->n_steps; s++) {
        if (ratio_of(side, s) > ratio_of(side, worst)) {
            worst = s;
        }
    }
    return worst;
}

void print_batch(struct repl *repl)
{
    char positions[64], label[64];
    uint32_t n = 0, n_judged = 0;
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        n += repl_is_captured(repl, s);
    }
    printf("%s: %u stages, worst ratio", positions_text(repl, positions), n);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        uint32_t worst = worst_step(repl, &repl->sides[i]);
        if (repl->sides[i].summaries[worst].latest.rows_judged == 0) {
            continue; /* a golden with fewer tokens, or a lost side */
        }
        printf("%s %s %.3g (%s)", n_judged++ > 0 ? "," : "", source_name(repl->sides[i].source),
               repl->sides[i].summaries[worst].latest.max_ratio, step_label(&repl->plan->steps[worst], label));
    }
    printf("%s", n_judged > 0 ? "" : " not known: no row can be judged");
    uint32_t next = repl->first + repl->n_rows;
    if (next < repl->n_known) {
        printf("; next token %d\n", repl->tokens[next]);
    } else {
        printf("; the run is over\n");
    }
}
