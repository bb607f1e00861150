#include "workbench/audit/ledger.h"

#include <math.h>
#include <string.h>

#include "workbench/text/table.h"

static double relative(double squares, double size)
{
    return squares == 0 ? 0 : sqrt(squares / size);
}

/* The relative error of a step's inputs, taken together as one vector. */
static double input_error(const struct audit *audit, uint32_t step, uint32_t trace)
{
    double error = 0, size = 0;
    for (unsigned i = 0; i < OP_MAX_INPUTS && audit->plan->steps[step].input[i] >= 0; i++) {
        uint32_t input = (uint32_t)audit->plan->steps[step].input[i];
        const struct finding *golden = audit_finding(audit, input, audit->n_traces - 1);
        double rms = golden->state == FINDING_MISSING ? NAN : golden->rms;
        double squares = rms * rms * audit->plan->steps[input].width;
        double off = audit->relative_rms[(uint64_t)input * audit->n_traces + trace];
        error += off * off * squares;
        size += squares;
    }
    return size > 0 ? relative(error, size) : NAN;
}

struct ledger ledger_of(const struct audit *audit, uint32_t step, uint32_t trace)
{
    const struct finding *finding = audit_finding(audit, step, trace);
    struct ledger ledger = {NAN, NAN, NAN};
    if (finding->golden_squares <= 0 || finding->rows_judged == 0) {
        return ledger;
    }
    ledger.introduced = relative(finding->introduced_squares, finding->golden_squares);
    ledger.inherited = relative(finding->inherited_squares, finding->golden_squares);
    double error = input_error(audit, step, trace);
    ledger.amplification = error > 0 ? ledger.inherited / error : NAN;
    return ledger;
}

/* The largest value of a column over the layers, printed as "1.2e-07 @13". */
struct worst {
    double value;
    int32_t layer;
};

static void worst_take(struct worst *worst, double value, int32_t layer)
{
    if (isnan(value) || (!isnan(worst->value) && value <= worst->value)) {
        return;
    }
    *worst = (struct worst){value, layer};
}

static const char *worst_text(const struct worst *worst, const char *format, char text[40])
{
    char number[24], layer[16] = "";
    if (isnan(worst->value)) {
        return strcpy(text, "-");
    }
    snprintf(number, sizeof(number), format, worst->value);
    if (worst->layer != LAYER_NONE) {
        snprintf(layer, sizeof(layer), "@%d", worst->layer);
    }
    snprintf(text, 40, "%8s %-5s", number, layer);
    return text;
}

static void add_stage(const struct ledger_table *table, enum stage stage, uint32_t trace, struct table *out)
{
    struct worst introduced = {NAN, 0}, inherited = {NAN, 0}, amplification = {NAN, 0};
    for (uint32_t s = 0; s < table->plan->n_steps; s++) {
        const struct step *step = &table->plan->steps[s];
        if (step->stage != stage) {
            continue;
        }
        struct ledger ledger = ledger_of(table->audit, s, trace);
        worst_take(&introduced, ledger.introduced, step->layer);
        worst_take(&inherited, ledger.inherited, step->layer);
        worst_take(&amplification, ledger.amplification, step->layer);
    }
    if (isnan(introduced.value)) {
        return;
    }
    char text[40];
    table_add_cell(out, "%s", stage_name(stage));
    table_add_cell(out, "%s", worst_text(&introduced, "%.1e", text));
    table_add_cell(out, "%s", worst_text(&inherited, "%.1e", text));
    table_add_cell(out, "%s", worst_text(&amplification, "%.3g", text));
    table_end_row(out, NULL);
}

void ledger_print(const struct ledger_table *table, FILE *out)
{
    uint32_t last = table->audit->n_traces - 1;
    if (table->sources[last] != SOURCE_GOLDEN || last == 0) {
        return;
    }
    fprintf(out,
            "\nGain ledger of the %s: each op's difference from the golden (relative rms, worst layer),\n"
            "split into what the op adds and what it inherits; amplification = inherited / error of its inputs\n\n",
            source_name(table->sources[0]));
    struct table rows = {0};
    table_add_column(&rows, "stage", 0, -14);
    table_add_column(&rows, "introduced", 2, -14);
    table_add_column(&rows, "inherited", 2, -14);
    table_add_column(&rows, "amplification", 2, -14);
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        add_stage(table, (enum stage)stage, 0, &rows);
    }
    table_print(&rows, true, out);
    table_free(&rows);
}
