#include "tests/support/solving.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A .gguf, and the reference's run of it with a few tokens. */
static void open_recorded(struct small_model *small, const char *name)
{
    static const int32_t tokens[] = {3, 17, 34, 44, 49, 9, 31, 10, 63, 12};
    static const uint8_t phase[] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1};
    char path[512];
    struct error err;
    struct trace prompt;
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/%s", name);
    assert_int_equal(model_open(&small->model, path, &err), STATUS_OK);
    assert_int_equal(plan_build(&small->plan, &small->model, &err), STATUS_OK);
    trace_init(&prompt, "prompt", "llama", small->plan.n_layers, sizeof(phase), tokens, phase);
    record_run(&small->golden, &small->plan, &prompt);
    trace_free(&prompt);
}

void solving_open(struct solving *solving, const char *name, int32_t layer, enum stage stage)
{
    *solving = (struct solving){0};
    if (strstr(name, ".gguf")) {
        open_recorded(&solving->small, name);
    } else {
        small_open(&solving->small, name, NULL);
    }
    int32_t index = plan_find(&solving->small.plan, layer, stage);
    ASSERT(index >= 0);
    solving->step = &solving->small.plan.steps[index];
    struct trace_stage *recorded = stage_at(&solving->small.golden, layer, stage);
    solving->rows = recorded->rows;
    solving->width = recorded->width;
    solving->n = solving->small.golden.n_positions;
    for (unsigned k = 0; k < 2 && solving->step->input[k] >= 0; k++) {
        const struct step *from = &solving->small.plan.steps[solving->step->input[k]];
        const struct trace_stage *input = stage_at(&solving->small.golden, from->layer, from->stage);
        solving->in[k] = input->rows;
        solving->in_width[k] = input->width;
    }
}

void solving_close(struct solving *solving)
{
    small_close(&solving->small);
}

float *solving_weights(const struct tensor *tensor)
{
    uint64_t n_rows = tensor_rows(tensor), n = tensor_row_elems(tensor);
    float *w = xmalloc(n_rows * n * sizeof(*w));
    for (uint64_t row = 0; row < n_rows; row++) {
        weights_decode(tensor, row, 0, n, w + row * n);
    }
    return w;
}

void solving_product(struct solving *solving, const float *w, const float *x, const float *b)
{
    uint32_t n_in = solving->step->params.matmul.n_in;
    for (uint32_t p = 0; p < solving->n; p++) {
        for (uint32_t o = 0; o < solving->width; o++) {
            double sum = b ? b[o] : 0;
            for (uint32_t i = 0; i < n_in; i++) {
                sum += (double)w[(uint64_t)o * n_in + i] * x[(uint64_t)p * n_in + i];
            }
            solving->rows[(uint64_t)p * solving->width + o] = (float)sum;
        }
    }
}

static uint32_t diagnose(struct solving *solving, struct diagnosis *found)
{
    char label[64];
    uint32_t step = (uint32_t)(solving->step - solving->small.plan.steps);
    uint32_t n = diagnose_step(&solving->small.plan, step, &solving->small.golden, found, 8);
    print_message("    %s: %s (%s): %s\n", step_label(solving->step, label), n ? found[0].fault : "nothing",
                  n ? fault_kind_name(found[0].kind) : "", n ? found[0].text : "");
    return n;
}

void solving_expect_symptom(struct solving *solving, enum fault_kind kind, const char *says)
{
    struct diagnosis found[8];
    assert_true(diagnose(solving, found) > 0);
    assert_string_equal(fault_kind_name(found[0].kind), fault_kind_name(kind));
    assert_int_equal(found[0].how, HOW_CONSISTENT);
    assert_non_null(strstr(found[0].text, says));
}

void solving_expect(struct solving *solving, enum fault_kind kind, const char *says, double solved)
{
    struct diagnosis found[8];
    assert_true(diagnose(solving, found) > 0);
    assert_string_equal(fault_kind_name(found[0].kind), fault_kind_name(kind));
    assert_int_not_equal(found[0].how, HOW_CONSISTENT);
    if (!strstr(found[0].text, says)) {
        fail_msg("\"%s\" does not say \"%s\"", found[0].text, says);
    }
    if (!isnan(solved)) {
        assert_true(fabs(found[0].solved.found - solved) <= 1e-6 * fabs(solved));
    }
}

void solving_refuse(struct solving *solving, enum fault_kind kind)
{
    struct diagnosis found[8];
    uint32_t n = diagnose(solving, found);
    for (uint32_t i = 0; i < n; i++) {
        assert_string_not_equal(fault_kind_name(found[i].kind), fault_kind_name(kind));
    }
}
